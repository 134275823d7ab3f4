"""`litmus metrics`: no direction is no direction, and a card says it all."""

from __future__ import annotations

import pytest

from bench.core.errors import LitmusError
from bench.listings import metrics as cards
from bench.metrics import listed


def test_every_metric_is_a_line_and_what_describes_has_no_direction():
    head, rows = cards.listing()
    assert head[:3] == ["metric", "better", "range"]
    better = {row[0]: row[1] for row in rows}
    assert (better["diversity"], better["kid"], better["identity"]) == ("–", "lower", "higher")
    assert better["attribute_<part>"] == "higher"
    assert len(rows) == len(listed())


def test_ranges_in_words():
    ranges = {row[0]: row[2] for row in cards.listing()[1]}
    assert (ranges["text"], ranges["loss_train"], ranges["kid"]) == ("-1 to 1", "0 or more", "any number")


def test_a_card_says_it_all():
    head, rows = cards.card("kid_null[draws=500]")
    assert head == ["metric", "kid_null[draws=500]"]
    said = {key: value for key, value in rows}
    assert said["better"] == "– (it describes)"
    assert said["settings"] == "draws=500, level=0.95"
    assert (said["version"], said["unit"], said["file"]) == ("1", "squared MMD", "bench/metrics/kid_null.py")
    assert list(said)[:7] == ["title", "what it measures", "better", "range", "unit", "version", "source"]


def test_the_card_of_a_metric_of_torchmetrics():
    said = {key: value for key, value in cards.card("torchmetrics.PeakSignalNoiseRatio")[1]}
    assert (said["title"], said["better"], said["computed from"]) == ("PSNR", "higher", "pictures")
    assert said["range"] == "0 or more (the axis of its plots)"
    assert "data_range=1.0" in said["settings"]
    assert said["source"] == "torchmetrics.image.PeakSignalNoiseRatio"
    assert len(cards.listing(of_torchmetrics=True)[1]) > 15


def test_an_unknown_one_is_named_with_the_nearest():
    with pytest.raises(LitmusError, match="unknown metric 'diversty': did you mean 'diversity'"):
        cards.card("diversty")
