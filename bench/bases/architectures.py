"""Published denoisers in shapes alone: the numbers of their config.json files, built on the meta device, no weights.

`shape(name)` gives a Network whose tensors have no storage; methods count on it (litmus params). Only what differs from
the class's own defaults in diffusers is written down. The text side is there where it is a single CLIP, since a
Network has one text side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

from bench.core.errors import LitmusError, nearest
from bench.method import Network


@dataclass(frozen=True)
class Architecture:
    """A denoiser's class in diffusers and its configuration; `scalars` is what the class must come to."""

    title: str
    cls: str
    scalars: int | None
    config: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] | None = None  # of a transformers CLIPTextModel
    source: str = ""  # the repository whose config.json it is


_SD = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2}
_SD35: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "qk_norm": "rms_norm",
}

ARCHITECTURES: dict[str, Architecture] = {
    "sd15": Architecture(
        "SD 1.5",
        "UNet2DConditionModel",
        859_520_964,
        {**_SD, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    "sd21": Architecture(
        "SD 2.1",
        "UNet2DConditionModel",
        865_910_724,
        {
            **_SD,
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
        "stabilityai/stable-diffusion-2-1",
    ),
    "sdxl": Architecture(
        "SDXL",
        "UNet2DConditionModel",
        2_567_463_684,
        {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        source="stabilityai/stable-diffusion-xl-base-1.0",
    ),
    "sd35-medium": Architecture(
        "SD 3.5 medium",
        "SD3Transformer2DModel",
        2_243_171_520,
        {
            **_SD35,
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
        },
        source="stabilityai/stable-diffusion-3.5-medium",
    ),
    "sd35-large": Architecture(
        "SD 3.5 large",
        "SD3Transformer2DModel",
        8_056_627_520,
        {
            **_SD35,
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
        },
        source="stabilityai/stable-diffusion-3.5-large",
    ),
    "pixart-sigma": Architecture(
        "PixArt-Sigma",
        "PixArtTransformer2DModel",
        610_856_096,
        {
            "sample_size": 128,
            "num_layers": 28,
            "num_attention_heads": 16,
            "attention_head_dim": 72,
            "in_channels": 4,
            "out_channels": 8,
            "cross_attention_dim": 1152,
            "caption_channels": 4096,
            "use_additional_conditions": False,
        },
        source="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    ),
    "flux1-dev": Architecture(
        "FLUX.1-dev",
        "FluxTransformer2DModel",
        11_901_408_320,
        {"guidance_embeds": True},
        source="black-forest-labs/FLUX.1-dev",
    ),
    "flux2-klein-4b": Architecture(
        "FLUX.2-klein-4B",
        "Flux2Transformer2DModel",
        3_875_544_576,
        {
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
        source="black-forest-labs/FLUX.2-klein-base-4B",
    ),
    "pocket": Architecture("pocket", "UNet2DConditionModel", None, source="litmus pocket"),
}

# The layers that the leaderboard of huggingface/peft's image generation comparison adapts in FLUX.2-klein-base-4B.
LEADERBOARD_TARGETS = "+".join(
    f".{name}"
    for name in (
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("linear_in", "linear_out", "to_qkv_mlp_proj"),
    )
)


@cache
def shape(name: str) -> Network:
    """The Network of an architecture on the meta device, frozen; built once per process, not to be changed.

    Raises LitmusError for an unknown name.
    """
    import diffusers  # noqa: F401  what it imports of torch 2.6 cannot be imported while the meta device is set

    with torch.device("meta"):
        return build(name)


def build(name: str) -> Network:
    """The same on the default device with the random numbers that its class starts from, frozen; a new one each time.

    Raises LitmusError for an unknown name.
    """
    import diffusers

    if name not in ARCHITECTURES:
        raise LitmusError(nearest(name, ARCHITECTURES, "base"))
    one = _pocket() if name == "pocket" else ARCHITECTURES[name]
    denoiser = getattr(diffusers, one.cls)(**one.config)
    return Network(denoiser, None if one.text is None else _clip(one.text)).requires_grad_(False)


def _clip(config: dict[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config))


def _pocket() -> Architecture:
    """Read from the configurations that lie beside the weights."""
    from bench.bases.pocket import FOLDER

    configs = []
    for part in ("unet", "text_encoder"):
        file = FOLDER / part / "config.json"
        if not file.is_file():
            raise LitmusError("the pocket base is not there: reinstall, or `litmus pocket train`")
        found = json.loads(file.read_text(encoding="utf-8"))
        configs.append({key: value for key, value in found.items() if not key.startswith("_")})
    return Architecture("pocket", "UNet2DConditionModel", None, configs[0], configs[1])
