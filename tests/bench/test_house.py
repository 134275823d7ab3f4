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

# The packages in order: an import points to a package above or into its own folder. README draws the same map.
ORDER = (
    "core", "plugin", "protocol", "network", "method", "families", "bases", "world", "tasks", "objectives",
    "extractors", "metrics", "training", "evaluation", "checks", "cost", "listings", "records", "interop", "study",
    "runner", "anova", "pretraining", "fetch", "report", "commands",
)  # fmt: skip
TOP = {"bench", "bench.__main__", "bench.plot", "bench.sites"}  # public names: whoever uses Litmus sees all of it
# Narrower than its place in the order: what these may see of ours at all.
ONLY = {
    "methods": ("bench.core", "bench.method", "bench.network", "bench.plugin", "bench.sites", "methods"),
    "bench.study": ("bench.core", "bench.metrics", "bench.protocol", "bench.records", "bench.study"),
    "bench.report": ("bench.core", "bench.metrics", "bench.protocol", "bench.records", "bench.study", "bench.report"),
}
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
# Whoever imports the world has come to draw. Skia waits still: slim images lack what it needs.
HEAVY_HERE = {"scipy": "bench.world"}
FILES = sorted(p for top in ("bench", "methods") for p in (ROOT / top).rglob("*.py"))


MODULES: set[str] = set()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES |= {module_of(path) for path in FILES}


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


def for_types(tree: ast.AST) -> set[ast.AST]:
    """The nodes that only a type checker reads."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {inner for block in blocks for inner in ast.walk(block)}


def imported(path: Path, typing: bool) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of ours, inside functions too; a name that is no module counts as its module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set() if typing else for_types(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found = [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [(node.lineno, name if name in MODULES else str(node.module)) for name in names]
        else:
            continue
        yield from ((line, name) for line, name in found if name.split(".")[0] in ("bench", "methods"))


def package_of(module: str) -> str:
    """`core` of bench.core.rng; the module itself where it lies at the top."""
    parts = module.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 and module not in TOP else module


def place(module: str) -> int:
    package = package_of(module)
    return len(ORDER) if package in TOP else ORDER.index(package)


def test_there_is_something_to_look_at():
    assert len(FILES) > 40


def test_the_order_names_every_package_and_no_other():
    there = {path.name for path in (ROOT / "bench").iterdir() if (path / "__init__.py").is_file()}
    assert there == set(ORDER)
    assert {module_of(path) for path in (ROOT / "bench").glob("*.py")} <= TOP


def test_the_readme_s_map_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
    assert rows
    named = [name for first, _ in rows for name in re.findall(r"`(\w+)`", first)]
    assert len(named) == len(set(named))
    assert set(ORDER) <= set(named)
    for path in re.findall(r"`(\w+\.py)`", text):
        assert list((ROOT / "bench").rglob(path)), path


def test_contributing_stays_on_one_screen():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_tests_mirror_the_packages():
    there = {
        path.name for path in (ROOT / "tests" / "bench").iterdir() if path.is_dir() and list(path.glob("test_*.py"))
    }
    assert there <= set(ORDER)
    tried = {p for p in ORDER if p in there}
    assert set(ORDER) - tried == set(), "a package without tests of its own"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_an_import_points_up_the_order_or_into_its_own_folder(path):
    module = module_of(path)
    only = ONLY.get(longest(module, ONLY) or "")
    wrong = []
    for line, name in imported(path, typing=False):
        if only is not None:
            fine = longest(name, only) is not None
        elif name == "methods" or name.startswith("methods."):
            fine = False  # found through the registry, by nobody else
        else:
            fine = package_of(name) == package_of(module) or place(name) < place(module) or module in TOP
        if not fine:
            wrong.append(f"line {line}: {module} imports {name}")
    assert not wrong


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Sets of more than one node that reach each other (Tarjan's strongly connected components)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    names = sorted(edges.keys() | {b for targets in edges.values() for b in targets})
    table = csr_matrix([[int(b in edges.get(a, ())) for b in names] for a in names])
    _, labels = connected_components(table, connection="strong")
    groups: dict[int, set[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(label, set()).add(name)
    return [group for group in groups.values() if len(group) > 1]


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_no_circle_between_files_that_is_not_for_types_alone():
    edges = {module_of(p): {n for _, n in imported(p, typing=False)} - {module_of(p)} for p in FILES}
    assert circles(edges) == []


def test_no_circle_between_packages_not_even_for_types():
    edges: dict[str, set[str]] = {}
    for path in FILES:
        own = package_of(module_of(path))
        edges.setdefault(own, set()).update(package_of(name) for _, name in imported(path, typing=True))
    edges = {name: {other for other in found if other != name} for name, found in edges.items() if name not in TOP}
    assert circles(edges) == []


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
    "target",
    [
        "bench.__main__",
        "bench.anova.study",
        "bench.runner.launch",
        "bench.runner.board",
        "bench.plot",
        "bench.report",
        "bench.study",
    ],
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
    files += [
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
        if (ROOT / name).is_file()
    ]
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in files
        for hit in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_the_makefile_keeps_data_folders_from_being_imported():
    assert "export PYTHONSAFEPATH := 1" in (ROOT / "Makefile").read_text()
