"""Shapes of the pocket base: U-Net, autoencoder, text encoder, tokenizer and scheduler, all diffusers' and
transformers' own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from bench.world.captions import vocabulary

TOKENS = 24  # positions of the text encoder; the world's longest caption takes 18
WIDTH = 128  # of the text encoder, hence of the cross-attention


def unet():
    from diffusers import UNet2DConditionModel

    # attention only at 8×8 and 4×4: at 16×16 it doubled the time of a step for little (design notes, section 7)
    build: Any = UNet2DConditionModel
    return build(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 96, 192),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=(1, 3, 6),  # diffusers' field name; the values are heads, as in SD 2's configuration
        norm_num_groups=16,
    )


def vae() -> Any:  # diffusers declares its tuples as of one element
    from diffusers import AutoencoderKL

    build: Any = AutoencoderKL
    return build(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def text_encoder(words: int):
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def scheduler():
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",  # SD's schedule
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        pairs = [(ranks.get((a, b), 1 << 30), i) for i, (a, b) in enumerate(itertools.pairwise(parts))]
        rank, i = min(pairs)
        if rank == 1 << 30:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def write_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt of a byte-pair tokenizer that holds every word of the world as one token.

    Later merges act only where earlier ones are done, so appending the merges that join a word's present pieces
    never breaks an earlier word. Letters and digits are tokens too: a user's own words are spelt, not lost.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-!?"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    merges: list[tuple[str, str]] = []
    ranks: dict[tuple[str, str], int] = {}
    for word in vocabulary():
        parts = _split(word, ranks)
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            ranks[pair] = len(merges)
            merges.append(pair)
            parts[:2] = [parts[0] + parts[1]]
            if parts[0] not in tokens:
                tokens.append(parts[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    config = {**special, "model_max_length": TOKENS, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    if not (folder / "vocab.json").exists():
        write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(str(folder))
