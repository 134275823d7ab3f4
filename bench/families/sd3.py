"""SD 3: joint blocks over the picture and the states of two CLIPs and a T5, in a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.families._joint import FEED_FORWARD, POSITIONS, SHAPE, feed_forward, joint, text_stream
from bench.families.pieces import STATES, WIDTH, Parts, clip, drawn, scheduler, t5, toy_tokenizer, vae
from bench.network.calls import Context, pooled
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny
from bench.network.forwards import Inside, visit
from bench.network.schedule import Schedule, from_flow_scheduler, linear_mu
from bench.network.sites import attention


def _sd3(
    block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, joint_attention_kwargs: Any = None
) -> tuple[Tensor | None, Tensor]:
    """JointTransformerBlock.forward; x is (B, N, C), the text (B, L, C)."""
    more = joint_attention_kwargs or {}
    at = visit(block)
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
    x = feed_forward(block, at, x, *(p.unsqueeze(1) for p in (shift, scale, gate_ff)))
    return (None if text is None else text_stream(block, c, ac, *(p.unsqueeze(1) for p in text))), x


SIZES: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "qk_norm": "rms_norm",
}
SMALL: dict[str, Any] = {
    "sample_size": 32,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 128,
    "pooled_projection_dim": 48,
    "pos_embed_max_size": 32,
}


def _tiny(seed: int) -> Parts:
    from diffusers import SD3Transformer2DModel

    def build() -> Any:
        return SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=STATES, caption_projection_dim=16,
            pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16, dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip

    third = t5(seed)
    return {
        "transformer": drawn(build, "tiny sd3", seed),
        "vae": vae(seed, 16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
                   use_post_quant_conv=False),
        "scheduler": scheduler("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": 3.0}),
        "text_encoder": clip(seed, True), "tokenizer": toy_tokenizer(),
        "text_encoder_2": clip(seed, True, "tiny clip 2"), "tokenizer_2": toy_tokenizer(),
        "text_encoder_3": third["encoder"], "tokenizer_3": third["tokenizer"],
    }  # fmt: skip


@FAMILIES.register
@dataclass(frozen=True)
class SD3(Family):
    """Esser et al. 2024; SD 3.5 medium has a second attention of the picture on itself."""

    name = "sd3"
    title = "SD 3"
    published = "2024-03-05"
    paper = "arXiv:2403.03206"
    classes = ("SD3Transformer2DModel",)
    roles = {
        "JointTransformerBlock": joint(dual=True) | FEED_FORWARD,
        "SD3SingleTransformerBlock": attention("attn1", "attn") | FEED_FORWARD,
    }
    insides = {"JointTransformerBlock": (Inside(_sd3, POSITIONS),)}
    pipelines = ("StableDiffusion3Pipeline",)
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    multiple = 16
    adapter_pipeline = "StableDiffusion3Pipeline"
    models = {
        "sd35-medium": Architecture(
            "SD 3.5 medium",
            "SD3Transformer2DModel",
            2_243_171_520,
            {
                **SIZES,
                "num_layers": 24,
                "num_attention_heads": 24,
                "caption_projection_dim": 1536,
                "pos_embed_max_size": 384,
                "dual_attention_layers": tuple(range(13)),
            },
            source="stabilityai/stable-diffusion-3.5-medium",
            tokens=333,
            small=Small({**SMALL, "dual_attention_layers": (0, 1)}),
        ),
        "sd35-large": Architecture(
            "SD 3.5 large",
            "SD3Transformer2DModel",
            8_056_627_520,
            {
                **SIZES,
                "num_layers": 38,
                "num_attention_heads": 38,
                "caption_projection_dim": 2432,
                "pos_embed_max_size": 192,
            },
            source="stabilityai/stable-diffusion-3.5-large",
            tokens=333,
            small=Small(SMALL),
        ),
    }
    tiny = {"sd35": Tiny("StableDiffusion3Pipeline", _tiny)}

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        text = pooled(context, denoiser.config.pooled_projection_dim)
        return denoiser(x, encoder_hidden_states=context.states, pooled_projections=text, timestep=t).sample

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        more = {"max_sequence_length": tokens} if tokens else {}
        states, _, text, _ = pipe.encode_prompt(
            prompts, None, None, device=device, do_classifier_free_guidance=False, **more
        )
        return Context(states, text)

    def schedule(self, scheduler: Any, tokens: int) -> Schedule:
        """Logit-normal times with the scheduler's shift: Esser et al., sections 3.1 and 5.3.2."""
        return from_flow_scheduler(scheduler, lambda steps: linear_mu(scheduler, tokens), even=False)

    def toy(self) -> nn.Module:
        from diffusers import SD3Transformer2DModel

        return SD3Transformer2DModel(
            **SHAPE, sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
            joint_attention_dim=WIDTH, caption_projection_dim=16, pooled_projection_dim=24, pos_embed_max_size=8,
            dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip
