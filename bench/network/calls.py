"""How a denoiser is called, so that Network.forward is one call for all: x, t, context -> prediction.

x (B, C, H, W) are latents, t (B,) times from 0 to 1000, context is a Context, or its text states (B, L, D) alone. What
a class wants beyond them, its family makes (Family.call): packed tokens with their places, a guidance scale, sizes of
the picture, and a pooled text vector; what several families need for that is here. The pooled vector of SDXL, SD 3 and
FLUX comes from a text encoder of its own and stands in the Context of a real base; where only text states are given it
is their mean, cut or filled with zeros to its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.network.family import family_of_denoiser

# What denoisers that read a guidance scale are told while they are trained: the default of diffusers' own training
# scripts for FLUX.1 and FLUX.2 (examples/dreambooth/train_dreambooth_lora_flux.py).
GUIDANCE = 3.5
PIXELS = 8  # pixels a latent is wide, in every family that is told the picture's size


@dataclass(frozen=True)
class Context:
    """What a denoiser is told beside picture and time, for B prompts.

    states (B, L, D) text states; pooled (B, P) the pooled text vector; mask (B, L) 1 where a state counts, 0 where it
    is padding; guidance (B,) the scale that a guidance-distilled denoiser reads. None: the class has no use for it.
    """

    states: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    guidance: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """That of the text states."""
        return self.states.shape

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: Any) -> Context:
        return self._each(lambda x: x[index])

    def to(self, *args: Any) -> Context:
        """Each tensor on another device; a dtype is for all but the mask."""
        return self._each(lambda x: x.to(*args) if x.is_floating_point() else x.to(args[0]))

    def at(self, scale: float) -> Context:
        """The same with `scale` as guidance."""
        return replace(self, guidance=torch.full((len(self),), scale, device=self.states.device))

    def _each(self, change: Any) -> Context:
        changed: dict[str, Any] = {}
        for f in fields(self):
            x = getattr(self, f.name)
            changed[f.name] = None if x is None else change(x)
        return Context(**changed)


Text = Tensor | Context


def join(parts: Sequence[Any]) -> Any:
    """Contexts, or text states, of several batches as one."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    joined: dict[str, Any] = {}
    for f in fields(Context):
        xs = [getattr(part, f.name) for part in parts]
        joined[f.name] = None if xs[0] is None else torch.cat(xs)
    return Context(**joined)


def predict(denoiser: nn.Module, x: Tensor, t: Tensor, context: Text) -> Tensor:
    """The prediction (B, C, H, W); a class that no family knows is called as a plain U-Net."""
    told = context if isinstance(context, Context) else Context(context)
    family = family_of_denoiser(denoiser)
    if family is None:
        made: Any = denoiser
        return made(x, t, encoder_hidden_states=told.states).sample
    return family.call(denoiser, x, t, told)


def shapes(denoiser: nn.Module) -> tuple[int, int, int]:
    """(channels of x, its side, width of a text state), as the denoiser's own configuration says."""
    config: Any = denoiser.config
    family = family_of_denoiser(denoiser)
    packed = 1 if family is None else family.packed**2
    wide = next(w for key in WIDTHS if (w := getattr(config, key, None)))
    return config.in_channels // packed, getattr(config, "sample_size", None) or SIDE, wide


SIDE = 8  # of x where the configuration fixes none
WIDTHS = ("caption_channels", "joint_attention_dim", "cross_attention_dim")  # the first that is there


def picture_size(x: Tensor) -> tuple[int, int]:
    """(height, width) in pixels of the picture whose latents are x."""
    return PIXELS * x.shape[-2], PIXELS * x.shape[-1]


def guidance(x: Tensor, context: Context) -> Tensor:
    """(B,): the guidance scale that is told, GUIDANCE where none is."""
    return x.new_full((len(x),), GUIDANCE) if context.guidance is None else context.guidance.to(x)


def pooled(context: Context, width: int) -> Tensor:
    """(B, width): the pooled text vector, or what stands in for it."""
    if context.pooled is not None:
        return context.pooled
    mean = context.states.mean(1)[:, :width]
    return F.pad(mean, (0, width - mean.shape[1]))


def packed(
    denoiser: Any, x: Tensor, t: Tensor, states: Tensor, axes: int, text_axis: int | None = None, **more: Any
) -> Tensor:
    """A call on tokens, as FLUX's: PATCH x PATCH latents each, with row and column on axes 1 and 2 of `axes`.

    Text states are numbered on `text_axis`; None: all are at 0. Times go in from 0 to 1.
    """
    h, w = x.shape[2] // PATCH, x.shape[3] // PATCH
    tokens = F.pixel_unshuffle(x, PATCH).flatten(2).mT  # (B, h w, 4 C)
    places = torch.zeros(h, w, axes, device=x.device)
    places[..., 1] = torch.arange(h, device=x.device)[:, None]
    places[..., 2] = torch.arange(w, device=x.device)
    words = torch.zeros(states.shape[1], axes, device=x.device)
    if text_axis is not None:
        words[:, text_axis] = torch.arange(states.shape[1], device=x.device)
    out = denoiser(
        hidden_states=tokens,
        encoder_hidden_states=states,
        timestep=t.to(x.dtype) / 1000,  # these classes multiply by 1000 themselves
        img_ids=places.flatten(0, 1),
        txt_ids=words,
        **more,
    ).sample
    return F.pixel_shuffle(out.mT.unflatten(2, (h, w)), PATCH)


PATCH = 2
