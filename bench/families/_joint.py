"""What SD 3, FLUX.1 and FLUX.2 share: joint blocks, one attention over the picture's stream and the text's.

Positions lie in the picture's stream; attn1o and attn2o are one tensor there, attn2i does not exist, and attn2c is what
the attention reads of the text. A single block (FLUX.1, FLUX.2) has one stream of text and picture, and attention and
feed-forward side by side in one projection: only its two ends exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.families.pieces import Parts
from bench.network.family import Roles
from bench.network.forwards import widths
from bench.network.sites import attention


def joint(dual: bool = False) -> Roles:
    """Roles of its attention: diffusers calls the text's layers add_*_proj and to_add_out."""
    own = attention("attn1", "attn")
    if dual:  # SD 3.5 has a second attention of the picture on itself, and calls it attn2
        own = {role: (*paths, paths[0].replace("attn.", "attn2.", 1)) for role, paths in own.items()}
    text = {f"attn2.to_{x}": (f"attn.add_{x}_proj",) for x in "qkv"} | {"attn2.to_out": ("attn.to_add_out",)}
    return own | text


FEED_FORWARD: Roles = {
    "ff.up": ("ff.net.0.proj", "ff_context.net.0.proj"),
    "ff.down": ("ff.net.2", "ff_context.net.2"),
}
POSITIONS = widths("attn.to_q", "attn1i", "attn1o", "attn2o", "ffni", "ffno", "transo", text="attn.add_k_proj")


def feed_forward(block: Any, at: Any, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    """The rest of the picture's way: its output of x (B, N, C) after attention, each position visited by `at`."""
    x = at("ffni", x)
    f = at("ffno", block.ff(block.norm2(x) * (1 + scale) + shift))
    return at("transo", x + gate * f)


def text_stream(
    block: Any, c: Tensor, a: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, gate_ff: Tensor
) -> Tensor:
    """The rest of the text's way through a joint block: its output of c (B, L, C) and of attention's a."""
    c = c + gate * a
    c = c + gate_ff * block.ff_context(block.norm2_context(c) * (1 + scale) + shift)
    return c.clip(-65504, 65504) if c.dtype == torch.float16 else c  # the largest number of that type


# A stream of 16 features, for toys
SHAPE: Any = {"attention_head_dim": 8, "num_attention_heads": 2}
# FLUX's noise levels, as its schedulers are configured
SHIFTED: Parts = {
    "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15,
    "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
}  # fmt: skip
