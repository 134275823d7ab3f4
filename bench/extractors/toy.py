"""Random projections as extractors, for tests: fixed numbers, no meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.extractors.base import Extractors

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "toy-1"


class _Toy:
    """Random projections of an 8 × 8 thumbnail, and of the words of a prompt: fixed numbers, no meaning."""

    labels = {"class": ["robot", "dog", "car", "house"], "scene": ["beach", "forest", "city", "snow"]}

    def __init__(self) -> None:
        import torch

        from bench.core.rng import rng

        def weight(purpose: str, out: int) -> Tensor:
            return torch.randn(out, 192, generator=rng("toy extractor", purpose)) / 192**0.5

        self.w = {key: weight(key, 16) for key in ("identity", "style", "image")}
        self.w |= {key: weight(key, len(names)) for key, names in self.labels.items()}

    def _project(self, key: str, images: Tensor) -> Tensor:
        import torch

        thumb = torch.nn.functional.adaptive_avg_pool2d(images.float(), 8).flatten(1) - 0.5  # (B, 192)
        return thumb @ self.w[key].T

    def identity(self, images: Tensor) -> Tensor:
        return self._project("identity", images)

    def style(self, images: Tensor) -> Tensor:
        return self._project("style", images)

    def image(self, images: Tensor) -> Tensor:
        return self._project("image", images)

    def text(self, prompts: list[str]) -> Tensor:
        import torch

        from bench.core.rng import rng

        def word(w: str) -> Tensor:
            return torch.randn(16, generator=rng("toy word", w))

        return torch.stack([sum((word(w) for w in p.split()), torch.zeros(16)) for p in prompts])

    def attributes(self, images: Tensor) -> dict[str, Tensor]:
        return {key: self._project(key, images) for key in self.labels}


def load() -> Extractors:
    nets = _Toy()
    return Extractors("toy", DIGEST, 32, dict(nets.labels), nets)
