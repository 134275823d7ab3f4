"""The gallery: a line for each method from records, with strips of pictures beside the page."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bench.report import gallery


def rows(text):
    return {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines()[2:]}


def test_a_line_for_each_method_and_reference(few, lay, tmp_path):
    board = lay(few)
    text = gallery.write(board, tmp_path / "methods.md", ["base", "lora", "nobody"])
    table = rows(text)
    assert list(table) == ["truth (VAE)", "frozen base", "[lora](#lora)", "[nobody](#nobody)"]
    assert table["frozen base"][3] == "0.00"  # by definition of the norm
    assert table["truth (VAE)"][3:7] == ["1.00"] * 4
    one = next(r for r in few if r.run.spec == "lora" and r.run.seed == 0)
    assert table["[lora](#lora)"][1] == f"{one.run.lr:.0e}".replace("e-0", "e-")
    assert table["[nobody](#nobody)"][3:] == ["–"] * 4 + ["no run |"]
    assert "subject" in text.splitlines()[0].split(" | ")[3]  # subjects before styles


def test_the_strip_shows_each_task(few, lay, tmp_path):
    text = gallery.write(lay(few), tmp_path / "methods.md", ["lora"])
    assert "![lora](methods/lora.jpg)" in text
    with Image.open(tmp_path / "methods" / "lora.jpg") as picture:
        # Three prompts of 16 pixels from either task, and a gap.
        assert picture.size == (2 * 3 * 16 + gallery.GAP, 16)
        assert (np.asarray(picture)[:, 48 : 48 + gallery.GAP] > 200).all()


def test_pictures_of_methods_that_are_gone_go_too(few, lay, tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "older.jpg").write_bytes(b"x")
    gallery.write(lay(few), tmp_path / "methods.md", ["lora"])
    assert not (tmp_path / "methods" / "older.jpg").exists()


def test_a_board_without_pictures_has_its_scores(few, lay, tmp_path):
    text = gallery.write(lay(few, pictures=False), tmp_path / "methods.md", ["lora"])
    assert rows(text)["[lora](#lora)"][-1] == "no picture |"


def test_where_no_run_was_drawn_the_pictures_that_are_there_stay(few, lay, tmp_path):
    gallery.write(lay(few), tmp_path / "methods.md", ["lora"])
    before = (tmp_path / "methods" / "lora.jpg").read_bytes()
    text = gallery.write(lay(few, pictures=False), tmp_path / "methods.md", ["lora"])
    assert "![lora](methods/lora.jpg)" in text
    assert (tmp_path / "methods" / "lora.jpg").read_bytes() == before
