"""SDXL: a U-Net that reads the states of two CLIPs, the pooled text of the second and the picture's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.families import _unet
from bench.families.pieces import WIDTH, Parts, clip, scheduler, toy_tokenizer, unet, vae
from bench.network.calls import Context, picture_size, pooled
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny

LEVELS = {
    "interpolation_type": "linear", "prediction_type": "epsilon", "sample_max_value": 1.0,
    "timestep_spacing": "leading", "use_karras_sigmas": False,
}  # fmt: skip


def _tiny(seed: int) -> Parts:
    denoiser = unet(
        seed, use_linear_projection=True, transformer_layers_per_block=(1, 2), cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )  # fmt: skip
    return {
        "unet": denoiser, "vae": vae(seed, scaling_factor=0.13025, force_upcast=True),
        "scheduler": scheduler("EulerDiscreteScheduler", _unet.LEVELS | LEVELS),
        "text_encoder": clip(seed), "tokenizer": toy_tokenizer(),
        "text_encoder_2": clip(seed, True, "tiny clip 2"), "tokenizer_2": toy_tokenizer(),
    }  # fmt: skip


@FAMILIES.register
@dataclass(frozen=True)
class SDXL(Family):
    """Podell et al. 2023."""

    name = "sdxl"
    title = "SDXL"
    published = "2023-07-04"
    paper = "arXiv:2307.01952"
    classes = ("UNet2DConditionModel",)
    roles = _unet.ROLES
    insides = _unet.INSIDES
    resblocks = _unet.RESBLOCKS
    pipelines = ("StableDiffusionXLPipeline",)
    denoiser = "unet"
    encoders = ("text_encoder", "text_encoder_2")
    tokenizers = ("tokenizer", "tokenizer_2")
    adapter_pipeline = "StableDiffusionPipeline"
    models = {
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
            tokens=77,
            small=Small(
                {
                    "sample_size": 32,
                    "layers_per_block": 1,
                    "cross_attention_dim": 64,
                    "block_out_channels": (32, 64, 128),
                    "transformer_layers_per_block": (1, 1, 3),
                    "attention_head_dim": (1, 2, 4),
                    "addition_time_embed_dim": 16,
                    "projection_class_embeddings_input_dim": 6 * 16 + 48,
                },
                77,
            ),
        ),
    }
    tiny = {"sdxl": Tiny("StableDiffusionXLPipeline", _tiny, {"force_zeros_for_empty_prompt": True})}

    def fits(self, denoiser: Any) -> bool:
        return super().fits(denoiser) and getattr(denoiser.config, "addition_embed_type", None) == "text_time"

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        config = denoiser.config
        six = 6 * config.addition_time_embed_dim
        h, w = picture_size(x)
        # original size, crop, target size
        sizes = torch.tensor([h, w, 0, 0, h, w], device=x.device, dtype=x.dtype).expand(len(x), 6)
        text = pooled(context, config.projection_class_embeddings_input_dim - six)
        more = {"added_cond_kwargs": {"text_embeds": text, "time_ids": sizes}}
        return denoiser(x, t, encoder_hidden_states=context.states, **more).sample

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        found = pipe.encode_prompt(prompts, device=device, do_classifier_free_guidance=True)
        states, empty, text, empty_text = found  # the empty ones may be zeros: force_zeros_for_empty_prompt
        blank = torch.tensor([not prompt for prompt in prompts], device=states.device)
        return Context(torch.where(blank[:, None, None], empty, states), torch.where(blank[:, None], empty_text, text))

    def toy(self) -> nn.Module:
        from diffusers import UNet2DConditionModel

        stages: Any = {"transformer_layers_per_block": (1, 2), "attention_head_dim": (2, 4)}
        return UNet2DConditionModel(
            **stages, sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=WIDTH,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 20,
        )  # fmt: skip
