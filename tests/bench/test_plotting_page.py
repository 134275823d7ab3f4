"""What docs/plotting.md shows is run here, in order: it works, and its pictures are those that the page shows."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plotting.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHOWN = re.findall(r"(?:\]\(|src(?:set)?=\")plotting/([\w-]+\.png)", TEXT)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder in which the page's code ran."""
    import matplotlib
    import matplotlib.pyplot as plt

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITMUS_HOME", str(ROOT))
        patch.chdir(folder)
        patch.setattr("matplotlib.rcParams", matplotlib.rcParams.copy())
        matplotlib.use("agg")
        space: dict = {}
        for block in BLOCKS:
            exec(compile(block, str(PAGE), "exec"), space)
        plt.close("all")
    return folder


def test_the_page_is_about_all_figures():
    assert len(BLOCKS) >= 6
    for name in ("headline", "front", "tradeoff", "curves", "grid"):
        assert f"`{name}`" in TEXT


@pytest.mark.slow
def test_the_code_writes_the_pictures_of_the_page(written):
    assert SHOWN
    assert sorted(p.name for p in written.iterdir()) == sorted(SHOWN)


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, version("matplotlib").split(".")[:2])) < (3, 10), reason="older matplotlib places labels otherwise"
)
@pytest.mark.parametrize("name", SHOWN)
def test_the_pictures_are_what_the_code_writes(written, name):
    """Nearly: another version of a library may move an edge by a pixel, but not a mark or a label by many."""
    import numpy as np
    from PIL import Image

    with Image.open(ROOT / "docs" / "plotting" / name) as kept, Image.open(written / name) as new:
        assert kept.size == new.size
        small = [np.asarray(i.convert("RGBA").reduce(8), float) for i in (kept, new)]
    assert np.abs(small[0] - small[1]).mean() < 1.5


def test_the_pictures_are_small():
    files = list((ROOT / "docs" / "plotting").iterdir())
    assert {f.name for f in files} == set(SHOWN)
    assert sum(f.stat().st_size for f in files) < 400_000


def test_the_table_names_columns_that_are_there():
    import bench

    records = bench.load_records(ROOT / "tests" / "golden" / "records_v1.jsonl")
    known = {*bench.tidy(records).columns, *bench.leaderboard(records).columns}
    section = TEXT.partition("| column |")[2].partition("\n\n")[0]
    for line in section.splitlines()[2:]:
        for name in re.findall(r"`([\w*]+)`", line.split("|")[1]):
            assert name in known or any(c.startswith(name.rstrip("*")) for c in known if name.endswith("*")), name
