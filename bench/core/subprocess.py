"""A question to a module in a process of its own, for a parent that stays without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from bench.core.errors import LitmusError

_MARK = "litmus-answer:"  # the answer's line; whatever else a library prints is not it


def ask(module: str, request: Any, doing: str) -> dict[str, Any]:
    """What `python -m module` answers to `request` (both as JSON can carry them).

    Raises the LitmusError that it ended with, or one that it could not do `doing`, with the last line it printed.
    """
    done = subprocess.run([sys.executable, "-m", module], input=json.dumps(request), capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise LitmusError(f"cannot {doing}: {last}")
    answer = json.loads(lines[-1].removeprefix(_MARK))
    if "error" in answer:
        raise LitmusError(answer["error"])
    return answer


def answer(find: Callable[[Any], dict[str, Any]]) -> None:
    """The other side: answer what `ask` wrote to standard input by `find` of it."""
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not end up in the answer
    try:
        found = find(json.loads(sys.stdin.read()))
    except LitmusError as error:
        found = {"error": str(error)}
    with os.fdopen(out, "w") as file:
        file.write(_MARK + json.dumps(found) + "\n")
