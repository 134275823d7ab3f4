"""The U-Net of Stable Diffusion 1.5 in shapes alone, against which published counts are checked."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def sd15():
    """Network with the denoiser of SD 1.5 on the meta device: 859,520,964 scalars, no memory."""
    import torch
    from diffusers import UNet2DConditionModel

    from bench.method import Network

    with torch.device("meta"):
        denoiser = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
    return Network(denoiser).requires_grad_(False)
