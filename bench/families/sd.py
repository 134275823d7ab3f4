"""SD 1 and 2: a U-Net that reads the states of one CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.families import _unet
from bench.families.pieces import WIDTH, Parts, clip, scheduler, toy_tokenizer, unet, vae
from bench.network.calls import Context
from bench.network.family import FAMILIES, Architecture, Family, Small, Tiny

SIZES: dict[str, Any] = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2}
SMALL: dict[str, Any] = {
    "sample_size": 32, "layers_per_block": 1, "cross_attention_dim": 64, "block_out_channels": (32, 64, 128, 128),
}  # fmt: skip


def _tiny(seed: int, **parts: Any) -> Parts:
    return {
        "unet": unet(seed), "vae": vae(seed), "text_encoder": clip(seed), "tokenizer": toy_tokenizer(),
        "scheduler": scheduler("PNDMScheduler", _unet.LEVELS), **parts,
    }  # fmt: skip


def _tiny21(seed: int) -> Parts:
    levels = scheduler("DDIMScheduler", _unet.LEVELS | {"prediction_type": "v_prediction"})
    return _tiny(seed, unet=unet(seed, use_linear_projection=True, attention_head_dim=(2, 4)), scheduler=levels)


ASIDE = {"safety_checker": [None, None], "feature_extractor": [None, None]}


@FAMILIES.register
@dataclass(frozen=True)
class SD(Family):
    """Rombach et al. 2022; SD 2.1 predicts v."""

    name = "sd"
    title = "SD 1 and 2"
    published = "2022-08-22"
    paper = "arXiv:2112.10752"
    classes = ("UNet2DConditionModel",)
    roles = _unet.ROLES
    insides = _unet.INSIDES
    resblocks = _unet.RESBLOCKS
    pipelines = ("StableDiffusionPipeline",)
    denoiser = "unet"
    adapter_pipeline = "StableDiffusionPipeline"
    models = {
        "sd15": Architecture(
            "SD 1.5",
            "UNet2DConditionModel",
            859_520_964,
            {**SIZES, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
            {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            small=Small({**SMALL, "attention_head_dim": 4}, 77, text=64),
        ),
        "sd21": Architecture(
            "SD 2.1",
            "UNet2DConditionModel",
            865_910_724,
            {
                **SIZES,
                "sample_size": 96,
                "cross_attention_dim": 1024,
                "attention_head_dim": (5, 10, 20, 20),
                "use_linear_projection": True,
            },
            {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
            "stabilityai/stable-diffusion-2-1",
            small=Small({**SMALL, "attention_head_dim": (1, 2, 4, 4)}, 77, text=64),
        ),
    }
    tiny = {
        "sd15": Tiny("StableDiffusionPipeline", _tiny, ASIDE),
        "sd21": Tiny("StableDiffusionPipeline", _tiny21, ASIDE),
    }

    def fits(self, denoiser: Any) -> bool:
        return super().fits(denoiser) and getattr(denoiser.config, "addition_embed_type", None) is None

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        return Context(pipe.encode_prompt(prompts, device, 1, False)[0])

    def toy(self, middle: bool = True) -> nn.Module:
        """Every kind of site that the published U-Net has; without its middle block a quarter fewer of them."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DCrossAttn" if middle else None,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
        )
