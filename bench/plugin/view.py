"""Tables and lists that are read from a registry anew at each look, so that a part registered later is in them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

V = TypeVar("V")


class View(Mapping[str, V]):
    """The table that `build` makes, as a read-only mapping."""

    def __init__(self, build: Callable[[], Mapping[str, V]]):
        self._build = build

    def __getitem__(self, key: str) -> V:
        return self._build()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._build())

    def __len__(self) -> int:
        return len(self._build())

    def __repr__(self) -> str:
        return repr(dict(self))


class Names(Sequence[str]):
    """The names that `build` lists, as a read-only sequence."""

    def __init__(self, build: Callable[[], Sequence[str]]):
        self._build = build

    def __getitem__(self, index: Any) -> Any:
        return self._build()[index]

    def __len__(self) -> int:
        return len(self._build())

    def __repr__(self) -> str:
        return repr(list(self))
