"""Text for people and files: Markdown tables, byte sizes, durations, lists and shares as they are typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from bench.core.errors import LitmusError


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A pipe table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def split(text: str | None) -> list[str]:
    """Names separated by commas; a comma inside brackets separates settings, not names."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text or "") if part.strip()]


def share_of(text: str) -> float:
    """ "0.2%" or "0.002" as a share. Raises LitmusError for anything else."""
    try:
        share = float(text.rstrip("% ")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise LitmusError(f"cannot read the share {text!r}: write 0.2% or 0.002")
    return share


def size_text(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"


def span(seconds: float | None) -> str:
    """A duration for people: "42 s", "7 min", "3 h 05 min"; "?" for None."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def refusals(rows: Iterable[Any]) -> list[str]:
    """A line for each reason why a method does not apply, with the bases where it does not.

    `rows` are rows of any table with method, base, scalars (None where it does not apply) and note.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.scalars is None and (at := reasons.setdefault((row.method, row.note), [])) is not None:
            at += [row.base] * (row.base not in at)
    return [f"{method} on {', '.join(bases)}: {note}" for (method, note), bases in reasons.items()]
