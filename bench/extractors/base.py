"""What extractors are: frozen encoders of pictures and prompts. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.core.device import working_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK = 64  # pictures a call; bounds the memory, the features don't depend on it


def device() -> torch.device:
    """Where evaluators work: where networks do, but for Apple's GPU, which cannot resize as the published ones ask."""
    import torch

    found = working_device()
    return torch.device("cpu") if found.type == "mps" else found


@dataclass(frozen=True)
class Extractors:
    """Frozen encoders of pictures (B, 3, H, W) in [0, 1], at any size.

    identity    -> (B, D) unit: which thing it is, whatever the scene and style
    style       -> (B, D) unit: in which style it is drawn, whatever it shows
    image, text -> (B, D) unit: pictures and prompts in one space
    attributes  -> {attribute: logits (B, K)}, the K names in labels[attribute]
    digest      sha256 over the weights, and over the preprocessing of published encoders
    resolution  side in pixels that the encoders were trained on; other sizes are resized to it; 0: each does it itself
    card        what the digest is made of, for the record; empty where the name says it all
    """

    name: str
    digest: str
    resolution: int
    labels: dict[str, list[str]]
    nets: Any
    card: dict[str, Any] = field(default_factory=dict)

    def identity(self, images: Tensor) -> Tensor:
        return self._unit(self.nets.identity, images)

    def style(self, images: Tensor) -> Tensor:
        return self._unit(self.nets.style, images)

    def image(self, images: Tensor) -> Tensor:
        return self._unit(self.nets.image, images)

    def text(self, prompts: list[str]) -> Tensor:
        import torch

        with torch.no_grad():
            return torch.nn.functional.normalize(self.nets.text(list(prompts)).float(), dim=-1)

    def attributes(self, images: Tensor) -> dict[str, Tensor]:
        import torch

        if not self.labels:
            return {}
        with torch.no_grad():
            parts = [self.nets.attributes(x) for x in self._fit(images).split(CHUNK)]
        return {name: torch.cat([part[name].float() for part in parts]) for name in self.labels}

    def _unit(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            features = torch.cat([net(x).float() for x in self._fit(images).split(CHUNK)])
        return torch.nn.functional.normalize(features, dim=-1)

    def _fit(self, images: Tensor) -> Tensor:
        """Resized to the encoders' own resolution."""
        import torch

        side = self.resolution
        if not side or images.shape[-2:] == (side, side) or not len(images):
            return images
        return torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
