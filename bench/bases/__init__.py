"""Bases: a frozen text-to-image model with the four things that fine-tuning needs of it.

A Base holds the network that methods attach to, the text side, the picture codec and the noise schedule. It is shared
by every cell of a process, so nobody changes it: who trains takes `base.fork()`. Importing this loads no torch.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.method import Network
    from bench.schedule import Schedule

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Base:
    """A frozen latent diffusion model.

    net          Network(denoiser, text): the part that methods attach to, in eval mode, nothing requires grad
    tokenizer    a transformers tokenizer
    vae          a diffusers AutoencoderKL
    schedule     noise schedule and prediction kind of the denoiser
    resolution   side of the square pictures, in pixels
    latent_shape (C, h, w) of one scaled latent
    words        the vocabulary that captions may use, lower case; None when it is open
    digest       sha256 over the weight files: two bases with one digest give the same pictures
    compute      "fp32", or "bf16": weights stay in float32 and the network runs under autocast
    """

    name: str
    net: Network
    tokenizer: Any
    vae: Any
    schedule: Schedule
    resolution: int
    latent_shape: tuple[int, int, int]
    words: frozenset[str] | None
    digest: str
    licence: str
    notes: dict[str, Any] = field(default_factory=dict)
    compute: str = "fp32"

    @property
    def device(self) -> torch.device:
        return next(self.net.denoiser.parameters()).device

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network is called: bfloat16 arithmetic if the base says so, else nothing."""
        import torch

        if self.compute == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def fork(self) -> Base:
        """The same base with a network of its own, to attach to and train; codec and tokenizer stay shared."""
        return replace(self, net=copy.deepcopy(self.net))

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text states (B, L, D) of `prompts`; gradients flow when a method trains the text side.

        Padded to the tokenizer's full length and without attention mask, as Stable Diffusion was trained. A prompt
        longer than that is cut.
        """
        if self.net.text is None:
            raise ValueError(f"base {self.name!r} has no text side")
        return self.net.encode(self.tokens(prompts).to(self.device))

    def tokens(self, prompts: list[str]) -> Tensor:
        """Token ids (B, L) of `prompts`, as `encode_text` reads them."""
        return self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids

    def trigger(self, identifier: str) -> tuple[int, ...]:
        """The token ids that `identifier` is inside a prompt, for Network.trigger."""
        return tuple(self.tokenizer(identifier, add_special_tokens=False).input_ids)

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scaled latents (B, C, h, w) of `images` (B, 3, H, W) in [0, 1]: the mean, or with `generator` a sample."""
        import torch

        with torch.no_grad():
            dist = self.vae.encode(images.to(next(self.vae.parameters())) * 2 - 1).latent_dist
            z = dist.mode() if generator is None else dist.sample(generator)
            return ((z - _shift(self.vae)) * self.vae.config.scaling_factor).float()

    def decode(self, latents: Tensor, chunk: int = 8) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1], float32, of scaled `latents` (B, C, h, w); `chunk` bounds the memory."""
        import torch

        out = []
        with torch.no_grad():
            for z in latents.to(next(self.vae.parameters())).split(chunk):
                x = self.vae.decode(z / self.vae.config.scaling_factor + _shift(self.vae)).sample
                out.append((x.float() / 2 + 0.5).clamp(0, 1))
        return torch.cat(out)

    def unknown_words(self, prompts: Iterable[str]) -> list[str]:
        """Words of `prompts` that are not in the base's vocabulary, sorted; always empty for an open vocabulary."""
        if self.words is None:
            return []
        seen = {word for prompt in prompts for word in re.findall(r"[a-z0-9']+", prompt.lower())}
        return sorted(seen - self.words)


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0  # SD3 and FLUX shift, SD 1.x and the pocket base don't


def _pocket() -> Base:
    from bench.bases.pocket import load

    return load()


def _toy() -> Base:
    from bench.bases.toy import toy_base

    return toy_base()


BASES: dict[str, Callable[[], Base]] = {"pocket": _pocket, "toy": _toy}


def load_base(name: str, dtype: str = "fp32") -> Base:
    """The base called `name`, computing in "fp32" or "bf16"; loaded once per process and shared.

    Raises LitmusError for an unknown name or dtype, and when the weights are not there.
    """
    from bench.config import LitmusError, nearest

    for value, known, kind in ((name, BASES, "base"), (dtype, PRECISIONS, "dtype")):
        if value not in known:
            raise LitmusError(nearest(value, known, kind))
    return replace(_load(name), compute=dtype)


@lru_cache(maxsize=2)
def _load(name: str) -> Base:
    base = BASES[name]()
    for part in (base.net, base.vae):
        part.requires_grad_(False).eval()
    return base


def base_digest(name: str) -> str:
    """The digest of the base called `name` without loading its network, except for "toy", whose weights are no file.

    Raises LitmusError for an unknown name and when the weights are not there.
    """
    if name == "pocket":
        from bench.bases.pocket import digest

        return digest()
    return load_base(name).digest
