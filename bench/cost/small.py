"""Small siblings of the published denoisers: the true class and every switch of its configuration, less of each size.

They have real tensors, so what is forecast for a class can be measured on any machine in seconds, and `litmus cost` has
something to time where the true size is too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from bench.bases.architectures import ARCHITECTURES
from bench.bases.toy import drawn, frozen
from bench.core.errors import LitmusError, nearest
from bench.method import Network

SUFFIX = "-small"  # of the name by which `litmus cost --base` takes one


@dataclass(frozen=True)
class Small:
    """What differs from the published configuration; tokens of a prompt; a text side of this width."""

    config: dict[str, Any]
    tokens: int = 64
    text: int = 0


_UNET: dict[str, Any] = {"sample_size": 32, "layers_per_block": 1, "cross_attention_dim": 64}
_SD35: dict[str, Any] = {
    "sample_size": 32,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 128,
    "pooled_projection_dim": 48,
    "pos_embed_max_size": 32,
}
_FLUX: dict[str, Any] = {
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
}

SMALL: dict[str, Small] = {
    "sd15": Small({**_UNET, "block_out_channels": (32, 64, 128, 128), "attention_head_dim": 4}, 77, text=64),
    "sd21": Small({**_UNET, "block_out_channels": (32, 64, 128, 128), "attention_head_dim": (1, 2, 4, 4)}, 77, text=64),
    "sdxl": Small(
        {
            **_UNET,
            "block_out_channels": (32, 64, 128),
            "transformer_layers_per_block": (1, 1, 3),
            "attention_head_dim": (1, 2, 4),
            "addition_time_embed_dim": 16,
            "projection_class_embeddings_input_dim": 6 * 16 + 48,
        },
        77,
    ),
    "sd35-medium": Small({**_SD35, "dual_attention_layers": (0, 1)}),
    "sd35-large": Small(_SD35),
    "pixart-sigma": Small(
        {
            "sample_size": 32,
            "num_layers": 3,
            "num_attention_heads": 4,
            "attention_head_dim": 36,
            "cross_attention_dim": 144,
            "caption_channels": 64,
        }
    ),
    "flux1-dev": Small({**_FLUX, "pooled_projection_dim": 48, "axes_dims_rope": (8, 12, 12)}),
    "flux2-klein-4b": Small({**_FLUX, "axes_dims_rope": (8, 8, 8, 8)}),
}


def small(name: str) -> Network:
    """The small sibling of an architecture, random and frozen, in eval mode, x (B, C, 32, 32).

    Built on the default device, so that `with torch.device("meta")` gives its shapes alone. Raises LitmusError for a
    name that has none.
    """
    import diffusers

    if name not in SMALL:
        raise LitmusError(nearest(name, SMALL, "small base"))
    one, published = SMALL[name], ARCHITECTURES[name]
    cls = getattr(diffusers, published.cls)
    denoiser = drawn(lambda: cls(**{**published.config, **one.config}), f"small {name}", 0)
    return frozen(Network(denoiser, _text(one.text) if one.text else None))


def _text(width: int) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=1000,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=998,
        eos_token_id=999,
        pad_token_id=999,
    )
    return drawn(lambda: CLIPTextModel(config), "small text", 0)
