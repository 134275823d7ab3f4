"""Where networks work: a device by name, looked at before anything is loaded. Importing this loads no torch."""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError

if TYPE_CHECKING:
    import torch

VARIABLE = "LITMUS_DEVICE"
_ASKED: ContextVar[str] = ContextVar("device", default="")
KINDS = ("cpu", "cuda", "mps", "xpu")  # those that networks are trained on; "cuda" is also what torch calls AMD's


@contextmanager
def working_on(device: str) -> Iterator[None]:
    """Inside, `working_device()` is `device` ("": as outside), for what is called without being told."""
    token = _ASKED.set(device or _ASKED.get())
    try:
        yield
    finally:
        _ASKED.reset(token)


def working_device(asked: str = "") -> torch.device:
    """Where networks work: as `asked` (see `working_on`), else $LITMUS_DEVICE, else a GPU where there is one.

    LitmusError with the nearest name for what is no device, and with the remedy for one that is not there.
    """
    import torch

    asked = asked or _ASKED.get()
    where = "--device" if asked else f"${VARIABLE}"
    asked = asked or os.environ.get(VARIABLE, "")
    if not asked:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, number = named(asked, where)
    if kind != "cpu" and (fault := _fault(kind, number)):
        remedy = "--device cpu" if where == "--device" else f"{VARIABLE}=cpu"
        raise LitmusError(f"no device '{asked}': {fault} ({remedy}, or leave it out for the default)")
    return torch.device(asked)


def settled(asked: str = "") -> torch.device:
    """`working_device`, made torch's current GPU too: some libraries and measurements take that one."""
    import torch

    device = working_device(asked)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def named(text: str, where: str = "--device") -> tuple[str, int | None]:
    """(kind, number) of "cuda:1", ("cuda", None) of "cuda". LitmusError for what is no device's name."""
    found = re.fullmatch(r"([a-z]+)(?::(\d+))?", text)
    if found and found[1] in KINDS:
        return found[1], None if found[2] is None else int(found[2])
    close = difflib.get_close_matches(re.split(r"[^a-z]", text.strip().lower())[0], KINDS, n=1, cutoff=0.5)
    meant = f": did you mean '{close[0]}'?" if close else ""
    raise LitmusError(f"unknown device '{text}'{meant} ({where} is cpu, cuda, cuda:1, mps or xpu)")


def _fault(kind: str, number: int | None) -> str:
    """Why a device is not there, "" for one that is."""
    import torch

    if kind == "mps":
        if not torch.backends.mps.is_available():
            return "mps is Apple's GPU, and torch finds none here"
        return "there is one Apple GPU: mps" if number else ""
    backend = torch.cuda if kind == "cuda" else torch.xpu
    if not backend.is_available():
        built = torch.version.cuda or torch.version.hip if kind == "cuda" else torch.version.xpu
        return "torch finds no GPU of this kind here" if built else f"the torch installed here is built without {kind}"
    there = backend.device_count()
    if number is not None and number >= there:
        return f"this machine has {', '.join(f'{kind}:{i}' for i in range(there))}"
    return ""


def described(device: torch.device | str) -> str:
    """A device for a record: "cpu", or the GPU's own name, "NVIDIA H200 (cuda)". Its number is left out."""
    import torch

    kind = torch.device(device).type
    if kind in ("cuda", "xpu"):
        return f"{getattr(torch, kind).get_device_name(torch.device(device))} ({kind})"
    return f"Apple {platform.machine()} (mps)" if kind == "mps" else kind
