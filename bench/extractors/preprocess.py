"""What happens to a picture before an encoder sees it, as data: it stands in every record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
MODES = ("bicubic", "bilinear", "nearest")


@dataclass(frozen=True)
class Preprocess:
    """Resize, cut, normalise.

    resize         px of the shorter side; with `squash` both sides, whatever the shape was
    crop           px a side of the centre that is kept; not above `resize`
    mean, std      per channel, of pictures in [0, 1]
    interpolation  "bicubic", "bilinear" or "nearest"; the first two with antialiasing
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    squash: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in MODES:
            raise ValueError(f"interpolation {self.interpolation!r} is none of {', '.join(MODES)}")
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"crop {self.crop} is not in 1 to resize = {self.resize}")

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, crop, crop), normalised, of `images` (B, 3, H, W) in [0, 1]."""
        import torch
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as vision

        size = [self.resize, self.resize] if self.squash else [self.resize]
        mode = InterpolationMode(self.interpolation)
        x = vision.resize(images.float(), size, interpolation=mode, antialias=mode is not InterpolationMode.NEAREST)
        x = vision.center_crop(x, [self.crop, self.crop]).clamp(0, 1)  # bicubic overshoots; eight-bit pictures cannot
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std

    def facts(self) -> dict[str, Any]:
        """As a record has it."""
        return asdict(self)
