"""The outcome of one check, and how a check is tried: the same for every kind of part that is examined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.checks.where import where
from bench.plugin.registry import Part, load_file

P = TypeVar("P", bound=Part)


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
    """One check's outcome on `part`, which has a name, whatever the check raises.

    `part` is a Part, or a case of one whose `source` it may name.
    """
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
    part = getattr(part, "source", part)
    cls = part if isinstance(part, type) else type(part)
    at = where(error, cls) if issubclass(cls, Part) else ""
    return f"{text} ({at})" if at else text


def demand(results: Iterable[Result], what: str) -> None:
    """For an author's own test suite: AssertionError that says `what` and has a line for each check that failed."""
    failed = [r for r in results if not r.ok]
    lines = [f"{r.name}{', ' if r.network else ''}{r.network}: {r.message}" for r in failed]
    assert not failed, "\n".join([what, *lines])


def of_file(path: str | Path, kind: type[P], package: str, examine: Callable[[P], list[Result]]) -> list[Result]:
    """Every check on every part of `kind` that the file registers, at its defaults.

    Raises LitmusError when the file cannot be loaded; a file without such a part is one failed result.
    """
    what = kind.__name__.lower()
    found = [cls for cls in load_file(path) if issubclass(cls, kind)]
    if not found:
        line = f"no class is decorated with @register from {package}"
        return [Result(f"registers_a{'n' if what[0] in 'aeiou' else ''}_{what}", False, line)]
    results: list[Result] = []
    for cls in found:
        try:
            part = cls()
        except Exception as error:
            why = f"every hyperparameter needs a default that is allowed: {line_of(error, cls)}"
            results.append(Result("declares_itself", False, why, cls.name))
            continue
        results += examine(part)
    return results
