"""Budgets: sizes that rise, fall, jump, or cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.architectures import shape
from bench.core.errors import LitmusError
from bench.method import Method, Network, make, reach
from bench.method.size import nearest_size


def even(size: float) -> int:
    if size % 6:
        raise LitmusError(f"{size} does not divide the widths")
    return int(size) * 10


def up_to_64(size: float) -> int:
    if size > 64:
        raise LitmusError("wider than the layer")
    return int(size) * 10


@pytest.mark.parametrize(
    ("count", "wanted", "size"),
    [
        (lambda n: 7 * n, 700, 100),
        (lambda n: 7 * n, 3, 1),
        (lambda n: 7 * n, 704, 101),
        (lambda n: 6000 // n, 60, 99),  # more of the size, fewer scalars; of 99 and 100 the smaller
        (lambda n: 6000 // n, 9000, 1),
        (lambda n: 64 * (n // 8 + 1), 640, 72),  # in steps of eight
        (even, 600, 60),
        (even, 655, 66),
        (up_to_64, 10_000, 64),
        (up_to_64, 555, 55),
        (lambda n: 5, 1000, 1),  # it does not matter
    ],
)
def test_nearest_whole_size(count, wanted, size):
    assert nearest_size(count, wanted, whole=True) == size


@pytest.mark.parametrize(("wanted", "share"), [(10, 0.01), (500, 0.5), (1000, 1.0), (5000, 1.0)])
def test_nearest_fraction(wanted, share):
    found = nearest_size(lambda part: round(1000 * part), wanted, whole=False)
    assert round(1000 * found) == round(1000 * share)


def test_few_questions_are_asked():
    asked: list[float] = []
    nearest_size(lambda n: asked.append(n) or 3 * int(n), 300_000, whole=True)
    assert len(asked) < 50
    assert len(set(asked)) == len(asked)


def test_a_method_that_takes_no_size_at_all_says_why():
    def never(size: float) -> int:
        raise LitmusError("this network has no place for it")

    with pytest.raises(LitmusError, match="no place for it"):
        nearest_size(never, 100, whole=True)


@dataclass(frozen=True)
class Part(Method):
    """Trains a fraction of a thousand scalars; a size that is no whole number."""

    name, paper, size_field = "part", "none", "part"
    part: float = 0.1

    def count(self, net):
        return round(1000 * self.part)


def test_reach_says_how_far_off_it_is():
    net = Network(nn.Linear(100, 100, bias=False))
    method, count, off = reach(Part(), net, 0.05)
    found: Any = method
    assert (round(found.part, 3), count, off) == (0.5, 500, 0.0)
    assert reach(Part(), net, 0.2)[1:] == (1000, -0.5)
    assert reach(make("full"), net, 0.01)[1:] == (10_000, 99.0)


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.0075, 0.03])
def test_the_shares_of_the_parameter_matched_track(share):
    """On SD 1.5's attention one unit of LoRA's rank is 0.023 %; an adapter's unit of width 0.0029 %."""
    net = shape("sd15")
    assert abs(reach(make("adapter"), net, share)[2]) < 0.02
    off = abs(reach(make("lora"), net, share)[2])
    assert off <= 0.5 * 199_296 / (share * 859_520_964) + 1e-9


def test_budgets_on_meta_need_no_memory():
    assert all(p.is_meta for p in shape("flux1-dev").parameters())
    assert torch.get_default_device().type == "cpu"
