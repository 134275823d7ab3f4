"""What a board's folder says of itself beside its records: the title of its protocol, and whether it is a sweep.

A protocol of the package is known by the folder's name. For every other `board.json` is written when it is run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.files import write_bytes
from bench.protocol.models import Protocol, load_protocol, protocol_names

FILE = "board.json"


@dataclass(frozen=True)
class About:
    """`title`: the protocol's, "" where none is known; `sweep`: whether its runs choose learning rates."""

    title: str = ""
    sweep: bool = False


def about(folder: Path) -> About:
    """What is known of the board in `folder`."""
    try:
        table = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return About(str(table["title"]), bool(table["sweep"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _of(load_protocol(folder.name)) if folder.name in protocol_names() else About()


def _of(protocol: Protocol) -> About:
    return About(protocol.title, protocol.sweep is not None)


def remember(folder: Path, protocol: Protocol) -> None:
    """Write what `protocol` says of itself where the folder does not say it already. DiskError if it cannot be."""
    if about(folder) != _of(protocol):
        write_bytes(folder / FILE, json.dumps({"format": 1, **asdict(_of(protocol))}, indent=1).encode() + b"\n")
