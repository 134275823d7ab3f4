"""What toys and tiny pipelines are made of: true classes of diffusers and transformers, small, with random weights.

Each piece is drawn from a stream of its own, named by its purpose and a seed, so that it is the same on every machine
and whatever was drawn before.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from bench.core.rng import rng, seed_of

Parts = dict[str, Any]  # the components of a pipeline by name

WIDTH = 16  # of the text states; the denoiser's cross_attention_dim
LENGTH = 16  # tokens of a prompt, padded
WORDS = (
    *("a", "an", "the", "of", "on", "in", "with", "style", "photo", "sketch", "neon", "red", "green", "blue"),
    *("robot", "dog", "car", "house", "beach", "forest", "city", "snow", "table", "sks", "zwx", "ktn", "qpl"),
)
STATES = 32  # width of a tiny T5's states


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
    """`part` itself, in eval mode, with nothing that requires grad."""
    return part.requires_grad_(False).eval()


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


def vae(seed: int, channels: int = 4, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return drawn(lambda: AutoencoderKL(**blocks(), latent_channels=channels, **more), "tiny vae", seed)


def blocks() -> Parts:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 4, 4, 8),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "sample_size": 64,
    }


def clip(seed: int, projected: bool = False, purpose: str = "tiny clip") -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokens = toy_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=tokens.model_max_length,
        bos_token_id=tokens.bos_token_id, eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id,
    )  # fmt: skip
    return drawn(lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config), purpose, seed)


def t5(seed: int) -> Parts:
    """An encoder and its tokenizer, in which each of the toy's words is one token."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [("▁" + word, -1.0) for word in WORDS] + [(c, -4.0) for c in "abcdefghijklmnopqrstuvwxyz0123456789,.'-"]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=64)
    config = T5Config(vocab_size=len(tokenizer), d_model=STATES, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"encoder": drawn(lambda: T5EncoderModel(config), "tiny t5", seed), "tokenizer": tokenizer}


def scheduler(cls: str, config: Parts) -> Any:
    """The scheduler `cls` of diffusers with a published model's whole configuration.

    Keys that a class does not take are left over from the schedulers that it was converted from; diffusers keeps them.
    """
    import diffusers

    return getattr(diffusers, cls).from_config(config)


def unet(seed: int, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config = {
        "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": WIDTH,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 4,
    }  # fmt: skip
    return drawn(lambda: UNet2DConditionModel(**(config | more)), "tiny unet", seed)
