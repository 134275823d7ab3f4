"""Makes the pocket base and its evaluators from nothing: draw, autoencoder, denoiser, evaluators, decoder, export.

Every stage leaves its result in the work folder and is skipped when it is there, so a stopped training goes on
where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import LitmusError
from bench.world.captions import vocabulary

STAGES = ("vae", "latents", "denoiser", "evaluators", "decoder", "export")
VAE_PICTURES, BASE_PICTURES = 24_000, 60_000
LEAST = 300  # pictures, however small the scale
LICENCE = "Apache-2.0"


def weights_folder() -> Path:
    from bench.bases.pocket import FOLDER

    return FOLDER


def evaluators_folder() -> Path:
    from bench.extractors.pocket import FOLDER

    return FOLDER


def _drawn(work: Path, name: str, draw: Callable[[], np.ndarray]) -> np.ndarray:
    file = work / f"{name}.npy"
    if not file.exists():
        part = file.with_suffix(".part.npy")
        np.save(part, draw())
        part.replace(file)
    return np.load(file, mmap_mode="r")


def _vae_pictures(work: Path, seed: int, scale: float) -> np.ndarray:
    from bench.pretraining.data import any_sample, draw_many

    n = max(LEAST, int(VAE_PICTURES * scale))
    return _drawn(work, "vae_pictures", lambda: draw_many(any_sample, n, seed + 1)[0])


def stage_vae(work: Path, seconds: float, seed: int, scale: float = 1.0) -> None:
    from bench.pretraining.train_denoiser import fold_statistics
    from bench.pretraining.train_vae import train

    pictures = _vae_pictures(work, seed, scale)
    train(pictures, work, seconds, batch=6, lr=5e-3, seed=seed)
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    fold_statistics(vae, pictures[:2000])
    vae.save_pretrained(work / "vae")
    (work / "vae.done").touch()


def stage_latents(work: Path, seed: int, scale: float = 1.0) -> None:
    import torch
    from diffusers import AutoencoderKL

    from bench.pretraining import nets
    from bench.pretraining.data import base_sample, draw_many
    from bench.pretraining.train_denoiser import encode_all

    tokenizer = nets.tokenizer(work / "tokenizer")
    images, captions, _ = draw_many(base_sample, max(LEAST, int(BASE_PICTURES * scale)), seed + 21)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    latents = encode_all(vae, images)
    n = tokenizer.model_max_length
    ids = tokenizer(["", *captions], padding="max_length", truncation=True, max_length=n, return_tensors="pt").input_ids
    torch.save({"latents": latents, "ids": ids[1:], "empty": ids[0]}, work / "latents.pt")


def stage_denoiser(work: Path, samples: int, seed: int) -> None:
    import torch

    from bench.pretraining.train_denoiser import train

    data = torch.load(work / "latents.pt", weights_only=True)
    train(data["latents"], data["ids"], data["empty"], work, samples, seed=seed)


def stage_decoder(work: Path, seconds: float, seed: int, scale: float = 1.0) -> None:
    """More time for the decoder alone: the latents, and with them the denoiser, stay what they are."""
    from bench.pretraining.train_vae import train

    train(_vae_pictures(work, seed, scale), work, seconds, batch=6, lr=2e-3, decoder_only=True, seed=seed + 5)


def export(work: Path, out: Path | None = None, evaluators: Path | None = None) -> None:
    """Write the base in diffusers' layout (fp16 safetensors) to `out`, and the evaluators beside it."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    from bench.pretraining import nets

    out, evaluators = out or weights_folder(), evaluators or evaluators_folder()
    build: Any = StableDiffusionPipeline  # which declares as required what may be none
    pipe = build(
        vae=AutoencoderKL.from_pretrained(work / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(work / "text_encoder"),
        tokenizer=nets.tokenizer(work / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(work / "unet"),
        scheduler=nets.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    staging = out.with_name(out.name + ".part")
    shutil.rmtree(staging, ignore_errors=True)
    pipe.to(dtype=torch.float16).save_pretrained(staging, safe_serialization=True)
    for file in staging.glob("*/config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # where the parts lay on the machine that trained them is nobody's business
        if "dtype" in config:  # transformers loads what it says here, diffusers float32: a pipeline needs one of them
            config["dtype"] = "float32"
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    about = {"licence": LICENCE, "words": vocabulary(), "made_by": "litmus pocket train"}
    (staging / "pocket.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    staging.rename(out)
    if (work / "evaluators" / "config.json").exists():
        evaluators.mkdir(parents=True, exist_ok=True)
        for file in (work / "evaluators").iterdir():
            if file.suffix in (".safetensors", ".json"):
                shutil.copyfile(file, evaluators / file.name)


def main(
    work: Path,
    vae_minutes: float = 30,
    samples: int = 140_000,
    decoder_minutes: float = 0,
    stages: tuple[str, ...] = STAGES,
    seed: int = 0,
    threads: int | None = None,
    scale: float = 1.0,
    out: Path | None = None,
) -> None:
    """Run the stages that `work` does not hold yet. `samples` = pictures that the denoiser sees.

    `scale` multiplies pictures, steps and minutes of all stages. The result goes to `out`/weights and
    `out`/evaluators, or takes the place of what is shipped.
    """
    import torch

    if wrong := [s for s in stages if s not in STAGES]:
        raise LitmusError(f"unknown stage {wrong[0]!r}: the stages are {', '.join(STAGES)}")
    if threads:
        torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    if "vae" in stages and not (work / "vae.done").exists():
        stage_vae(work, vae_minutes * 60 * scale, seed, scale)
    if "latents" in stages and not (work / "latents.pt").exists():
        stage_latents(work, seed, scale)
    if "denoiser" in stages:
        stage_denoiser(work, max(LEAST, int(samples * scale)), seed)
    if "evaluators" in stages and not (work / "evaluators" / "config.json").exists():
        from bench.pretraining.train_evaluators import train

        train(work, scale, seed)
    if "decoder" in stages and decoder_minutes > 0 and not (work / "decoder.done").exists():
        stage_decoder(work, decoder_minutes * 60 * scale, seed, scale)
        (work / "decoder.done").touch()
    if "export" in stages:
        export(work, out and out / "weights", out and out / "evaluators")
