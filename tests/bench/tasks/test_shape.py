"""What the crop to a base's shape takes from training pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.tasks.folder import photos
from bench.tasks.shape import cut_line, fitting, lost


def test_the_share_that_is_lost():
    assert lost((600, 800), (512, 512)) == pytest.approx(0.25)
    assert lost((800, 600), (512, 512)) == pytest.approx(0.25)
    assert lost((600, 800), (512, 384)) == pytest.approx(0)
    assert lost((100, 100), (64, 128)) == pytest.approx(0.5)


def test_portraits_are_spoken_of_once_with_a_shape_that_keeps_them(tmp_path, picture):
    for i, size in enumerate([(60, 80), (60, 80), (60, 80), (70, 72), (64, 64)]):
        picture(tmp_path / "rex" / f"{i}.png", size)
    task = photos(tmp_path / "rex", identifier="sks", class_word="dog")
    task = replace(task, train=(*task.train, *task.heldout))
    said = "3 of 5 pictures are cut by 25 % or more to fit 512 x 512: --resolution 384x512 keeps more"
    assert cut_line(task, (512, 512)) == f"{task.name}: {said}"


def test_nothing_is_said_of_a_small_cut_and_no_shape_proposed_that_keeps_less(tmp_path, picture):
    picture(tmp_path / "rex" / "0.png", (70, 80))
    task = photos(tmp_path / "rex", identifier="sks", class_word="dog")
    assert cut_line(task, (512, 512)) == ""
    assert cut_line(task, (512, 448)) == ""
    assert fitting([(80, 60)], 512) == (384, 512)
    assert fitting([(60, 60)], 64) == (64, 64)
    assert fitting([(10, 60)], 64) == (64, 16)
