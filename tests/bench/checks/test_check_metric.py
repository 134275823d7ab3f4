"""The examination of metrics: every metric of ours passes, and each planted fault is found by the check it is for."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bench.checks import metrics as checks
from bench.metrics import METRICS, Metric, listed


@pytest.mark.parametrize("name", [cls.name for cls in listed()])
def test_every_metric_passes(name):
    checks.check_metric(METRICS.make(name))


@dataclass(frozen=True)
class Fine(Metric):
    name = "fine"
    title = "fine"
    definition = "mean cosine of the pictures to the training pictures"
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "a test"

    scale: float = 1.0

    def score(self, f: Any) -> Any:
        return self.scale * (f.cell.concept(f.kind) @ f.train.concept(f.kind).mean(0)).mean(1)


def failed(**changes: Any) -> dict[str, str]:
    """The checks that Fine fails with some of its class attributes changed."""
    cls = type("Changed", (Fine,), {"__module__": __name__, **changes})
    return {r.name: r.message for r in checks.examine(cls()) if not r.ok}


def test_without_a_fault_it_passes():
    assert failed() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": ""}, "title is one line of text"),
        ({"definition": "two\nlines"}, "definition is one line"),
        ({"source": ""}, "source is one line"),
        ({"name": "my metric"}, "name is a word"),
        ({"name": "seed"}, "another column of the tables"),
        ({"higher_is_better": "yes"}, "higher_is_better is True, False or None"),
        ({"bounds": (1.0, -1.0)}, r"bounds is \(low, high\)"),
        ({"version": 0}, "version is a whole number"),
        ({"kinds": ("subjects",)}, "kinds is a tuple of subject, style"),
        ({"table": "second"}, 'table is "main", "details" or ""'),
        ({"digits": 2.5}, "digits is a whole number"),
        ({"family": "part"}, "family names no setting"),
    ],
)
def test_a_card_that_is_not_whole(changes, message):
    import re

    found = failed(**changes)
    assert re.search(message, found["declares_itself"])


def test_a_direction_that_nobody_gave():
    @dataclass(frozen=True)
    class Undecided(Metric):
        name = title = definition = unit = source = "undecided"
        bounds = (-1.0, 1.0)

        def score(self, f):
            return 0.0

    found = {r.name: r.message for r in checks.examine(Undecided()) if not r.ok}
    assert "does not say higher_is_better" in found["declares_itself"]


@pytest.mark.parametrize(
    ("check", "changes", "message"),
    [
        ("gives_numbers", {"score": lambda self, f: "many"}, "not numbers"),
        ("gives_numbers", {"score": lambda self, f: np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ("gives_numbers", {"score": lambda self, f: float("nan")}, "gives nan"),
        ("gives_numbers", {"score": lambda self, f: None}, "gives None for every"),
        ("gives_numbers", {"score": lambda self, f: f.truth.image.mean()}, "AttributeError"),
        ("keeps_to_its_bounds", {"score": lambda self, f: 1.5}, "is 1.5, outside its bounds -1 to 1"),
        ("repeats", {"score": lambda self, f: float(np.random.default_rng().random())}, "two values"),
        ("does_not_depend_on_order", {"score": lambda self, f: float(f.cell.image[0, 0, 0])}, "come in another order"),
        ("does_not_depend_on_order", {"sampled": True}, "leave the declaration out"),
        ("points_the_right_way", {"higher_is_better": False}, "is higher_is_better = False the right way"),
        ("points_the_right_way", {"score": lambda self, f: -Fine().score(f)}, "the right way"),
    ],
)
def test_a_planted_fault_is_found(check, changes, message):
    import re

    found = failed(**changes)
    assert re.search(message, found.get(check, "")), found


def test_a_score_that_changes_the_features():
    def score(self, f):
        f.cell.image[...] = np.abs(f.cell.image)
        return 0.5

    assert "changes the features" in failed(score=score)["repeats"]


def test_a_file_that_imports_torch_at_its_top(monkeypatch):
    import torch

    module = types.ModuleType("heavy_metric")
    module.torch = torch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "heavy_metric", module)
    assert failed(__module__="heavy_metric")["imports_lightly"].startswith("the file imports torch")


def test_a_copied_row_is_not_what_a_metric_of_fidelity_is_judged_by():
    """memorisation_gap and identity point opposite ways on copies; both directions are told right."""
    flipped = {}
    for name in ("memorisation_gap", "identity", "kid", "drift", "content_leak", "loss_gap"):
        cls = METRICS[name]
        wrong = type("Wrong", (cls,), {"__module__": cls.__module__, "higher_is_better": not cls.higher_is_better})
        flipped[name] = [r.name for r in checks.examine(wrong(), [checks.points_the_right_way]) if not r.ok]
    assert set(map(tuple, flipped.values())) == {("points_the_right_way",)}


def test_a_file_without_a_metric(tmp_path):
    path = tmp_path / "nothing.py"
    path.write_text('"""Nothing."""\n', encoding="utf-8")
    (result,) = checks.check_file(path)
    assert not result.ok
    assert "@register from bench.metrics" in result.message
