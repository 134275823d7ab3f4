"""Which formats of other tools can hold a method's adapter, by what the method says of itself: no base is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError
from bench.interop import facts, files

if TYPE_CHECKING:
    from bench.method import Method

FORMATS = ("diffusers", "peft", "kohya")
MERGED = "merged"  # not a file of its own: the whole pipeline that `litmus merge` writes


def formats(method: Method) -> tuple[str, ...]:
    """Formats that `method` is not barred from; whether a change of weights is a LoRA, its numbers decide.

    What stays a module beside the base's layers has no place in files of changes. peft's folders hold every tuner of
    peft, of one network.
    """
    peft = bool(getattr(method, "config", "")) and method.side == "denoiser"
    if method.mergeable:
        return tuple(one for one in (*FORMATS, MERGED) if one != "peft" or method.side == "denoiser")
    return ("peft",) if peft else ()


def note(method: Method) -> str:
    """One line where some format cannot hold it, and which can; "" where none is barred."""
    can = formats(method)
    if set(can) == {*FORMATS, MERGED}:
        return ""
    if not can:
        return (
            f"{method.name} cannot be merged into the base's weights, and no file of diffusers, peft or kohya-ss can "
            "hold what stays beside them: its adapter is for Litmus alone (litmus score)"
        )
    if can == ("peft",):
        return (
            f"{method.name} cannot be merged into the base's weights: of other tools' formats only peft's folders can "
            "hold its adapter (litmus export --format peft)"
        )
    return f"{method.name} trains the text side, and a peft checkpoint is of one network: --format peft cannot hold it"


def refuse(file: Path, form: str) -> None:
    """LitmusError where the method that `file` was trained with has no way into `form`, or cannot be merged."""
    from bench.method import METHODS, load_plugins

    kind, path = files.locate(file)
    if kind != "litmus":
        return
    told = facts.read(files.metadata(path), path)
    load_plugins()
    if told is None or told.method not in METHODS:
        return
    method = METHODS.stored(told.method, told.hyper)
    if form not in formats(method):
        raise LitmusError(note(method))
