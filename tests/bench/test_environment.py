"""docs/environment.md names every environment variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"(LITMUS|HF|XDG|TORCH|CUDA)_[A-Z0-9_]+")


def environ(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def named(tree: ast.AST) -> set[str]:
    """Names that are looked up in os.environ, and every text that is the name of such a variable."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value):
            found.add(node.value)
        key = None
        if isinstance(node, ast.Subscript) and environ(node.value):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            asks = environ(node.func.value) or node.func.attr == "getenv"
            key = node.args[0] if asks else None
        if isinstance(key, ast.Constant):
            found.add(str(key.value))
    return found


def test_a_variable_would_be_found():
    text = 'NAME = "LITMUS_A"\nos.environ["B"]\nos.environ.get("C", "")\nos.getenv("D")\nos.environ.setdefault("E", "")'
    assert named(ast.parse(text)) == {"LITMUS_A", "B", "C", "D", "E"}


def test_the_page_names_every_variable_and_no_other():
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    files = [p for top in ("bench", "methods") for p in (ROOT / top).rglob("*.py")]
    read = {name for p in files for name in named(ast.parse(p.read_text(encoding="utf-8")))}
    assert set(listed) == read
