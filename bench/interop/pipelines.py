"""The merged result as a whole pipeline of diffusers: what any tool loads that knows the base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.interop import files

if TYPE_CHECKING:
    from torch import nn

    from bench.bases.base import Base
    from bench.interop.adapters import Tuned

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
ABOUT = "litmus.json"  # beside model_index.json: the facts of what was merged


def whole(base: Base, denoiser: nn.Module, text: nn.Module | None) -> Any:
    """The base's pipeline with this denoiser (and text encoder) in it. LitmusError for a base that is none."""
    if base.name == "pocket":
        from diffusers import StableDiffusionPipeline

        from bench.bases.pocket import FOLDER

        parts: dict[str, Any] = {"unet": denoiser, "text_encoder": text, "safety_checker": None}
        return StableDiffusionPipeline.from_pretrained(FOLDER, **parts)
    if base.source is None:
        raise LitmusError(f"the base {base.name} has no pipeline of diffusers behind it: nothing to merge into")
    from bench.bases import hub

    return hub.pipeline(base, denoiser, text)


def merge(tuned: Tuned, out: Path, dtype: str = "fp32") -> Path:
    """Write the pipeline with the adapter folded in, in `dtype`, its facts beside it."""
    import torch

    if dtype not in DTYPES:
        raise LitmusError(f"--dtype is {', '.join(DTYPES)}, not {dtype}")
    net = tuned.merged()
    pipe = whole(tuned.frozen, net.denoiser, net.text)
    pipe.to(getattr(torch, DTYPES[dtype]))
    facts = tuned.facts.model_copy(update={"kind": "pipeline"})
    with files.new_folder(out) as folder:
        pipe.save_pretrained(str(folder))
        write_bytes(folder / ABOUT, facts.model_dump_json(indent=1).encode() + b"\n")
    return out
