"""The forwards of diffusers' blocks with their positions named, for bypasses (bench.network.sites.bridge).

Each computes what the block's own class computes, in the same order of operations. Where a block has no such tensor
the position is left out of INSIDE, and asking for it is refused:
- A joint block (SD 3, FLUX, FLUX.2) has one attention for picture and text. Positions lie in the picture's stream;
  attn1o and attn2o are one tensor there, attn2i does not exist, and attn2c is what the attention reads of the text.
- A single block (FLUX, FLUX.2) has one stream of text and picture, and attention and feed-forward side by side in one
  projection: only its two ends exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Inside:
    """What is known of one class of block: its forward, and the Linear or Conv2d that tells each position's width."""

    forward: Callable[..., Any]
    widths: dict[str, tuple[str, str]]  # position -> (path, attribute)
    fits: Callable[[Any], bool] = lambda block: True


def inside(block: nn.Module) -> Inside | None:
    """What is known of `block`; None where nothing is."""
    for one in INSIDE.get(type(block).__name__, ()):
        if one.fits(block):
            return one
    return None


def _visit(block: Any) -> Callable[[str, Tensor], Tensor]:
    source, target, name = block.bridged
    delta: Tensor | None = None

    def at(position: str, x: Tensor) -> Tensor:
        nonlocal delta
        if position == source:
            delta = getattr(block, name)(x)
        if position == target:
            assert delta is not None, f"{source} comes after {target}"
            x = x + delta
        return x

    return at


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
    at = _visit(block)
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


def _pixart(
    block: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    timestep: Any = None,
    cross_attention_kwargs: dict[str, Any] | None = None,
    class_labels: Tensor | None = None,
    added_cond_kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """BasicTransformerBlock.forward with PixArt's one modulation; outputs of sub-layers are read before their gate."""
    more = cross_attention_kwargs or {}
    at = _visit(block)
    h0 = at("attn1i", hidden_states)
    table = block.scale_shift_table[None] + timestep.reshape(len(h0), 6, -1)
    shift, scale, gate, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
    n = block.norm1(h0) * (1 + scale) + shift
    a1 = at("attn1o", block.attn1(n, attention_mask=attention_mask, **more))
    h1 = at("attn2i", gate * a1 + h0)
    context = None if encoder_hidden_states is None else at("attn2c", encoder_hidden_states)
    a2 = block.attn2(h1, encoder_hidden_states=context, attention_mask=encoder_attention_mask, **more)
    h2 = at("ffni", at("attn2o", a2) + h1)
    f = at("ffno", block.ff(block.norm2(h2) * (1 + scale_ff) + shift_ff))
    return at("transo", gate_ff * f + h2)


def _sd3(
    block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, joint_attention_kwargs: Any = None
) -> tuple[Tensor | None, Tensor]:
    """JointTransformerBlock.forward; x is (B, N, C), the text (B, L, C)."""
    more = joint_attention_kwargs or {}
    at = _visit(block)
    x, c = at("attn1i", hidden_states), encoder_hidden_states
    n, gate, shift, scale, gate_ff, *second = block.norm1(x, emb=temb)  # gates and the like are (B, C)
    text: Any = None
    if block.context_pre_only:  # the last block has no further use for the text
        nc = block.norm1_context(at("attn2c", c), temb)
    else:
        nc, *text = block.norm1_context(at("attn2c", c), emb=temb)
    a, ac = block.attn(hidden_states=n, encoder_hidden_states=nc, **more)
    x = x + gate.unsqueeze(1) * at("attn2o", at("attn1o", a))
    if second:  # SD 3.5's second attention of the picture on itself
        x = x + second[1].unsqueeze(1) * block.attn2(hidden_states=second[0], **more)
    x = _feed_forward(block, at, x, *(p.unsqueeze(1) for p in (shift, scale, gate_ff)))
    return (None if text is None else _text(block, c, ac, *(p.unsqueeze(1) for p in text))), x


def _flux(
    block: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor,
    image_rotary_emb: Any = None,
    joint_attention_kwargs: Any = None,
) -> tuple[Tensor, Tensor]:
    """FluxTransformerBlock.forward, without the extra output of an image adapter."""
    at = _visit(block)
    x, c = at("attn1i", hidden_states), encoder_hidden_states
    n, gate, *rest = block.norm1(x, emb=temb)
    nc, *text = block.norm1_context(at("attn2c", c), emb=temb)
    more = {"image_rotary_emb": image_rotary_emb, **(joint_attention_kwargs or {})}
    a, ac = block.attn(hidden_states=n, encoder_hidden_states=nc, **more)
    x = x + gate.unsqueeze(1) * at("attn2o", at("attn1o", a))
    x = _feed_forward(block, at, x, *(p.unsqueeze(1) for p in rest))
    return _text(block, c, ac, *(p.unsqueeze(1) for p in text)), x


def _flux2(
    block: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb_mod_img: Tensor,
    temb_mod_txt: Tensor,
    image_rotary_emb: Any = None,
    joint_attention_kwargs: Any = None,
) -> tuple[Tensor, Tensor]:
    """Flux2TransformerBlock.forward: the modulations come from outside, the same for every block."""
    at = _visit(block)
    x, c = at("attn1i", hidden_states), encoder_hidden_states
    shift, scale, gate, *rest = _parts(temb_mod_img, 6)  # each (B, 1, C)
    c_shift, c_scale, *text = _parts(temb_mod_txt, 6)
    n = (1 + scale) * block.norm1(x) + shift
    nc = (1 + c_scale) * block.norm1_context(at("attn2c", c)) + c_shift
    more = {"image_rotary_emb": image_rotary_emb, **(joint_attention_kwargs or {})}
    a, ac = block.attn(hidden_states=n, encoder_hidden_states=nc, **more)
    x = x + gate * at("attn2o", at("attn1o", a))
    return _text(block, c, ac, *text), _feed_forward(block, at, x, *rest)


def _feed_forward(block: Any, at: Any, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    x = at("ffni", x)
    f = at("ffno", block.ff(block.norm2(x) * (1 + scale) + shift))
    return at("transo", x + gate * f)


def _text(block: Any, c: Tensor, a: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, gate_ff: Tensor) -> Tensor:
    c = c + gate * a
    c = c + gate_ff * block.ff_context(block.norm2_context(c) * (1 + scale) + shift)
    return c.clip(-65504, 65504) if c.dtype == torch.float16 else c  # the largest number of that type


def _parts(modulation: Tensor, n: int) -> tuple[Tensor, ...]:
    return (modulation if modulation.ndim == 3 else modulation.unsqueeze(1)).chunk(n, dim=-1)


def _flux_single(block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    """FluxSingleTransformerBlock.forward: text first, then the picture, in one sequence."""
    at = _visit(block)
    words = encoder_hidden_states.shape[1]
    x = at("attn1i", torch.cat([encoder_hidden_states, hidden_states], dim=1))
    x = torch.cat(type(block).forward(block, x[:, words:], x[:, :words], *args, **kwargs), dim=1)
    x = at("transo", x)
    return x[:, :words], x[:, words:]


def _flux2_single(
    block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None, *args: Any, **kwargs: Any
) -> Any:
    """Flux2SingleTransformerBlock.forward, as the transformer calls it: one sequence in, one out."""
    assert encoder_hidden_states is None
    assert not kwargs.get("split_hidden_states")
    at = _visit(block)
    x = at("attn1i", hidden_states)
    return at("transo", type(block).forward(block, x, None, *args, **kwargs))


def _residual(block: Any, input_tensor: Tensor, temb: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    at = _visit(block)
    x = at("resi", input_tensor)
    return at("reso", type(block).forward(block, x, temb, *args, **kwargs))


def _widths(stream: str, *positions: str, text: str = "") -> dict[str, tuple[str, str]]:
    found = {position: (stream, "in_features") for position in positions}
    return found | ({"attn2c": (text, "in_features")} if text else {})


def _cross(block: Any) -> bool:
    return block.attn2 is not None and block.pos_embed is None


_SEQUENTIAL = _widths("attn1.to_q", "attn1i", "attn1o", "attn2i", "attn2o", "ffni", "ffno", "transo", text="attn2.to_k")
_JOINT = _widths("attn.to_q", "attn1i", "attn1o", "attn2o", "ffni", "ffno", "transo", text="attn.add_k_proj")
INSIDE: dict[str, tuple[Inside, ...]] = {
    "BasicTransformerBlock": (
        Inside(_transformer, _SEQUENTIAL, lambda block: block.norm_type == "layer_norm" and _cross(block)),
        Inside(_pixart, _SEQUENTIAL, lambda block: block.norm_type == "ada_norm_single" and _cross(block)),
    ),
    "JointTransformerBlock": (Inside(_sd3, _JOINT),),
    "FluxTransformerBlock": (Inside(_flux, _JOINT),),
    "Flux2TransformerBlock": (Inside(_flux2, _JOINT),),
    "FluxSingleTransformerBlock": (Inside(_flux_single, _widths("proj_mlp", "attn1i", "transo")),),
    "Flux2SingleTransformerBlock": (Inside(_flux2_single, _widths("attn.to_qkv_mlp_proj", "attn1i", "transo")),),
    "ResnetBlock2D": (Inside(_residual, {"resi": ("conv1", "in_channels"), "reso": ("conv2", "out_channels")}),),
}
