"""A frozen text-to-image model with the four things that fine-tuning needs of it. Importing this loads no torch."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.bases.source import Source
    from bench.bases.texts import Texts
    from bench.method import Network
    from bench.network.calls import Text
    from bench.network.schedule import Schedule


def digest_of(*modules: nn.Module) -> str:
    """sha256 over names and numbers of every tensor: the digest of a base whose weights are no files."""
    h = hashlib.sha256()
    for module in modules:
        for key, value in module.state_dict().items():
            h.update(key.encode() + value.cpu().numpy().tobytes())
    return h.hexdigest()


LARGE = 32 * 32  # latents: a decoder of SD's size takes about a gigabyte for a picture of 512 px


@dataclass(frozen=True)
class Base:
    """A frozen latent diffusion model.

    net          Network(denoiser, text): the part that methods attach to, in eval mode, nothing requires grad
    tokenizer    a transformers tokenizer; None where the text side is not in the network
    vae          a diffusers AutoencoderKL, or FLUX.2's
    schedule     noise schedule and prediction kind of the denoiser
    resolution   side of the square pictures in pixels, or (height, width)
    latent_shape (C, h, w) of one scaled latent
    words        the vocabulary that captions may use, lower case; None when it is open
    digest       sha256 over the weight files: two bases with one digest give the same pictures
    compute      "fp32", or "bf16": the network runs under autocast; trained tensors are float32 in both
    execution_device  where copies of the network run, while the network itself waits on the CPU; the codec lies there.
                 bench.bases.load_base sets it; None: the network's own device
    guidance     "cfg": classifier-free, by a second call for the empty prompt; "embedded": the scale is an input of the
                 denoiser; "none": a distilled denoiser that takes none
    texts        prompts -> Context, where the text side is not in the network
    source       the files behind a base of diffusers
    """

    name: str
    net: Network
    tokenizer: Any
    vae: Any
    schedule: Schedule
    resolution: int | tuple[int, int]
    latent_shape: tuple[int, int, int]
    words: frozenset[str] | None
    digest: str
    licence: str
    notes: dict[str, Any] = field(default_factory=dict)
    compute: str = "fp32"
    execution_device: torch.device | None = None
    guidance: str = "cfg"
    texts: Texts | None = None
    source: Source | None = None

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

    def working(self) -> Base:
        """The base itself where its network works where it is, else a fork of it on the device it works on."""
        if self.execution_device is None or self.device.type == self.execution_device.type:
            return self
        fork = self.fork()
        fork.net.to(self.execution_device)
        return fork

    def with_text(self) -> Base:
        """The base with its text side in the network, for methods that train it.

        LitmusError for families whose text side is more than one CLIP: a Network has one, which it calls itself.
        """
        from bench.core.errors import LitmusError
        from bench.method import Network

        source = self.source
        if source is None or self.net.text is not None:
            return self
        if source.index.get("text_encoder", ("", ""))[1] != "CLIPTextModel" or len(source.family.encoders) > 1:
            raise LitmusError(
                f"methods of the text side need a single CLIP text encoder, which {source.family.title} has not: "
                "take SD 1.5 or SD 2.1, or a method of the denoiser (litmus methods)"
            )
        text = source.component("text_encoder").requires_grad_(False).eval()
        return replace(self, net=Network(self.net.denoiser, text), tokenizer=source.component("tokenizer"))

    def encode_text(self, prompts: list[str]) -> Text:
        """What the denoiser is told of `prompts`: text states (B, L, D), or a Context; on the network's device.

        With the text side in the network gradients flow when a method trains it; prompts are padded to the tokenizer's
        full length and without attention mask, as Stable Diffusion was trained, and cut where they are longer.
        """
        if self.net.text is None and self.texts is not None:
            return self.texts(prompts).to(self.device)
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
        """The token ids that `identifier` is inside a prompt, for Network.trigger; () without a tokenizer."""
        if self.tokenizer is None:
            return ()
        return tuple(self.tokenizer(identifier, add_special_tokens=False).input_ids)

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scaled latents (B, C, h, w) of `images` (B, 3, H, W) in [0, 1]: the mean, or with `generator` a sample.

        Means of a base that has files are kept on disk by content.
        """
        import torch

        from bench.bases.codec import remembered, scaled

        def encode(x: Tensor) -> Tensor:
            dist = self.vae.encode(x.to(next(self.vae.parameters())) * 2 - 1).latent_dist
            z = dist.mode() if generator is None else dist.sample(generator)
            return scaled(self.vae, z).float()

        with torch.no_grad():
            if self.source is None or generator is not None:
                return encode(images)
            parts = images.to(next(self.vae.parameters())).split(1 if self.large else len(images) or 1)
            return torch.cat([remembered(encode, x, ["latent", self.source.vae_digest]) for x in parts])

    @property
    def large(self) -> bool:
        """Pictures of a size at which the codec takes them one by one."""
        _, h, w = self.latent_shape
        return h * w > LARGE

    def decode(self, latents: Tensor, chunk: int = 8) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1], float32, on the CPU, of scaled `latents` (B, C, h, w).

        `chunk` bounds the memory.
        """
        import torch

        from bench.bases.codec import unscaled

        out = []
        with torch.no_grad():
            for z in latents.to(next(self.vae.parameters())).split(1 if self.large else chunk):
                x = self.vae.decode(unscaled(self.vae, z)).sample
                out.append((x.float() / 2 + 0.5).clamp(0, 1).cpu())
        return torch.cat(out)

    def unknown_words(self, prompts: Iterable[str]) -> list[str]:
        """Words of `prompts` that are not in the base's vocabulary, sorted; always empty for an open vocabulary."""
        if self.words is None:
            return []
        seen = {word for prompt in prompts for word in re.findall(r"[a-z0-9']+", prompt.lower())}
        return sorted(seen - self.words)
