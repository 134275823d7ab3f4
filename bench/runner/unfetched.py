"""What a plan would have to fetch, found out without fetching: no library reaches a network inside `no_network`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.bases import source_of
from bench.bases.spec import on_the_hub, parse
from bench.extractors import extractors_digest, extractors_source
from bench.tasks import source


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse every connection over a network, and tell the hub's library beforehand so that it does not try."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError("a plan fetches nothing")

    names = ("connect", "connect_ex")
    before, offline = {name: getattr(socket.socket, name) for name in names}, os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"  # read where the library is imported, which may have been before
    for name in names:
        setattr(socket.socket, name, refuse)
    try:
        yield
    finally:
        for name, own in before.items():
            setattr(socket.socket, name, own)
        os.environ.pop("HF_HUB_OFFLINE")
        if offline is not None:
            os.environ["HF_HUB_OFFLINE"] = offline


def unfetched(base: str, extractors: str, tasks: list[str]) -> list[str]:
    """A line for each thing that a run needs and that is not here; call it inside `no_network`.

    LitmusError for a base, extractors or a task that nobody knows.
    """
    source_of(base)
    lines = [f"the base {base.partition('?')[0]}, from the hub"] if _base_is_away(base) else []
    if extractors_source(extractors).published and _fails(lambda: extractors_digest(extractors)):
        lines.append(f"the evaluators {extractors}: what of them is not in their libraries' caches")
    return lines + list(dict.fromkeys(line for task in tasks if (line := source(task).away(task))))


def _base_is_away(base: str) -> bool:
    if not on_the_hub(base):
        return False
    from bench.bases.download import cached

    return cached(parse(base)) is None


def _fails(find: Callable[[], Any]) -> bool:
    try:
        find()
    except Exception:  # each library has types of its own for weights that it cannot get
        return True
    return False
