"""The outcome of one check, and how a check is tried: the same for every kind of part that is examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.checks.where import where
from bench.plugin.registry import Part


@dataclass(frozen=True)
class Result:
    """The outcome of one check; `message` is empty when it was made and is ok, `method` the name of what was examined.

    network  what it was tried on, where that is asked on more than one
    skipped  it did not apply: `message` says why, and it counts as ok
    """

    name: str
    ok: bool
    message: str
    method: str = ""
    network: str = ""
    skipped: bool = False


class Skipped(Exception):
    """A check that does not apply to what is examined; the reason is its text."""


def attempt(check: Callable[..., None], part: Any, *place: Any) -> Result:
    """One check's outcome on `part`, which has a name, whatever the check raises."""
    try:
        check(part, *place)
    except Skipped as reason:
        return Result(check.__name__, True, str(reason), part.name, skipped=True)
    except Exception as error:  # what is examined may fail in any way; the reason goes to its author
        return Result(check.__name__, False, line_of(error, part), part.name)
    return Result(check.__name__, True, "", part.name)


def line_of(error: Exception, part: Any) -> str:
    """The error in one line; for a Part (or its class) with file and line of the author's code that it came from."""
    text = " ".join((str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}").split())
    cls = part if isinstance(part, type) else type(part)
    at = where(error, cls) if issubclass(cls, Part) else ""
    return f"{text} ({at})" if at else text
