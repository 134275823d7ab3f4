"""bench.report.value: how numbers are written."""

from __future__ import annotations

import math

import pytest

from bench.report.value import counted, number, percent, plusminus, ranged, rate, rough, size
from bench.study.stats import Interval

NAN = math.nan


@pytest.mark.parametrize(
    ("form", "x", "text"),
    [
        (number, 0.256, "0.26"), (number, -0.256, "−0.26"), (number, -0.001, "0.00"), (number, NAN, "–"),
        (number, None, "–"),
        (rate, 2e-3, "2e-3"), (rate, 1.5e-4, "1.5e-4"), (rate, 0.1, "1e-1"), (rate, NAN, "–"),
        (counted, 16541700.0, "16,541,700"), (counted, NAN, "–"),
        (rough, 73728, "73.7k"), (rough, 16541700, "16.5M"), (rough, 950, "950"), (rough, 999_600, "1.00M"),
        (rough, 9860, "9.86k"),
        (rough, 0, "0"), (rough, 7e11, "700G"), (rough, NAN, "–"),
        (size, 512, "512 B"), (size, 2048, "2.0 KiB"), (size, 300 * 1024, "300 KiB"), (size, 66e6, "62.9 MiB"),
        (size, NAN, "–"),
        (percent, 0.00446, "0.45 %"), (percent, 0.018, "1.8 %"), (percent, 1.0, "100 %"), (percent, 0.996, "100 %"),
        (percent, NAN, "–"),
    ],
)  # fmt: skip
def test_numbers(form, x, text):
    assert form(x) == text


def test_intervals():
    seen = Interval(0.5, 0.4, 0.6, 4, 4)
    assert ranged(seen) == "0.50 [0.40, 0.60]"
    assert plusminus(seen) == "0.50 ±0.10"
    for alone in (Interval(0.5, NAN, NAN, 1, 3), Interval(0.5, 0.5, 0.5, 4, 4)):
        assert ranged(alone) == plusminus(alone) == "0.50"
