"""Constraints for pip: the lowest version that pyproject.toml allows of everything it names, a line each.

`python tests/lowest.py > constraints.txt`, for `make test-lowest` where there is no uv. With no package installed.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
NAMED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)$")


def lowest(project: Path = PROJECT) -> list[str]:
    """["numpy==1.26", ...] for the dependencies and the extra "dev". ValueError for one without a lower bound."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    lines = []
    for asked in [*about["dependencies"], *about["optional-dependencies"]["dev"]]:
        found = NAMED.match(asked)
        if not found:
            raise ValueError(f"{asked}: say NAME>=VERSION")
        lines.append(f"{found[1]}=={found[2]}")
    return lines


if __name__ == "__main__":
    print("\n".join(lowest()))
