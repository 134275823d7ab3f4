"""The one exception that users see, and the nearest name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LitmusError(Exception):
    """A mistake that the user can mend: its text is one clear line with the remedy."""


def nearest(name: str, known: Iterable[str], kind: str = "name", listing: str = "") -> str:
    """The line for an unknown name: `unknown method 'lroa': did you mean 'lora'? (litmus methods lists them)`.

    `kind` says what was asked for; `listing` is the command that lists the known names (its default exists for
    methods, tasks, metrics and protocols).
    """
    names = sorted(set(known))
    if not listing and kind in ("method", "task", "metric", "protocol"):
        listing = f"litmus {kind}s"
    close = difflib.get_close_matches(name, names, n=8, cutoff=0.5)
    close.sort(key=lambda other: sorted(other) != sorted(name))  # the same letters mistyped: lroa is lora before road
    line = f"unknown {kind} '{name}'" + (f": did you mean '{close[0]}'?" if close else "")
    if listing:
        return f"{line} ({listing} lists them)"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{line} (known: {shown or 'none'})"
