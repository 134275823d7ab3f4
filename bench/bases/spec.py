"""How a base of one's own is written: a folder in diffusers' layout or a hub id, with options behind a question mark.

models/sd15    ./sd15?dtype=fp32    owner/name    owner/name@v1.0?resolution=512&dtype=bf16

The options are those that decide a picture, so they belong to a run's name: what only decides speed (device, offline)
is told by --device or $LITMUS_DEVICE, and by $HF_HUB_OFFLINE. Imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from bench.core.errors import LitmusError, nearest

INDEX = "model_index.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
SUFFIXES = ("json", "txt", "model", "jinja", "safetensors")  # of what a component is loaded from
DTYPES = ("bf16", "fp32")
QUANTISE = ("nf4", "int8")
OPTIONS = ("resolution", "dtype", "quantise", "tokens", "variant")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Spec:
    """A base as asked for.

    where       a folder's path, or owner/name
    revision    branch, tag or commit of a hub id; "" is its main branch
    resolution  (height, width) of the pictures in pixels; None: the side that the denoiser was made for
    dtype       of the frozen weights and of the arithmetic: "bf16" or "fp32"; trained tensors are always fp32
    quantise    "nf4" or "int8": the frozen denoiser in 4 or 8 bits (bitsandbytes); "": not
    tokens      greatest length of a prompt where the family leaves it open; 0: its pipeline's own
    variant     of the weight files, such as "fp16"; "": the plain ones
    """

    where: str
    revision: str = ""
    resolution: tuple[int, int] | None = None
    dtype: str = "bf16"
    quantise: str = ""
    tokens: int = 0
    variant: str = ""

    def __str__(self) -> str:
        """The one way to write it: every option that decides a picture is there."""
        options = {"dtype": self.dtype}
        if self.resolution:
            options["resolution"] = "x".join(str(n) for n in dict.fromkeys(reversed(self.resolution)))
        for name in ("quantise", "tokens", "variant"):
            if value := getattr(self, name):
                options[name] = str(value)
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.where}{at}?{urlencode(sorted(options.items()))}"


def is_spec(name: str) -> bool:
    """Whether `name` is meant as a folder or a hub id rather than as one of the bases by name."""
    where = name.partition("?")[0]
    return "/" in where or "\\" in where or Path(where).is_dir()


def on_the_hub(name: str) -> bool:
    """Whether `name` is a hub id, in so far as its form and the folders here tell."""
    where = name.partition("?")[0]
    return HUB_ID.fullmatch(where.partition("@")[0]) is not None and not Path(where).is_dir()


def parse(text: str) -> Spec:
    """The Spec that `text` writes; LitmusError for an unknown option (with the nearest) or a value out of its range."""
    where, _, query = text.partition("?")
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise LitmusError(nearest(name, OPTIONS, "option of a base"))
    for name, known in (("dtype", DTYPES), ("quantise", QUANTISE)):
        if options.get(name) and options[name] not in known:
            raise LitmusError(nearest(options[name], known, name))
    if "resolution" in options:
        options["resolution"] = _resolution(options["resolution"])
    if "tokens" in options:
        if not options["tokens"].isdigit():
            raise LitmusError(f"tokens is a whole number, not '{options['tokens']}'")
        options["tokens"] = int(options["tokens"])
    folder = Path(where).expanduser()
    if folder.is_dir():
        return Spec(str(folder.resolve()), **options)
    name, _, revision = where.partition("@")
    if HUB_ID.fullmatch(name):
        return Spec(name, revision, **options)
    raise LitmusError(f"no folder {where}: give a folder in diffusers' layout ({INDEX} in it), or a hub id owner/name")


def _resolution(text: str) -> tuple[int, int]:
    """ "512" -> (512, 512); "768x512", width first as pictures are named -> (512, 768)."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise LitmusError(f"cannot read the resolution '{text}': write 512, or width x height as 768x512")
    width = int(found[1])
    return int(found[2] or width), width


def with_options(text: str, **options: Any) -> str:
    """`text` with `options` that are not None in place of its own."""
    where, _, query = text.partition("?")
    both = dict(parse_qsl(query, keep_blank_values=True)) | {k: str(v) for k, v in options.items() if v is not None}
    return f"{where}?{urlencode(sorted(both.items()))}" if both else where


def pinned(spec: Spec, revision: str, resolution: tuple[int, int]) -> Spec:
    """`spec` with what was left open filled in."""
    return replace(spec, revision=revision, resolution=resolution)
