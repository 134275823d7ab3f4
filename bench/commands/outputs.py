"""Options that name what a command writes: looked at before it starts, so that no work ends in a path that cannot be.

`FILE = Annotated[Path, output_file("--out", help="...", endings=(".png",))]`. Whoever adds an option that writes takes
one of these; a test walks over all commands for it.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from bench.core.errors import LitmusError

CARD = "{card}"  # in a folder's name: becomes the device's name (litmus cost)


def output_file(option: str, *names: str, endings: Sequence[str] = (), **more: Any) -> Any:
    """A typer option, by its name and further ones, for a file to write, whose name ends in one of `endings`."""

    def check(path: Path) -> None:
        if path.is_dir():
            raise LitmusError(f"cannot write {path}: it is a folder ({option} takes a file)")
        if endings and path.suffix.lower() not in endings:
            known = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
            close = difflib.get_close_matches(path.suffix.lower(), endings, n=1)
            meant = f": did you mean '{path.with_suffix(close[0]).name}'?" if close else ""
            raise LitmusError(f"cannot write {path}{meant} ({option} takes a file that ends in {known})")
        _room(path, path.parent, option)

    return _option(check, "file", option, *names, **more)


def output_folder(option: str, *names: str, written: bool = True, **more: Any) -> Any:
    """The same for a folder, that may be there already. Without `written` it may also be one that is only read."""

    def check(path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise LitmusError(f"cannot write into {path}: it is a file ({option} takes a folder)")
        if written:
            _room(path, path, option)

    return _option(check, "folder", option, *names, **more)


def output_path(option: str, *names: str, **more: Any) -> Any:
    """The same for what is a file or a folder, as another option says."""
    return _option(lambda path: _room(path, path.parent, option), "path", option, *names, **more)


def _option(check: Callable[[Path], None], kind: str, option: str, *names: str, **more: Any) -> Any:
    def callback(value: Any) -> Any:
        if value is not None:
            check(Path(str(value).replace(CARD, "card")).expanduser())
        return value

    callback.output = kind  # type: ignore[attr-defined]
    return typer.Option(option, *names, callback=callback, **more)


def _room(path: Path, folder: Path, option: str) -> None:
    """LitmusError where `path` cannot be written since nothing can be in `folder`, or in what of it is there."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):  # asks the disk itself: permissions alone do not tell
            pass
    except OSError as error:
        reason = f"{there} is a file" if there.is_file() else f"{error.strerror or error}: {there}"
        raise LitmusError(f"cannot write {path}: {reason} (choose another {option})") from None
