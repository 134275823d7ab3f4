"""How each class of denoiser is called, so that Network.forward is one call for all: x, t, context -> prediction.

x (B, C, H, W) are latents, t (B,) times from 0 to 1000, context (B, L, D) text states. What a class wants beyond them
is made here: packed tokens with their places, a guidance scale, sizes of the picture, and a pooled text vector. The
pooled vector of SDXL, SD 3 and FLUX comes from a text encoder of its own; here it is the mean of the text states, cut
or filled with zeros to its width, so a base with real weights of these classes must bring its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GUIDANCE = 3.5  # FLUX.1-dev's and FLUX.2-dev's usual scale, for denoisers that read it as an input


def predict(denoiser: nn.Module, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """The prediction (B, C, H, W); a class that is not in CALLS is called as a plain U-Net."""
    return CALLS.get(type(denoiser).__name__, _unet)(denoiser, x, t, context)


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


def _unet(denoiser: Any, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    more: dict[str, Any] = {}
    config: Any = getattr(denoiser, "config", None)
    if getattr(config, "addition_embed_type", None) == "text_time":  # SDXL: original size, crop, target size
        six = 6 * config.addition_time_embed_dim
        side = 8 * x.shape[-1]
        sizes = torch.tensor([side, side, 0, 0, side, side], device=x.device, dtype=x.dtype).expand(len(x), 6)
        text = _pooled(context, config.projection_class_embeddings_input_dim - six)
        more["added_cond_kwargs"] = {"text_embeds": text, "time_ids": sizes}
    return denoiser(x, t, encoder_hidden_states=context, **more).sample


def _sd3(denoiser: Any, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    pooled = _pooled(context, denoiser.config.pooled_projection_dim)
    return denoiser(x, encoder_hidden_states=context, pooled_projections=pooled, timestep=t).sample


def _pixart(denoiser: Any, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if denoiser.use_additional_conditions:
        side = 8 * x.shape[-1]
        sizes = {"resolution": x.new_tensor([[side, side]]).expand(len(x), 2), "aspect_ratio": x.new_ones(len(x), 1)}
    out = denoiser(x, encoder_hidden_states=context, timestep=t, added_cond_kwargs=sizes).sample
    return out[:, : x.shape[1]]  # the second half of the channels is a learned variance


def _flux(denoiser: Any, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    more: dict[str, Any] = {"pooled_projections": _pooled(context, denoiser.config.pooled_projection_dim)}
    if denoiser.config.guidance_embeds:
        more["guidance"] = x.new_full((len(x),), GUIDANCE)
    return _packed(denoiser, x, t, context, axes=3, text_axis=None, **more)


def _flux2(denoiser: Any, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    guided = getattr(denoiser.config, "guidance_embeds", True)
    guidance = x.new_full((len(x),), GUIDANCE) if guided else None
    return _packed(denoiser, x, t, context, axes=4, text_axis=3, guidance=guidance)


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


def _pooled(context: Tensor, width: int) -> Tensor:
    """(B, width) from text states (B, L, D)."""
    mean = context.mean(1)[:, :width]
    return F.pad(mean, (0, width - mean.shape[1]))


CALLS = {
    "UNet2DConditionModel": _unet,
    "SD3Transformer2DModel": _sd3,
    "PixArtTransformer2DModel": _pixart,
    "FluxTransformer2DModel": _flux,
    "Flux2Transformer2DModel": _flux2,
}
