"""How each class of denoiser is called, so that Network.forward is one call for all: x, t, context -> prediction.

x (B, C, H, W) are latents, t (B,) times from 0 to 1000, context is a Context, or its text states (B, L, D) alone. What
a class wants beyond them is made here: packed tokens with their places, a guidance scale, sizes of the picture, and a
pooled text vector. The pooled vector of SDXL, SD 3 and FLUX comes from a text encoder of its own and stands in the
Context of a real base; where only text states are given it is their mean, cut or filled with zeros to its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    """The prediction (B, C, H, W); a class that is not in CALLS is called as a plain U-Net."""
    told = context if isinstance(context, Context) else Context(context)
    return CALLS.get(type(denoiser).__name__, _unet)(denoiser, x, t, told)


def shapes(denoiser: nn.Module) -> tuple[int, int, int]:
    """(channels of x, its side, width of a text state), as the denoiser's own configuration says."""
    config: Any = denoiser.config
    packed = PATCH**2 if type(denoiser).__name__ in PACKED else 1
    wide = next(w for key in WIDTHS if (w := getattr(config, key, None)))
    return config.in_channels // packed, getattr(config, "sample_size", None) or SIDE, wide


PACKED = ("FluxTransformer2DModel", "Flux2Transformer2DModel")  # 2 x 2 latents are one token of 4 times the channels
PATCH = 2
SIDE = 8  # of x where the configuration fixes none
WIDTHS = ("caption_channels", "joint_attention_dim", "cross_attention_dim")  # the first that is there


def _unet(denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
    more: dict[str, Any] = {}
    config: Any = getattr(denoiser, "config", None)
    if getattr(config, "addition_embed_type", None) == "text_time":  # SDXL: original size, crop, target size
        six = 6 * config.addition_time_embed_dim
        h, w = (PIXELS * n for n in x.shape[-2:])
        sizes = torch.tensor([h, w, 0, 0, h, w], device=x.device, dtype=x.dtype).expand(len(x), 6)
        text = _pooled(context, config.projection_class_embeddings_input_dim - six)
        more["added_cond_kwargs"] = {"text_embeds": text, "time_ids": sizes}
    return denoiser(x, t, encoder_hidden_states=context.states, **more).sample


def _sd3(denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
    pooled = _pooled(context, denoiser.config.pooled_projection_dim)
    return denoiser(x, encoder_hidden_states=context.states, pooled_projections=pooled, timestep=t).sample


def _pixart(denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
    sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if denoiser.use_additional_conditions:
        h, w = (PIXELS * n for n in x.shape[-2:])
        sizes = {
            "resolution": x.new_tensor([[h, w]]).expand(len(x), 2),
            "aspect_ratio": x.new_full((len(x), 1), h / w),
        }
    told = {"encoder_hidden_states": context.states, "encoder_attention_mask": context.mask}
    out = denoiser(x, timestep=t, added_cond_kwargs=sizes, **told).sample
    return out[:, : x.shape[1]]  # the second half of the channels is a learned variance


def _flux(denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
    more: dict[str, Any] = {"pooled_projections": _pooled(context, denoiser.config.pooled_projection_dim)}
    if denoiser.config.guidance_embeds:
        more["guidance"] = _guidance(x, context)
    return _packed(denoiser, x, t, context.states, axes=3, text_axis=None, **more)


def _flux2(denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
    guidance = _guidance(x, context) if getattr(denoiser.config, "guidance_embeds", True) else None
    return _packed(denoiser, x, t, context.states, axes=4, text_axis=3, guidance=guidance)


def _guidance(x: Tensor, context: Context) -> Tensor:
    return x.new_full((len(x),), GUIDANCE) if context.guidance is None else context.guidance.to(x)


def _packed(
    denoiser: Any, x: Tensor, t: Tensor, context: Tensor, axes: int, text_axis: int | None, **more: Any
) -> Tensor:
    """A call on tokens: 2 x 2 latents each, with row and column on axes 1 and 2; text is numbered on `text_axis`."""
    h, w = x.shape[2] // PATCH, x.shape[3] // PATCH
    tokens = F.pixel_unshuffle(x, PATCH).flatten(2).mT  # (B, h w, 4 C)
    places = torch.zeros(h, w, axes, device=x.device)
    places[..., 1] = torch.arange(h, device=x.device)[:, None]
    places[..., 2] = torch.arange(w, device=x.device)
    words = torch.zeros(context.shape[1], axes, device=x.device)
    if text_axis is not None:
        words[:, text_axis] = torch.arange(context.shape[1], device=x.device)
    out = denoiser(
        hidden_states=tokens,
        encoder_hidden_states=context,
        timestep=t.to(x.dtype) / 1000,  # these classes multiply by 1000 themselves
        img_ids=places.flatten(0, 1),
        txt_ids=words,
        **more,
    ).sample
    return F.pixel_shuffle(out.mT.unflatten(2, (h, w)), PATCH)


def _pooled(context: Context, width: int) -> Tensor:
    """(B, width): the pooled text vector, or what stands in for it."""
    if context.pooled is not None:
        return context.pooled
    mean = context.states.mean(1)[:, :width]
    return F.pad(mean, (0, width - mean.shape[1]))


CALLS = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "PixArtTransformer2DModel": _pixart,
    "FluxTransformer2DModel": _flux,
    "Flux2Transformer2DModel": _flux2,
}
