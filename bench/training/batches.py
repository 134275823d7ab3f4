"""The batches of a training run: pictures in shuffled epochs, times and noise, each from a stream of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.core.rng import rng
from bench.objectives import Batch, Needs
from bench.training.extras import Extras

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.network.calls import Text
    from bench.protocol.models import Train


class Captioned:
    """Latents (N, C, h, w) with their captions' text states (N, L, D), encoded once unless the text side is trained."""

    def __init__(self, base: Base, captions: list[str], latents: Tensor):
        self.base, self.captions, self.latents = base, captions, latents
        text = base.net.text
        self.fixed = None
        if text is None or not any(p.requires_grad for p in text.parameters()):
            with torch.no_grad():
                self.fixed = base.encode_text(captions)

    def context(self, index: Tensor) -> Text:
        """What the denoiser is told of the pictures `index` (B,)."""
        if self.fixed is not None:
            return self.fixed[index]
        return self.base.encode_text([self.captions[i] for i in index.tolist()])


class Batches:
    """Batch after batch from streams named by task and seed: no method can move another's draws."""

    def __init__(
        self, base: Base, pictures: Captioned, needs: Needs, extras: Extras, task: str, seed: int, train: Train
    ):
        self.base, self.gamma, self.drawn = base, train.min_snr, 0
        frozen = replace(base, net=extras.frozen) if needs.frozen and extras.frozen is not None else None
        draws = train.steps * train.accumulate
        self.own = _Source(base, pictures, frozen, "", task, seed, train.batch, draws)
        self.beside: dict[str, _Source] = {}  # field of a Batch -> where it is drawn from
        for name, stream, each in (("classes", "class ", needs.classes), ("memory", "memory ", needs.memory)):
            found = getattr(extras, name) if each else None
            if found is not None:
                other = Captioned(base, found.prompts, found.latents.to(base.device))
                self.beside[name] = _Source(base, other, frozen, stream, task, seed, train.batch * each, draws)

    def draw(self) -> Batch:
        """The next batch, on the base's device."""
        batch = self.own.draw(self.drawn, self.gamma)
        beside = {part: source.draw(self.drawn, self.gamma) for part, source in self.beside.items()}
        self.drawn += 1
        return replace(batch, **beside)


class _Source:
    """Where one part of each batch comes from: pictures in an order, with times and noise, each of its own stream.

    `stream` begins the names of the streams; `frozen` is the base whose text side reads `frozen_context`, where asked.
    """

    def __init__(
        self,
        base: Base,
        pictures: Captioned,
        frozen: Base | None,
        stream: str,
        task: str,
        seed: int,
        size: int,
        draws: int,
    ):
        self.base, self.pictures, self.size = base, pictures, size
        self.frozen = None if frozen is None else Captioned(frozen, pictures.captions, pictures.latents)
        self.order = self._order(len(pictures.latents), draws * size, f"{stream}order", task, seed)
        self.times, self.noise = rng(f"{stream}times", task, seed), rng(f"{stream}noise", task, seed)

    @staticmethod
    def _order(n: int, draws: int, *stream: Any) -> Tensor:
        """(draws,) indices below n: shuffled epochs, so that every picture comes equally often."""
        generator = rng(*stream)
        return torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-draws // n))])[:draws]

    def draw(self, i: int, gamma: float | None) -> Batch:
        """The part of batch `i`; to be asked in order. `gamma` is that of min-SNR weighting."""
        index = self.order[i * self.size : (i + 1) * self.size]
        eps = torch.randn(self.size, *self.base.latent_shape, generator=self.noise)
        t = self.base.schedule.draw(self.size, self.times)
        device = self.base.device
        return Batch(
            self.pictures.latents[index],
            eps.to(device),
            t.to(device),
            self.pictures.context(index),
            weight=None if gamma is None else self.base.schedule.min_snr(t, gamma).to(device),
            frozen_context=None if self.frozen is None else self.frozen.context(index),
        )
