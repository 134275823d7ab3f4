"""Toy transformers: the true classes of diffusers behind SD 3, PixArt, FLUX.1 and FLUX.2, tiny and with random weights.

Each is frozen, in eval mode, and takes x (B, C, 8, 8), t (B,), context (B, L, 16) through Network.forward. Built on the
default device, so `with torch.device("meta")` gives shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from bench.bases.toy import WIDTH, drawn, frozen
from bench.method import Network

SHAPE: Any = {"attention_head_dim": 8, "num_attention_heads": 2}  # a stream of 16 features


def _sd3() -> nn.Module:
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        **SHAPE, sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, joint_attention_dim=WIDTH,
        caption_projection_dim=16, pooled_projection_dim=24, pos_embed_max_size=8, dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )  # fmt: skip


def _pixart() -> nn.Module:
    from diffusers import PixArtTransformer2DModel

    return PixArtTransformer2DModel(
        attention_head_dim=8, num_attention_heads=3,  # a stream of 24: three parts of it tell the picture's size
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, cross_attention_dim=24,
        caption_channels=WIDTH, use_additional_conditions=True, norm_num_groups=1,
    )  # fmt: skip


def _flux() -> nn.Module:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        **SHAPE, in_channels=16, num_layers=1, num_single_layers=2, joint_attention_dim=WIDTH, guidance_embeds=True,
        pooled_projection_dim=12, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


def _flux2() -> nn.Module:
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        **SHAPE, in_channels=16, num_layers=1, num_single_layers=2, joint_attention_dim=WIDTH,
        timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), guidance_embeds=False,
    )  # fmt: skip


TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {"sd3": _sd3, "pixart": _pixart, "flux": _flux, "flux2": _flux2}


def toy_transformer(kind: str = "sd3", seed: int = 0) -> Network:
    """Denoiser only; `kind` is a key of TRANSFORMERS."""
    return frozen(Network(drawn(TRANSFORMERS[kind], f"toy {kind}", seed)))
