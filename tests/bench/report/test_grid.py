"""bench.report.grid: pictures are cut out of the stored sheets where they are."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from bench.report import grid


def pictures(n: int, side: int = 8) -> np.ndarray:
    return np.stack([np.full((side, side, 3), 3 * (i + 1), np.uint8) for i in range(n)])


def gapped(these: np.ndarray, columns: int = grid.SAVED, gap: int = grid.GAP) -> np.ndarray:
    n, side = len(these), these.shape[1]
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for i, one in enumerate(these):
        y, x = i // columns * (side + gap), i % columns * (side + gap)
        sheet[y : y + side, x : x + side] = one
    return sheet


@pytest.mark.parametrize("prompts", [1, 3, 6, 7, 20])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_cuts_both_layouts(prompts, each):
    these = pictures(prompts * each)
    for sheet in (np.concatenate(list(these), axis=1), gapped(these)):
        found = grid.cut(sheet, prompts)
        assert found is not None
        assert (found == these[::each]).all()


def test_the_runner_draws_what_is_cut():
    """The sheet that a run writes, from the runner's own function."""
    import torch

    from bench.evaluation.sampler import grid as draw
    from bench.runner.run import COLUMNS

    images = torch.arange(1, 9)[:, None, None, None].expand(8, 3, 16, 16) / 10
    found = grid.cut(np.asarray(draw(images, COLUMNS)), 8)
    assert found is not None
    assert found.shape == (8, 16, 16, 3)
    assert (np.diff(found[:, 0, 0, 0].astype(int)) > 0).all()


def test_an_unknown_layout_is_not_cut():
    assert grid.cut(np.zeros((50, 71, 3), np.uint8), 7) is None


@pytest.fixture
def record(stored, lay):
    first = next(r for r in stored if r.run.method == "lora")
    return first, lay([first]) / "runs"


def test_reads(record):
    found = grid.read(*record)
    assert isinstance(found, grid.Samples)
    assert found.pictures.shape == (3, 16, 16, 3)
    assert len(found.prompts) == 3


def test_missing_pictures_are_no_fault(record):
    r, folder = record
    (folder / r.files["grid"]).unlink()
    assert grid.read(r, folder) == ""
    assert grid.read(r.model_copy(update={"files": {}}), folder) == ""


def test_broken_files_are_one_line(record):
    r, folder = record
    (folder / r.files["grid"]).write_bytes(b"no picture")
    assert "no sample pictures of lora" in str(grid.read(r, folder))
    Image.new("RGB", (50, 71)).save(folder / r.files["grid"])
    assert "unknown layout" in str(grid.read(r, folder))
    (folder / r.files["prompts"]).write_text(json.dumps({"other": 1}))
    assert "KeyError" in str(grid.read(r, folder))


def test_reads_nothing_outside_the_board(record, tmp_path):
    r, folder = record
    outside = tmp_path / "secret.png"
    (folder / r.files["grid"]).rename(outside)
    assert grid.read(r.model_copy(update={"files": r.files | {"grid": "../../secret.png"}}), folder) == ""


def samples(n: int, words: str = "a robot in the forest") -> grid.Samples:
    return grid.Samples([f"{words} {i}" for i in range(n)], pictures(n, 16))


def names(fig) -> list[str]:
    return [t.get_text() for t in fig.axes[0].get_yticklabels()]


def test_text_is_as_small_as_the_pictures():
    """In axes of a third of the size no prompt runs into the next."""
    from bench.core import style

    fig = style.figure(3, 1.5)
    ax = fig.subplots()
    grid.compose_on(ax, {"lora": samples(10), "bias": samples(10)})
    fig.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 + 0.5 for a, b in itertools.pairwise(boxes))


def test_compose_shows_the_pictures():
    fig = grid.compose({"truth (VAE)": samples(3), "lora": samples(3)}, ("truth (VAE)",))
    assert fig is not None
    canvas = np.asarray(fig.axes[0].images[0].get_array())
    assert (canvas[:16, :16, :3] == 3).all()
    assert (canvas[-16:, -16:, :3] == 9).all()
    assert (canvas[16:18, :, 3] == 0).all()  # the gap lets any ground through
    assert names(fig) == ["truth (VAE)", "lora"]


def test_compose_takes_ten_columns_of_many():
    fig = grid.compose({"lora": samples(25)})
    assert fig is not None
    prompts = [t.get_text() for t in fig.axes[0].get_xticklabels()]
    assert len(prompts) == 10
    assert "24" in prompts[-1]
    assert np.asarray(fig.axes[0].images[0].get_array()).shape[1] < 10 * 18


def test_compose_leaves_out_rows_of_other_prompts():
    fig = grid.compose({"lora": samples(3), "old": samples(3, "another prompt")})
    assert fig is not None
    assert names(fig) == ["lora"]
    assert grid.compose({}) is None
