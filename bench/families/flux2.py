"""FLUX.2: joint and single blocks with modulations from outside, reading three layers of a language model's states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.families._joint import POSITIONS, SHAPE, feed_forward, joint, text_stream
from bench.families._tiny_flux2 import dev, klein
from bench.families.pieces import WIDTH
from bench.network.calls import PATCH, Context, guidance, packed
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny
from bench.network.forwards import Inside, visit, widths
from bench.network.schedule import Schedule, from_flow_scheduler


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
    at = visit(block)
    x, c = at("attn1i", hidden_states), encoder_hidden_states
    shift, scale, gate, *rest = _parts(temb_mod_img, 6)  # each (B, 1, C)
    c_shift, c_scale, *text = _parts(temb_mod_txt, 6)
    n = (1 + scale) * block.norm1(x) + shift
    nc = (1 + c_scale) * block.norm1_context(at("attn2c", c)) + c_shift
    more = {"image_rotary_emb": image_rotary_emb, **(joint_attention_kwargs or {})}
    a, ac = block.attn(hidden_states=n, encoder_hidden_states=nc, **more)
    x = x + gate * at("attn2o", at("attn1o", a))
    return text_stream(block, c, ac, *text), feed_forward(block, at, x, *rest)


def _parts(modulation: Tensor, n: int) -> tuple[Tensor, ...]:
    return (modulation if modulation.ndim == 3 else modulation.unsqueeze(1)).chunk(n, dim=-1)


def _flux2_single(
    block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None, *args: Any, **kwargs: Any
) -> Any:
    """Flux2SingleTransformerBlock.forward, as the transformer calls it: one sequence in, one out."""
    assert encoder_hidden_states is None
    assert not kwargs.get("split_hidden_states")
    at = visit(block)
    x = at("attn1i", hidden_states)
    return at("transo", type(block).forward(block, x, None, *args, **kwargs))


FUSED = ("attn.to_qkv_mlp_proj",)  # the single blocks' q, k, v and the feed-forward's first layer are one Linear
FEED_FORWARD = {
    "ff.up": ("ff.linear_in", "ff_context.linear_in"),
    "ff.down": ("ff.linear_out", "ff_context.linear_out"),
}


@FAMILIES.register
@dataclass(frozen=True)
class Flux2(Family):
    """Black Forest Labs 2025: dev reads a guidance scale; klein comes plain and distilled."""

    name = "flux2"
    title = "FLUX.2"
    published = "2025-11-25"
    classes = ("Flux2Transformer2DModel",)
    packed = PATCH
    roles = {
        "Flux2TransformerBlock": joint() | FEED_FORWARD,
        "Flux2SingleTransformerBlock": {role: FUSED for role in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "ff.up")}
        | {role: ("attn.to_out",) for role in ("attn1.to_out", "ff.down")},
    }
    insides = {
        "Flux2TransformerBlock": (Inside(_flux2, POSITIONS),),
        "Flux2SingleTransformerBlock": (Inside(_flux2_single, widths(FUSED[0], "attn1i", "transo")),),
    }
    pipelines = ("Flux2Pipeline", "Flux2KleinPipeline")
    multiple = 16
    adapter_pipeline = "Flux2Pipeline"
    models = {
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
            tokens=512,
            small=Small(
                {
                    "num_layers": 1,
                    "num_single_layers": 2,
                    "attention_head_dim": 32,
                    "num_attention_heads": 4,
                    "joint_attention_dim": 64,
                    "axes_dims_rope": (8, 8, 8, 8),
                }
            ),
        ),
    }
    tiny = {
        "flux2-dev": Tiny("Flux2Pipeline", dev),
        "flux2-klein": Tiny("Flux2KleinPipeline", klein, {"is_distilled": False}),
        "flux2-klein-distilled": Tiny("Flux2KleinPipeline", klein, {"is_distilled": True}),
    }

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        scale = guidance(x, context) if getattr(denoiser.config, "guidance_embeds", True) else None
        return packed(denoiser, x, t, context.states, axes=4, text_axis=3, guidance=scale)

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        more: dict[str, Any] = {"max_sequence_length": tokens} if tokens else {}
        return Context(pipe.encode_prompt(prompts, device=device, **more)[0])

    def schedule(self, scheduler: Any, tokens: int) -> Schedule:
        """As FLUX.1, with the shift that FLUX.2's pipelines fit to size and steps; training has that of 50 steps."""
        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        return from_flow_scheduler(scheduler, lambda steps: compute_empirical_mu(tokens, steps), even=True)

    def toy(self) -> nn.Module:
        from diffusers import Flux2Transformer2DModel

        return Flux2Transformer2DModel(
            **SHAPE, in_channels=16, num_layers=1, num_single_layers=2, joint_attention_dim=WIDTH,
            timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), guidance_embeds=False,
        )  # fmt: skip


# The layers that the leaderboard of huggingface/peft's image generation comparison adapts in FLUX.2-klein-base-4B.
LEADERBOARD_TARGETS = "+".join(
    f".{name}"
    for name in (
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("linear_in", "linear_out", "to_qkv_mlp_proj"),
    )
)
