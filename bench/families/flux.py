"""FLUX.1: joint and single blocks on packed latents, reading the states of a T5 and the pooled text of a CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.families._joint import FEED_FORWARD, POSITIONS, SHAPE, SHIFTED, feed_forward, joint, text_stream
from bench.families.pieces import STATES, WIDTH, Parts, clip, drawn, scheduler, t5, toy_tokenizer, vae
from bench.network.calls import PATCH, Context, guidance, packed, pooled
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny
from bench.network.forwards import Inside, visit, widths
from bench.network.schedule import Schedule, from_flow_scheduler, linear_mu
from bench.network.sites import attention


def _flux(
    block: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor,
    image_rotary_emb: Any = None,
    joint_attention_kwargs: Any = None,
) -> tuple[Tensor, Tensor]:
    """FluxTransformerBlock.forward, without the extra output of an image adapter."""
    at = visit(block)
    x, c = at("attn1i", hidden_states), encoder_hidden_states
    n, gate, *rest = block.norm1(x, emb=temb)
    nc, *text = block.norm1_context(at("attn2c", c), emb=temb)
    more = {"image_rotary_emb": image_rotary_emb, **(joint_attention_kwargs or {})}
    a, ac = block.attn(hidden_states=n, encoder_hidden_states=nc, **more)
    x = x + gate.unsqueeze(1) * at("attn2o", at("attn1o", a))
    x = feed_forward(block, at, x, *(p.unsqueeze(1) for p in rest))
    return text_stream(block, c, ac, *(p.unsqueeze(1) for p in text)), x


def _flux_single(block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    """FluxSingleTransformerBlock.forward: text first, then the picture, in one sequence."""
    at = visit(block)
    words = encoder_hidden_states.shape[1]
    x = at("attn1i", torch.cat([encoder_hidden_states, hidden_states], dim=1))
    x = torch.cat(type(block).forward(block, x[:, words:], x[:, :words], *args, **kwargs), dim=1)
    x = at("transo", x)
    return x[:, :words], x[:, words:]


def _tiny(seed: int, told: bool = True) -> Parts:
    from diffusers import FluxTransformer2DModel

    def build() -> Any:
        return FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=STATES, pooled_projection_dim=WIDTH, guidance_embeds=told, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip

    second = t5(seed)
    levels = SHIFTED if told else SHIFTED | {"shift": 1.0, "use_dynamic_shifting": False}
    return {
        "transformer": drawn(build, "tiny flux", seed),
        "vae": vae(seed, 16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
                   use_post_quant_conv=False),
        "scheduler": scheduler("FlowMatchEulerDiscreteScheduler", levels),
        "text_encoder": clip(seed), "tokenizer": toy_tokenizer(),
        "text_encoder_2": second["encoder"], "tokenizer_2": second["tokenizer"],
    }  # fmt: skip


@FAMILIES.register
@dataclass(frozen=True)
class Flux(Family):
    """Black Forest Labs 2024: dev reads the guidance scale that it is distilled from, schnell has none."""

    name = "flux"
    title = "FLUX.1"
    published = "2024-08-01"
    classes = ("FluxTransformer2DModel",)
    packed = PATCH
    roles = {
        "FluxTransformerBlock": joint() | FEED_FORWARD,
        "FluxSingleTransformerBlock": attention("attn1", "attn")
        | {"attn1.to_out": ("proj_out",), "ff.up": ("proj_mlp",), "ff.down": ("proj_out",)},
    }
    insides = {
        "FluxTransformerBlock": (Inside(_flux, POSITIONS),),
        "FluxSingleTransformerBlock": (Inside(_flux_single, widths("proj_mlp", "attn1i", "transo")),),
    }
    pipelines = ("FluxPipeline",)
    encoders = ("text_encoder", "text_encoder_2")
    tokenizers = ("tokenizer", "tokenizer_2")
    multiple = 16
    adapter_pipeline = "FluxPipeline"
    models = {
        "flux1-dev": Architecture(
            "FLUX.1-dev",
            "FluxTransformer2DModel",
            11_901_408_320,
            {"guidance_embeds": True},
            source="black-forest-labs/FLUX.1-dev",
            tokens=512,
            small=Small(
                {
                    "num_layers": 1,
                    "num_single_layers": 2,
                    "attention_head_dim": 32,
                    "num_attention_heads": 4,
                    "joint_attention_dim": 64,
                    "pooled_projection_dim": 48,
                    "axes_dims_rope": (8, 12, 12),
                }
            ),
        ),
    }
    tiny = {
        "flux1": Tiny("FluxPipeline", _tiny),
        "flux1-schnell": Tiny("FluxPipeline", partial(_tiny, told=False)),
    }

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        more: dict[str, Any] = {"pooled_projections": pooled(context, denoiser.config.pooled_projection_dim)}
        if denoiser.config.guidance_embeds:
            more["guidance"] = guidance(x, context)
        return packed(denoiser, x, t, context.states, axes=3, **more)

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        more = {"max_sequence_length": tokens} if tokens else {}
        states, text, _ = pipe.encode_prompt(prompts, None, device=device, **more)
        return Context(states, text)

    def schedule(self, scheduler: Any, tokens: int) -> Schedule:
        """Logit-normal times shifted by the picture's size, as FLUX.1 samples.

        Its training was not published; Black Forest Labs, "FLUX.1 Kontext", arXiv:2506.15742, describe that density for
        its successor. FLUX.1-schnell's scheduler has no shift.
        """
        return from_flow_scheduler(scheduler, lambda steps: linear_mu(scheduler, tokens), even=True)

    def guidance(self, denoiser: Any, settings: dict[str, Any]) -> str:
        return "embedded" if denoiser.config.guidance_embeds else "none"

    def toy(self) -> nn.Module:
        from diffusers import FluxTransformer2DModel

        return FluxTransformer2DModel(
            **SHAPE, in_channels=16, num_layers=1, num_single_layers=2, joint_attention_dim=WIDTH,
            guidance_embeds=True, pooled_projection_dim=12, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip
