"""The pocket base: a small text-to-image model trained from nothing on the procedural world, for 64×64 pictures.

It travels with the package as a folder in diffusers' layout (unet/ vae/ text_encoder/ tokenizer/ scheduler/
model_index.json, fp16 safetensors) and loads through diffusers' and transformers' own classes, so that methods meet
the same modules as in Stable Diffusion. Beside them, pocket.json: {"licence": …, …}, all of
which but the licence goes to Base.notes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.bases.base import Base
from bench.core.errors import LitmusError
from bench.core.files import digest_files

FOLDER = Path(__file__).parent / "pocket_weights"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def _classes(folder: Path) -> dict[str, tuple[str, str]]:
    """Part -> (library, class), as model_index.json says."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise LitmusError(
            "the pocket base's weights are missing (bench/bases/pocket_weights): reinstall, or `litmus pocket train`"
        )
    table = json.loads(index.read_text(encoding="utf-8"))
    missing = [part for part in PARTS if part not in table or not (folder / part).is_dir()]
    if missing:
        raise LitmusError(f"{folder.name} is incomplete (no {', '.join(missing)}): reinstall, or `litmus pocket train`")
    return {part: (table[part][0], table[part][1]) for part in PARTS}


def digest(folder: Path = FOLDER) -> str:
    """sha256 over every file that decides a picture: weights, configurations and vocabulary."""
    _classes(folder)
    files = [p for part in PARTS for p in (folder / part).rglob("*") if p.is_file()]
    return digest_files([*files, folder / "model_index.json"], folder)


def whole_words(tokens: Iterable[str]) -> set[str]:
    """The words that are one token each. Single letters are there to spell other words with; of them "a" is a word."""
    ends = {token.removesuffix("</w>") for token in tokens if token.endswith("</w>")}
    return {word for word in ends if len(word) > 1 or word == "a"}


def load(folder: Path = FOLDER) -> Base:
    """The pocket base, its weights widened to float32."""
    import importlib

    from diffusers.models.attention_processor import AttnProcessor

    from bench.method import Network
    from bench.network.schedule import from_scheduler

    part: dict[str, Any] = {}
    classes = _classes(folder)
    with _quiet():
        for name, (library, cls) in classes.items():
            part[name] = getattr(importlib.import_module(library), cls).from_pretrained(folder / name)
    for name in ("unet", "vae", "text_encoder"):
        part[name] = part[name].float().requires_grad_(False).eval()
    # Plain attention, as in pretraining: on a CPU at these sizes never slower than torch's fused one by more than a
    # few percent, up to 1.8 times faster, and vmap has a rule for it.
    part["unet"].set_attn_processor(AttnProcessor())
    card = json.loads(path.read_text(encoding="utf-8")) if (path := folder / "pocket.json").is_file() else {}
    unet = part["unet"].config
    factor = 2 ** (len(part["vae"].config.block_out_channels) - 1)
    return Base(
        name="pocket",
        net=Network(denoiser=part["unet"], text=part["text_encoder"]),
        tokenizer=part["tokenizer"],
        vae=part["vae"],
        schedule=from_scheduler(part["scheduler"]),
        resolution=unet.sample_size * factor,
        latent_shape=(unet.in_channels, unet.sample_size, unet.sample_size),
        words=frozenset(card.get("words") or whole_words(part["tokenizer"].get_vocab())),
        digest=digest(folder),
        licence=card.get("licence", "Apache-2.0"),
        notes={k: v for k, v in card.items() if k not in ("words", "licence")},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar for thirty small tensors."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
