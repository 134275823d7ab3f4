"""PixArt-Alpha and -Sigma: self- and cross-attention under one modulation, reading the states of a T5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.families._unet import SEQUENTIAL, TRANSFORMER, cross
from bench.families.pieces import STATES, WIDTH, Parts, drawn, scheduler, t5, vae
from bench.network.calls import Context, picture_size
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny
from bench.network.forwards import Inside, visit


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
    at = visit(block)
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


LEVELS: Parts = {
    "algorithm_type": "dpmsolver++", "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001,
    "dynamic_thresholding_ratio": 0.995, "euler_at_final": False, "lambda_min_clipped": -math.inf,
    "lower_order_final": True, "num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0,
    "solver_order": 2, "solver_type": "midpoint", "steps_offset": 0, "thresholding": False,
    "timestep_spacing": "linspace", "trained_betas": None, "use_karras_sigmas": False, "use_lu_lambdas": False,
    "variance_type": None,
}  # fmt: skip


def _tiny(seed: int) -> Parts:
    from diffusers import PixArtTransformer2DModel

    def build() -> Any:
        return PixArtTransformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
            num_attention_heads=3, cross_attention_dim=24, caption_channels=STATES, use_additional_conditions=False,
            norm_num_groups=1,
        )  # fmt: skip

    text = t5(seed)
    return {
        "transformer": drawn(build, "tiny pixart", seed), "vae": vae(seed, scaling_factor=0.13025),
        "scheduler": scheduler("DPMSolverMultistepScheduler", LEVELS), "text_encoder": text["encoder"],
        "tokenizer": text["tokenizer"],
    }  # fmt: skip


@FAMILIES.register
@dataclass(frozen=True)
class PixArt(Family):
    """Chen et al. 2024."""

    name = "pixart"
    title = "PixArt-Sigma"
    published = "2024-03-07"
    paper = "arXiv:2403.04692"
    classes = ("PixArtTransformer2DModel",)
    roles = {"BasicTransformerBlock": TRANSFORMER}
    insides = {
        "BasicTransformerBlock": (
            Inside(_pixart, SEQUENTIAL, lambda block: block.norm_type == "ada_norm_single" and cross(block)),
        )
    }
    pipelines = ("PixArtSigmaPipeline", "PixArtAlphaPipeline")
    multiple = 16
    models = {
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
            tokens=300,
            small=Small(
                {
                    "sample_size": 32,
                    "num_layers": 3,
                    "num_attention_heads": 4,
                    "attention_head_dim": 36,
                    "cross_attention_dim": 144,
                    "caption_channels": 64,
                }
            ),
        ),
    }
    tiny = {"pixart": Tiny("PixArtSigmaPipeline", _tiny)}

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
        if denoiser.use_additional_conditions:
            h, w = picture_size(x)
            sizes = {
                "resolution": x.new_tensor([[h, w]]).expand(len(x), 2),
                "aspect_ratio": x.new_full((len(x), 1), h / w),
            }
        told = {"encoder_hidden_states": context.states, "encoder_attention_mask": context.mask}
        out = denoiser(x, timestep=t, added_cond_kwargs=sizes, **told).sample
        return out[:, : x.shape[1]]  # the second half of the channels is a learned variance

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        more = {"max_sequence_length": tokens} if tokens else {}
        states, mask, *_ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, device=device, **more)
        return Context(states, mask=mask)

    def toy(self) -> nn.Module:
        from diffusers import PixArtTransformer2DModel

        return PixArtTransformer2DModel(
            attention_head_dim=8, num_attention_heads=3,  # a stream of 24: three parts of it tell the picture's size
            sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, cross_attention_dim=24,
            caption_channels=WIDTH, use_additional_conditions=True, norm_num_groups=1,
        )  # fmt: skip
