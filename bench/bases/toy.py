"""A base small enough for tests, made in memory from a seed: true classes of diffusers and transformers, no weights.

`toy_network` has every kind of site that Stable Diffusion's U-Net has (residual blocks with and without a shortcut,
self- and cross-attention, a feed-forward, group and layer norms), a few thousand times smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from bench.families.pieces import LENGTH, WIDTH, WORDS, drawn, frozen, toy_tokenizer
from bench.families.sd import SD
from bench.method import Network

if TYPE_CHECKING:
    from bench.bases.base import Base

__all__ = [
    "LENGTH", "WIDTH", "WORDS", "drawn", "frozen", "toy_base", "toy_network", "toy_text", "toy_tokenizer",
]  # fmt: skip


def toy_network(seed: int = 0, middle: bool = True) -> Network:
    """Denoiser only, random, frozen, in eval mode: x (B, 4, 8, 8), t (B,), context (B, L, 16) -> (B, 4, 8, 8).

    About 0.25 M scalars. Without its middle block it has every kind of site still, a quarter fewer of them. Built
    on the default device, so `with torch.device("meta")` gives its shapes alone.
    """
    return frozen(Network(drawn(lambda: SD().toy(middle), "toy denoiser", seed)))


def toy_text(seed: int = 0) -> nn.Module:
    """A text encoder for ids (B, LENGTH) of `toy_tokenizer` -> states (B, LENGTH, WIDTH), random and frozen."""
    from transformers import CLIPTextConfig, CLIPTextModel

    tokens = toy_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return frozen(drawn(lambda: CLIPTextModel(config), "toy text", seed))


def toy_base(seed: int = 0) -> Base:
    """A whole base in fp32 at 32 x 32 pixels: `toy_network` with a text side, tokenizer, VAE and schedule.

    Its pictures are noise of the right shape; it knows some thirty words. Each call builds a base of its own.
    """
    from diffusers import AutoencoderKL, DDIMScheduler

    from bench.bases.base import Base, digest_of
    from bench.network.schedule import from_scheduler

    tokens = toy_tokenizer()
    # Three blocks halve the picture twice: 32 pixels -> 8 latents a side.
    blocks: Any = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 8, 8),
    }

    def build_vae() -> nn.Module:
        return AutoencoderKL(
            **blocks,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
        )

    net = toy_network(seed)
    net.text = toy_text(seed)
    vae = frozen(drawn(build_vae, "toy vae", seed))
    return Base(
        name="toy",
        net=net,
        tokenizer=tokens,
        vae=vae,
        schedule=from_scheduler(DDIMScheduler(prediction_type="v_prediction", clip_sample=False)),
        resolution=32,
        latent_shape=(4, 8, 8),
        words=frozenset(WORDS),
        digest=digest_of(net, vae),
        licence="none: random numbers",
    )
