"""The version of the code that decides numbers, and which modules it is a version of.

A run's key holds the version, so that records of one version never meet those of another in a table, and raising it
makes every board run again. numbers.toml keeps it beside a digest of every module that decides what training, sampling
and evaluators compute; a test names each module whose digest is another. Metrics are not among them: each has a version
of its own, and is computed again from features (bench.records.rescore).

The digest is over a module's syntax without what cannot decide a number: comments, layout, docstrings, annotations,
what only type checkers read, the words of errors, the texts of a class's card.

    python -m bench.runner.numbers            what changed
    python -m bench.runner.numbers --same     scores did not move: keep the version, remember the new digests
    python -m bench.runner.numbers --changed  they did: raise the version; all boards run again
"""

from __future__ import annotations

import ast
import hashlib
import sys
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.core.files import write_bytes

ROOT = Path(__file__).parents[2]  # the folder that `bench` and `methods` lie in
FILE = Path(__file__).with_name("numbers.toml")
PLACES = (
    "bench/core/rng.py",
    "bench/network/*.py",
    "bench/method/*.py",
    "methods/*.py",
    "bench/families/*.py",
    "bench/bases/*.py",
    "bench/bases/kinds/*.py",
    "bench/tasks/task.py",
    "bench/tasks/shape.py",
    "bench/tasks/folder.py",
    "bench/objectives/*.py",
    "bench/extractors/*.py",
    "bench/training/*.py",
    "bench/evaluation/*.py",
    "bench/runner/run.py",
    "bench/runner/train.py",
)
# Of these places, but no number hangs on them: downloads, pipelines for tests, checks, sizes for plans, and metrics.
EXCEPT = (
    "bench/bases/download.py",
    "bench/bases/tiny.py",
    "bench/evaluation/pictures.py",
    "bench/extractors/acceptance.py",
    "bench/method/size.py",
)
CARD = ("definition", "formula", "paper", "space", "title", "unit")  # of a class: texts for tables and plans


@lru_cache
def code() -> str:
    """The version, a part of every run's key."""
    return str(_kept()["version"])


def _kept() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def modules() -> dict[str, str]:
    """Path below ROOT -> sha256 hex[:16] of every module that decides numbers, sorted by path."""
    paths = sorted({path for pattern in PLACES for path in ROOT.glob(pattern)})
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: digest(path) for name, path in names.items() if name not in EXCEPT}


def digest(path: Path) -> str:
    """sha256 hex[:16] of a module's syntax without what decides no number."""
    tree = _Bare().visit(ast.parse(path.read_bytes()))
    return hashlib.sha256(_text(tree).encode()).hexdigest()[:16]


def changes(kept: dict[str, str], now: dict[str, str]) -> list[str]:
    """One line for each module that changed, came or went: its path, and which of the three."""
    lines = [f"{name}: changed" for name in now if name in kept and kept[name] != now[name]]
    lines += [f"{name}: new" for name in now if name not in kept]
    return lines + [f"{name}: gone" for name in kept if name not in now]


def changed() -> list[str]:
    """`changes` between numbers.toml and the files as they are."""
    return changes(_kept()["modules"], modules())


REMEDY = """\
These modules decide what runs compute. Run a few cells of a board into another folder (litmus bench smoke --results
FOLDER) and compare their scores with those of the code before. Did no score move:
    python -m bench.runner.numbers --same
Otherwise, and then every board has to be run again:
    python -m bench.runner.numbers --changed"""


class _Bare(ast.NodeTransformer):
    """Takes away what decides no number."""

    def visit(self, node: ast.AST) -> Any:
        for name in ("body", "orelse", "finalbody"):
            if isinstance(lines := getattr(node, name, None), list):
                setattr(node, name, list(self._kept(lines, isinstance(node, ast.ClassDef))))
        return super().visit(node)

    def _kept(self, lines: Iterable[ast.stmt], card: bool) -> Iterable[ast.stmt]:
        for line in lines:
            if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
                continue  # a docstring, or another text that nobody reads
            if isinstance(line, ast.Pass) or (isinstance(line, ast.If) and "TYPE_CHECKING" in ast.unparse(line.test)):
                continue
            if isinstance(line, ast.ImportFrom) and line.module == "__future__":
                continue
            if card and isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) in CARD:
                continue
            yield line

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # Whether it is a field of a dataclass is all that the kind of a name may decide.
        kind = ast.unparse(node.annotation).partition("[")[0]
        node.annotation = ast.Name(kind if kind in ("ClassVar", "InitVar") else "_")
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        node.cause = None
        return self.generic_visit(node)


def _text(node: Any) -> str:
    """A tree as text that is the same in every version of Python: empty fields of a node are left out.

    ast.dump has other fields in each version, and ast.unparse other quotes.
    """
    if isinstance(node, ast.AST):
        fields = ((name, x) for name, x in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment"))
        inside = ",".join(f"{name}={_text(x)}" for name, x in fields if x is not None and x != [])
        if isinstance(node, ast.Constant):
            inside = repr(node.value)
        return f"{type(node).__name__}({inside})"
    if isinstance(node, list):
        return "[" + ",".join(map(_text, node)) + "]"
    return repr(node)


def write(version: str, found: dict[str, str]) -> None:
    """Write numbers.toml."""
    lines = ["# Written by `python -m bench.runner.numbers`; its page says what this is.", f'version = "{version}"', ""]
    lines += ["[modules]", *(f'"{name}" = "{value}"' for name, value in found.items())]
    write_bytes(FILE, "\n".join([*lines, ""]).encode())


def main(words: list[str]) -> int:
    """The command line; 1 where something changed and nothing was said of it."""
    lines = changed()
    print("\n".join(lines) or "no module that decides numbers has changed")
    if words == ["--same"]:
        write(code(), modules())
    elif words == ["--changed"]:
        write(str(int(code()) + 1), modules())
        print(f"version {_kept()['version']}: every board runs again")
    elif words:
        print("write --same or --changed")
        return 2
    elif lines:
        print(REMEDY)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
