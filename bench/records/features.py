"""Features beside a record, so that a metric that comes later scores runs that are done: no base, no torch.

`<key>.features.safetensors` in a board's runs/ folder holds the whole `bench.metrics.Features` of a cell. Tensors are
named `<part>.<view>`: `cell.identity` (P, n, D) float16, and `cell.seen.<attribute>` (P, n) uint16, an index into the
attribute's `labels`. The header's text `litmus` is JSON: format, key, kind, plain, asks, labels, losses.

Unit vectors in float16 are off by about 1e-4 of their length per entry; they are made unit again when they are read, so
that a cosine is off by about 1e-5. git ignores these files: they are large, and running a board makes them again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.text import size_text
from bench.metrics import Features, Views

FORMAT = 1
SUFFIX = ".features.safetensors"
HEADER = "litmus"
VIEWS = ("identity", "style", "image")
REQUIRED = ("cell", "train", "heldout", "base_cell")
OPTIONAL = ("prior", "drift", "base_prior", "base_drift", "truth")
LOSSES = ("loss_train", "loss_heldout")


def write(key: str, features: Features, folder: Path) -> str:
    """Write the features of the run `key` into `folder`, whole or not at all; returns the file's name.

    DiskError when it cannot be written.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {"texts": _half(features.texts)}
    labels: dict[str, list[str]] = {}
    for part in (*REQUIRED, *OPTIONAL):
        views: Views | None = getattr(features, part)
        if views is None:
            continue
        tensors |= {f"{part}.{view}": _half(getattr(views, view)) for view in VIEWS}
        for attribute, words in views.seen.items():
            known = labels.setdefault(attribute, [])
            known += sorted(set(map(str, words.flat)) - set(known))
            index = np.array([known.index(str(word)) for word in words.flat], np.uint16)
            tensors[f"{part}.seen.{attribute}"] = index.reshape(words.shape)
    about = {
        "format": FORMAT,
        "key": key,
        "kind": features.kind,
        "plain": list(features.plain),
        "asks": [dict(asks) for asks in features.asks],
        "labels": labels,
        **{name: getattr(features, name) for name in LOSSES},
    }
    name = key + SUFFIX
    write_bytes(folder / name, save(tensors, {HEADER: json.dumps(about)}))
    return name


def _half(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float16)


def read(file: Path, key: str = "") -> Features:
    """The features in `file`. LitmusError when it cannot be read, or is another run's than `key`'s."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            about = json.loads((opened.metadata() or {})[HEADER])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if about["format"] > FORMAT:
            raise LitmusError(f"{file} is of a newer format than this litmus reads ({FORMAT}): update litmus")
        if key and about["key"] != key:
            raise LitmusError(f"{file} holds the features of another run ({about['key']}): delete it")
        return _features(tensors, about)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise LitmusError(f"{file} is not a file of features: {error}") from None


def _features(tensors: dict[str, np.ndarray], about: dict[str, Any]) -> Features:
    def views(part: str) -> Views:
        start = f"{part}.seen."
        seen = {
            name.removeprefix(start): np.array(about["labels"][name.removeprefix(start)])[index]
            for name, index in tensors.items()
            if name.startswith(start)
        }
        identity, style, image = (_unit(tensors[f"{part}.{view}"]) for view in VIEWS)
        return Views(identity, style, image, seen)

    return Features(
        kind=about["kind"],
        plain=tuple(about["plain"]),
        asks=tuple(about["asks"]),
        texts=_unit(tensors["texts"]),
        **{part: views(part) for part in REQUIRED},
        **{part: views(part) for part in OPTIONAL if f"{part}.{VIEWS[0]}" in tensors},
        **{name: about[name] for name in LOSSES},
    )


def _unit(x: np.ndarray) -> np.ndarray:
    """`x` (..., D) in double precision and of length 1 again; a vector of zeros stays one."""
    x = x.astype(np.float64)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def files(board: Path) -> list[Path]:
    """The files of features of a board."""
    return sorted((board / "runs").glob(f"[!.]*{SUFFIX}"))


def told(board: Path) -> str:
    """`features of 56 runs, 9.8 MB`: how many files of features a board has, and their size together."""
    there = files(board)
    if not there:
        return "no features"
    size = size_text(sum(file.stat().st_size for file in there))
    return f"features of {len(there)} run{'s' * (len(there) > 1)}, {size}"
