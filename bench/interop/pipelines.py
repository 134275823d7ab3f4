"""The merged result as a whole pipeline of diffusers: what any tool loads that knows the base."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, diffusers and transformers keep their remarks and progress bars to themselves; errors are raised."""
    import diffusers.utils.logging
    import transformers.utils.logging

    libraries: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    levels = [one.get_verbosity() for one in libraries]
    bars = [one.is_progress_bar_enabled() for one in libraries]
    try:
        for one in libraries:
            one.set_verbosity_error()
            one.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level, bar in zip(libraries, levels, bars, strict=True):
            one.set_verbosity(level)
            if bar:
                one.enable_progress_bar()


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
    facts = tuned.facts.model_copy(update={"kind": "pipeline"})
    with files.new_folder(out) as folder, quiet():
        pipe = whole(tuned.frozen, net.denoiser, net.text)
        pipe.to(getattr(torch, DTYPES[dtype]))
        pipe.save_pretrained(str(folder))
        write_bytes(folder / ABOUT, facts.model_dump_json(indent=1).encode() + b"\n")
    return out
