"""The outcome of one check, and how a check is tried: the same for every kind of part that is examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """The outcome of one check; `message` is empty when it is ok, `method` the name of what was examined."""

    name: str
    ok: bool
    message: str
    method: str = ""


def attempt(check: Callable[..., None], part: Any, *place: Any) -> Result:
    """One check's outcome on `part`, which has a name, whatever the check raises."""
    try:
        check(part, *place)
    except Exception as error:  # what is examined may fail in any way; the reason goes to its author
        text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Result(check.__name__, False, " ".join(text.split()), part.name)
    return Result(check.__name__, True, "", part.name)
