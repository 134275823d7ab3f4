"""The text side of a real base: its encoders read each prompt once, then they are dropped.

Encoders of these families weigh up to ten times the small denoisers, and a run needs some eighty prompts that are known
before it starts. What a prompt came to is kept in memory and on disk, keyed by the encoders' files, the settings, the
libraries' versions and the prompt.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from bench.core.cache import store, stored
from bench.network.calls import Context, join

if TYPE_CHECKING:
    from bench.bases.hub import Source

CHUNK = 8  # prompts at once
VERSION = 1  # raised whenever what is kept would come out differently from the same prompt


class Texts:
    """Prompts -> Context, by the text encoders of `source`, which are loaded when a prompt is new and not before."""

    def __init__(self, source: Source, device: torch.device):
        self.source, self.device = source, device
        self.known: dict[str, Context] = {}  # one prompt each, on the CPU
        self.versions = [version(library) for library in ("diffusers", "transformers")]
        self.loads = 0  # how often the encoders were loaded

    def __call__(self, prompts: list[str]) -> Context:
        """The Context of `prompts`, on the CPU. The empty prompt is what the family's pipeline guides away from."""
        self.prepare(prompts)
        return join([self.known[prompt] for prompt in prompts])

    def prepare(self, prompts: Iterable[str]) -> None:
        """Encode what is new of `prompts`: all of a run at once, so that the encoders are loaded once."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        for prompt in new:
            if (found := stored("text", self._facts(prompt))) is not None:
                self.known[prompt] = Context(**found)
        if new := [prompt for prompt in new if prompt not in self.known]:
            self._encode(new)

    def _facts(self, prompt: str) -> list[Any]:
        spec = self.source.spec
        return [VERSION, *self.versions, self.source.text_digest, spec.dtype, spec.tokens, prompt]

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> None:
        self.loads += 1
        pipe = self.source.text_pipeline()
        try:
            self._read(pipe, prompts, self.device)
        except torch.OutOfMemoryError:  # an encoder may be larger than the denoiser; the host has more room
            self._read(pipe, [prompt for prompt in prompts if prompt not in self.known], torch.device("cpu"))
        del pipe
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _read(self, pipe: Any, prompts: list[str], device: torch.device) -> None:
        family = self.source.family
        for name in family.encoders:
            getattr(pipe, name).to(device)
        for lo in range(0, len(prompts), CHUNK):
            part = prompts[lo : lo + CHUNK]
            states = family.encode(pipe, part, device, self.source.spec.tokens).to("cpu")
            for i, prompt in enumerate(part):
                one = self.known[prompt] = states[i : i + 1]
                tensors = {f.name: x for f in fields(one) if (x := getattr(one, f.name)) is not None}
                store("text", self._facts(prompt), tensors)
