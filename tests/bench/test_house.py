"""The house rules that can be read from the source: who may import whom, what lies where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A module imports its own layer and those below (docs of the layers: README). The longest prefix wins.
LAYER = {
    **dict.fromkeys(
        [
            "bench.aside",
            "bench.bracket",
            "bench.budget",
            "bench.config",
            "bench.denoisers",
            "bench.files",
            "bench.forwards",
            "bench.method",
            "bench.rng",
            "bench.sites",
            "bench.trainable",
            "bench.version",
        ],
        0,
    ),
    **dict.fromkeys(["bench.spec"], 0),
    **dict.fromkeys(
        [
            "bench.bases",
            "bench.checks",
            "bench.cost",
            "bench.extractors",
            "bench.fetch",
            "bench.fit",
            "bench.metrics",
            "bench.objectives",
            "bench.params",
            "bench.reached",
            "bench.schedule",
            "bench.tasks",
            "bench.world",
            "bench.zoo",
        ],
        1,
    ),
    **dict.fromkeys(
        ["bench.block", "bench.calibration", "bench.evaluator", "bench.sampler", "bench.trainer", "bench.world.card"], 2
    ),
    **dict.fromkeys(["bench.attach"], 2),
    **dict.fromkeys(
        [
            "bench.anova",
            "bench.board",
            "bench.catalogue",
            "bench.interop",
            "bench.launch",
            "bench.oneoff",
            "bench.order",
            "bench.plan",
            "bench.progress",
            "bench.provenance",
            "bench.record",
            "bench.run",
            "bench.worker",
        ],
        3,
    ),
    **dict.fromkeys(["bench.report", "bench.study"], 4),
    **dict.fromkeys(
        [
            "bench",
            "bench.__main__",
            "bench.commands",
            "bench.world.cli",
        ],
        5,
    ),
}
# Narrower than its layer: what these may see of ours at all.
ONLY = {
    "methods": ("bench.config", "bench.method", "bench.rng", "bench.sites", "bench.spec", "methods"),
    "bench.study": ("bench.config", "bench.metrics", "bench.record", "bench.rng", "bench.study"),
    "bench.report": ("bench.config", "bench.metrics", "bench.record", "bench.rng", "bench.study", "bench.report"),
}
# A board is planned and printed by the runner, and its sweep is judged by the study: the one arrow that turns round.
ALLOWED = {("bench.board", "bench.study")}
HEAVY = {
    "accelerate",
    "diffusers",
    "matplotlib",
    "open_clip",
    "pandas",
    "peft",
    "scipy",
    "skia",
    "statsmodels",
    "transformers",
}
# Whoever imports the world has come to draw, which is what these are for.
HEAVY_HERE = {"skia": "bench.world", "scipy": "bench.world"}
FILES = sorted(p for top in ("bench", "methods") for p in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def longest(module: str, prefixes) -> str | None:
    fits = [p for p in prefixes if module == p or module.startswith(p + ".")]
    return max(fits, key=len, default=None)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import; `from bench import x` counts as bench.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names if node.module in ("bench", "methods") else [None]:
                yield node.lineno, f"{node.module}.{alias.name}" if alias else node.module or ""


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: not the bodies of functions, not those for type checkers."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for name in ("body", "orelse", "finalbody"):
            todo += getattr(node, name, [])


def test_there_is_something_to_look_at():
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_layer_imports_only_layers_below(path):
    module = module_of(path)
    only = ONLY.get(longest(module, ONLY) or "")
    home = longest(module, LAYER)
    wrong = []
    for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.split(".")[0] not in ("bench", "methods"):
            continue
        if only is not None:
            fine = longest(name, only) is not None
        elif name == "methods" or name.startswith("methods."):
            fine = False  # found through the registry, by nobody else
        else:
            assert home is not None
            assert home != "bench" or module == "bench", f"{module} is not in the table of layers"
            fine = LAYER[longest(name, LAYER) or ""] <= LAYER[home] or any(
                (module, longest(name, [low])) == (up, low) for up, low in ALLOWED
            )
        if not fine:
            wrong.append(f"line {line}: {module} imports {name}")
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    module = module_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for node in at_import(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line, name in imports(node):
                top = name.split(".")[0]
                if top in HEAVY and not module.startswith(HEAVY_HERE.get(top, "nowhere")):
                    wrong.append(f"line {line}: {name}")
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_says_what_it_is_and_stays_small(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 450, "could it be two ideas?"


@pytest.mark.parametrize(
    "target", ["bench.__main__", "bench.anova.study", "bench.launch", "bench.board", "bench.report", "bench.study"]
)
def test_what_plans_and_reports_runs_without_torch(target):
    code = (
        "import importlib, pkgutil, sys\n"
        f"m = importlib.import_module({target!r})\n"
        "for one in pkgutil.walk_packages(getattr(m, '__path__', []), m.__name__ + '.'):\n"
        "    importlib.import_module(one.name)\n"
        "sys.exit(' '.join(n for n in ('torch', 'diffusers', 'peft') if n in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_no_code_lies_among_data():
    assert not [p for top in ("datasets", "results") for p in (ROOT / top).rglob("*.py")]


def test_tests_are_no_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))
    pattern = re.compile(r"^\s*(from|import) tests\b", re.MULTILINE)
    assert not [p for p in (ROOT / "tests").rglob("*.py") if pattern.search(p.read_text(encoding="utf-8"))]


def test_the_package_list_is_the_packages():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = sorted(module_of(p) for p in FILES if p.name == "__init__.py")
    assert sorted(listed) == there


def test_package_data_is_listed():
    """Every file below a package that is not Python is matched by a pattern of pyproject.toml."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    matched = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    data = {
        path
        for top in ("bench", "methods")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    }
    assert sorted(str(p.relative_to(ROOT)) for p in data - matched) == []


def test_no_text_names_a_path_of_some_machine():
    pattern = re.compile(r"(?<![\w.])/(work|root|home|Users)/[\w.-]+")
    tops = [ROOT / top for top in ("bench", "methods", "tests", "docs", ".ci")]
    files = [
        p for top in tops for p in top.rglob("*") if p.suffix in (".py", ".md", ".toml", ".sh", "") and p.is_file()
    ]
    files += [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml") if (ROOT / name).is_file()]
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in files
        for hit in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_the_makefile_keeps_data_folders_from_being_imported():
    assert "export PYTHONSAFEPATH := 1" in (ROOT / "Makefile").read_text()
