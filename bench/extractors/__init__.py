"""Extractors: pictures and prompts -> features, by frozen networks that never met a test subject or style.

"pocket": the world's own evaluators (bench/world/evaluator_nets.py, weights beside the base). "toy": random numbers.
"dino-clip" and others: published encoders (suites.py), for real pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import LitmusError, digest_files, nearest

if TYPE_CHECKING:
    from torch import Tensor

POCKET = Path(__file__).parents[1] / "bases" / "pocket_evaluators"
CHUNK = 64  # pictures a call; bounds the memory, the features don't depend on it


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


def _pocket() -> Extractors:
    digest = extractors_digest("pocket")
    from bench.world.evaluator_nets import load_evaluators

    nets = load_evaluators(POCKET)
    return Extractors("pocket", digest, 64, {name: list(words) for name, words in nets.labels.items()}, nets)


class _Toy:
    """Random projections of an 8 × 8 thumbnail, and of the words of a prompt: fixed numbers, no meaning."""

    labels = {"class": ["robot", "dog", "car", "house"], "scene": ["beach", "forest", "city", "snow"]}

    def __init__(self) -> None:
        import torch

        from bench.rng import rng

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

        from bench.rng import rng

        def word(w: str) -> Tensor:
            return torch.randn(16, generator=rng("toy word", w))

        return torch.stack([sum((word(w) for w in p.split()), torch.zeros(16)) for p in prompts])

    def attributes(self, images: Tensor) -> dict[str, Tensor]:
        return {key: self._project(key, images) for key in self.labels}


def _toy() -> Extractors:
    nets = _Toy()
    return Extractors("toy", extractors_digest("toy"), 32, dict(nets.labels), nets)


EXTRACTORS: dict[str, Callable[[], Extractors]] = {"pocket": _pocket, "toy": _toy}


@lru_cache(maxsize=2)
def load_extractors(name: str = "pocket") -> Extractors:
    """The extractors called `name`, loaded once per process. LitmusError for an unknown name or missing weights.

    `name` is one of EXTRACTORS, one of suites.SUITES, or roles and encoders: `identity=dino:vits16,image=...`.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name]()
    from bench.extractors import suites

    if not suites.is_one(name):
        raise LitmusError(nearest(name, [*EXTRACTORS, *suites.SUITES], "extractors", "litmus extractors"))
    return suites.load(name)


def extractors_digest(name: str) -> str:
    """The digest of the extractors called `name`, without loading them where a file says it."""
    if name == "pocket":
        if not any(POCKET.glob("*.safetensors")):
            raise LitmusError(
                "the pocket evaluators' weights are missing (bench/bases/pocket_evaluators): reinstall, or "
                "`litmus pocket train`"
            )
        return digest_files((p for p in POCKET.rglob("*") if p.is_file()), POCKET)
    if name in EXTRACTORS:
        return f"{name}-1"
    return load_extractors(name).digest  # the weights lie in other libraries' caches: they are read to be named
