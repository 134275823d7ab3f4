"""What the U-Nets of SD 1, 2 and SDXL share: blocks with their roles and positions, a noise schedule, a text encoder.

PixArt's blocks are of the same class as those of the U-Nets' transformers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.families.pieces import Parts
from bench.network.family import Roles
from bench.network.forwards import Inside, visit, widths
from bench.network.sites import attention

FEED_FORWARD: Roles = {"ff.up": ("ff.net.0.proj",), "ff.down": ("ff.net.2",)}
TRANSFORMER: Roles = attention("attn1", "attn1") | attention("attn2", "attn2") | FEED_FORWARD
CLIP: Roles = {f"attn1.to_{x}": (f"self_attn.{x}_proj",) for x in ("q", "k", "v", "out")} | {
    "ff.up": ("mlp.fc1",),
    "ff.down": ("mlp.fc2",),
}  # for net.text
ROLES = {"BasicTransformerBlock": TRANSFORMER, "CLIPEncoderLayer": CLIP}
RESBLOCKS = ("ResnetBlock2D",)


def _transformer(
    block: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    timestep: Tensor | None = None,
    cross_attention_kwargs: dict[str, Any] | None = None,
    class_labels: Tensor | None = None,
    added_cond_kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """BasicTransformerBlock.forward with a plain layer norm; x is (B, L, C)."""
    more = cross_attention_kwargs or {}
    at = visit(block)
    context = encoder_hidden_states
    h0 = at("attn1i", hidden_states)
    own = context if block.only_cross_attention else None
    a1 = at("attn1o", block.attn1(block.norm1(h0), encoder_hidden_states=own, attention_mask=attention_mask, **more))
    h1 = at("attn2i", a1 + h0)
    if context is not None:
        context = at("attn2c", context)
    a2 = block.attn2(block.norm2(h1), encoder_hidden_states=context, attention_mask=encoder_attention_mask, **more)
    h2 = at("ffni", at("attn2o", a2) + h1)
    f = at("ffno", block.ff(block.norm3(h2)))
    return at("transo", f + h2)


def _residual(block: Any, input_tensor: Tensor, temb: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    at = visit(block)
    x = at("resi", input_tensor)
    return at("reso", type(block).forward(block, x, temb, *args, **kwargs))


def cross(block: Any) -> bool:
    """Whether a BasicTransformerBlock reads text and adds no places of its own."""
    return block.attn2 is not None and block.pos_embed is None


SEQUENTIAL = widths("attn1.to_q", "attn1i", "attn1o", "attn2i", "attn2o", "ffni", "ffno", "transo", text="attn2.to_k")
INSIDES = {
    "BasicTransformerBlock": (
        Inside(_transformer, SEQUENTIAL, lambda block: block.norm_type == "layer_norm" and cross(block)),
    ),
    "ResnetBlock2D": (Inside(_residual, {"resi": ("conv1", "in_channels"), "reso": ("conv2", "out_channels")}),),
}

# Stable Diffusion's noise levels, as the schedulers of SD 1, 2 and SDXL are configured
LEVELS: Parts = {
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
    "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None,
}  # fmt: skip
