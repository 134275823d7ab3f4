"""Every option that names what is to be written: a path that cannot be is one line, before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from typer.models import OptionInfo

import bench.__main__ as program
from bench.core.errors import LitmusError
from bench.core.files import write_bytes

# Options that name what is read, or written over in place.
READ = {("score", "--lora"), ("fetch styles", "--list")}


def functions(app: typer.Typer, name: str = "") -> Iterator[tuple[str, Any]]:
    """(command, function) of the whole command line."""
    for one in app.registered_commands:
        assert one.callback
        yield f"{name} {one.name or one.callback.__name__}".strip(), one.callback
    for group in app.registered_groups:
        assert group.typer_instance
        yield from functions(group.typer_instance, f"{name} {group.name}".strip())


def options() -> Iterator[tuple[str, str, str, bool]]:
    """(command, option, what of bench.commands.outputs it is or "", whether its value is a path)."""
    for command, function in functions(program.app):
        for name, hint in get_type_hints(function, include_extras=True).items():
            for info in getattr(hint, "__metadata__", ()):
                if isinstance(info, OptionInfo):
                    named = [x for x in (info.default, *(info.param_decls or ())) if str(x).startswith("--")]
                    option = str(next(iter(named), "--" + name.replace("_", "-")))
                    yield command, option, getattr(info.callback, "output", ""), "Path" in str(hint)


WRITING = [(command, option, what) for command, option, what, _ in options() if what]


def test_every_path_is_one_of_them():
    named = {(command, option) for command, option, _, path in options() if path}
    written = {(command, option) for command, option, _ in WRITING}
    assert len(written) > 15
    assert ("cost", "--write") in written  # text, with {card} in it
    assert named - written == READ


@pytest.fixture(autouse=True)
def _home(litmus_home):
    litmus_home.mkdir()


def lines_of(words: list[str], monkeypatch, capsys) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["litmus", *words])
    with pytest.raises(SystemExit) as end:
        program.main()
    return int(end.value.code or 0), capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("command", "option", "what"), WRITING, ids=lambda x: str(x).replace(" ", "-"))
def test_a_path_that_cannot_be_written_is_one_line(command, option, what, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    bad = [file / "below.png"]  # a file where a folder is needed
    bad += [tmp_path] if what == "file" else [file] if what == "folder" else []
    if Path("/proc/self").is_dir():
        bad.append(Path("/proc/litmus.png"))  # unwritable even to root
    if command in ("plan", "anova"):  # these may only read the folder
        bad = [file]
    for path in bad:
        code, lines = lines_of([*command.split(), option, str(path)], monkeypatch, capsys)
        assert code == 2, path
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: cannot write"), lines
        assert option in lines[0], lines
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["world", "show", "--out", "x.txt"], "error: cannot write x.txt (--out takes a file that ends in .png)"),
        (["plot", "a", "b", "--out", "x.pgn"], "error: cannot write x.pgn: did you mean 'x.png'?"),
    ],
)
def test_an_ending_that_is_not_written(words, line, monkeypatch, capsys):
    code, lines = lines_of(words, monkeypatch, capsys)
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(line)


def test_what_goes_wrong_later_is_one_line_too(monkeypatch, capsys, tmp_path):
    def refuse(*_: Any, **__: Any) -> None:
        raise IsADirectoryError(21, "Is a directory", str(tmp_path))

    monkeypatch.setattr(program, "app", refuse)
    assert lines_of([], monkeypatch, capsys) == (2, [f"error: is a directory: {tmp_path}"])


def test_write_bytes_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LitmusError, match="cannot write in"):
        write_bytes(tmp_path / "file" / "x", b"")


def test_pages_are_written_whole_into_folders_that_are_made(tmp_path):
    from bench.listings import methods

    path = tmp_path / "a" / "methods.md"
    methods.write(path)
    assert path.read_text().startswith("# The methods")
    assert list(path.parent.iterdir()) == [path]


def test_a_home_that_is_not_there_is_made_with_a_word(tmp_path, monkeypatch, capsys):
    home = tmp_path / "new" / "home"
    monkeypatch.setenv("LITMUS_HOME", str(home))
    code, lines = lines_of(["protocols"], monkeypatch, capsys)
    assert (code, len(lines)) == (0, 1)
    assert f"LITMUS_HOME={home} was not there and has been made" in lines[0]
    assert home.is_dir()
    assert lines_of(["protocols"], monkeypatch, capsys) == (0, [])
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("LITMUS_HOME", str(bad))
        code, lines = lines_of(["protocols"], monkeypatch, capsys)
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith(f"error: LITMUS_HOME is {bad}, which cannot be a folder")
