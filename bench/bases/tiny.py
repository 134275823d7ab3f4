"""Pipelines of the true classes of diffusers, tiny and with random weights, saved as folders in diffusers' layout.

`write(name, folder)` makes one in a second or two. They are for trials and tests of whatever loads a base: each has the
components of the published model of its name, so what works on it works on the real one, at a millionth of the size.
Pictures are of 64 pixels and mean nothing. Each family's file (bench/families/) says what its own are made of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError, nearest
from bench.families import FAMILIES, Tiny
from bench.plugin.view import View

TINY: View[Tiny] = View(lambda: {name: one for family in FAMILIES.known() for name, one in family.tiny.items()})


def write(name: str, folder: Path, seed: int = 0) -> Path:
    """A tiny pipeline like the published `name` in `folder`, random of `seed`. LitmusError for an unknown name."""
    import diffusers

    if name not in TINY:
        raise LitmusError(nearest(name, TINY, "tiny base"))
    one = TINY[name]
    parts = one.make(seed)
    index: dict[str, Any] = {
        "_class_name": one.pipeline, "_diffusers_version": diffusers.__version__, **one.settings
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for part, component in parts.items():
        component.save_pretrained(folder / part)
        index[part] = [type(component).__module__.split(".")[0], type(component).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\nRandom numbers.\n", encoding="utf-8")
    return folder
