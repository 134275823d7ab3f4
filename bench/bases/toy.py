"""A base small enough for tests, made in memory from a seed: true classes of diffusers and transformers, no weights.

`toy_network` has every kind of site that Stable Diffusion's U-Net has (residual blocks with and without a shortcut,
self- and cross-attention, a feed-forward, group and layer norms), a few thousand times smaller.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bench.core.rng import rng, seed_of
from bench.method import Network

if TYPE_CHECKING:
    from bench.bases.base import Base

WIDTH = 16  # of the text states; the denoiser's cross_attention_dim
LENGTH = 16  # tokens of a prompt, padded
WORDS = (
    *("a", "an", "the", "of", "on", "in", "with", "style", "photo", "sketch", "neon", "red", "green", "blue"),
    *("robot", "dog", "car", "house", "beach", "forest", "city", "snow", "table", "sks", "zwx", "ktn", "qpl"),
)


def toy_network(seed: int = 0, middle: bool = True) -> Network:
    """Denoiser only, random, frozen, in eval mode: x (B, 4, 8, 8), t (B,), context (B, L, 16) -> (B, 4, 8, 8).

    About 0.25 M scalars. Without its middle block it has every kind of site still, a quarter fewer of them. Built
    on the default device, so `with torch.device("meta")` gives its shapes alone.
    """
    from diffusers import UNet2DConditionModel

    def build() -> nn.Module:
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

    return frozen(Network(drawn(build, "toy denoiser", seed)))


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

    from bench.bases.base import Base
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
        digest=_digest(net, vae),
        licence="none: random numbers",
    )


@cache
def toy_tokenizer() -> Any:
    """A CLIPTokenizer of LENGTH tokens in which each of WORDS is one token; other words fall into letters."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.'"
    pieces = [*letters, *(c + "</w>" for c in letters)]
    merges: list[tuple[str, str]] = []
    for word in sorted(WORDS, key=len, reverse=True):  # long words first, or "on" would be merged inside "neon"
        parts = [*word[:-1], word[-1] + "</w>"]
        heads = ["".join(parts[:i]) for i in range(1, len(parts) + 1)]
        pieces += heads
        merges += zip(heads, parts[1:], strict=False)
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=LENGTH)  # pyright: ignore


def drawn(build: Any, purpose: str, seed: int) -> nn.Module:
    """`build()` with every tensor drawn from a stream of its own, the global one left as it was.

    Norms are moved off their usual 1 and 0, so that no site of the network is without effect.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(purpose, seed))
        part = build()
    if any(p.is_meta for p in part.parameters()):
        return part
    stream = rng(purpose, "shift", seed)
    with torch.no_grad():
        for p in part.parameters():
            p += (0.1 * torch.randn(p.shape, generator=stream)).to(p) if p.ndim == 1 else 0
    return part


def frozen(part: Any) -> Any:
    return part.requires_grad_(False).eval()


def _digest(*parts: nn.Module) -> str:
    h = hashlib.sha256()
    for part in parts:
        for key, value in part.state_dict().items():
            h.update(key.encode() + value.cpu().numpy().tobytes())
    return h.hexdigest()
