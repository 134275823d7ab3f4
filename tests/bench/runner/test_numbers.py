"""The version of the code that decides numbers: whoever changes such a module is told so, by its name."""

from __future__ import annotations

import tomllib
from importlib.metadata import version as version_of

import pytest

from bench.runner import numbers, plan
from bench.runner import run as running
from bench.runner.plan import expand, key
from bench.runner.resolve import look_up


def test_no_module_that_decides_numbers_changed_unsaid():
    lines = numbers.changed()
    assert not lines, "\n".join([*lines, numbers.REMEDY])


def test_the_version_is_that_of_the_records_that_are_published():
    assert plan.code() == numbers.code() == "1"


@pytest.mark.parametrize(
    "name",
    [
        "bench/core/rng.py",
        "bench/network/schedule.py",
        "bench/method/contract.py",
        "bench/method/reparam.py",
        "bench/method/bypass.py",
        "bench/bases/codec.py",
        "bench/objectives/prior.py",
        "bench/training/loop.py",
        "bench/training/attach.py",
        "bench/evaluation/sampler.py",
        "bench/extractors/preprocess.py",
        "bench/runner/run.py",
        "methods/lora.py",
        "methods/_lowrank.py",
    ],
)
def test_what_decides_numbers_is_watched(name):
    assert name in tomllib.loads(numbers.FILE.read_text())["modules"]


BEFORE = '''
"""A page."""
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Lora:
    """Low rank."""

    paper = "arXiv:1"
    rank: int = 4
    alpha: ClassVar[float] = 1.0

    def attach(self, x: Tensor) -> Tensor:
        # a comment
        if x is None:
            raise ValueError(f"no {x}")
        return x * self.rank
'''


def digests(tmp_path, *texts: str) -> list[str]:
    file = tmp_path / "module.py"
    found = []
    for text in texts:
        file.write_text(text)
        found.append(numbers.digest(file))
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A page."""', '"""Another page."""'),
        ('"""Low rank."""\n', ""),
        ("# a comment", "# another"),
        ("x: Tensor) -> Tensor", "x)"),
        ("rank: int", "rank: float"),
        ("    from torch import Tensor", "    from torch import Tensor, nn"),
        ('f"no {x}"', '"nothing to attach to"'),
        ("arXiv:1", "arXiv:2, section 3"),
        ("return x * self.rank", "return (x\n            * self.rank)"),
        ("from __future__ import annotations\n", ""),
    ],
)
def test_words_and_layout_decide_nothing(tmp_path, old, new):
    assert old in BEFORE
    one, other = digests(tmp_path, BEFORE, BEFORE.replace(old, new))
    assert one == other


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 4", "= 8"),
        ("x * self.rank", "x + self.rank"),
        ("alpha: ClassVar[float]", "alpha: float"),
        ("if x is None", "if x is not None"),
        ("raise ValueError", "raise KeyError"),
        ("@dataclass\n", ""),
        ("import dataclass\n", "import dataclass, field as dataclass\n"),
        ("1.0", "1"),
    ],
)
def test_code_decides(tmp_path, old, new):
    assert old in BEFORE
    one, other = digests(tmp_path, BEFORE, BEFORE.replace(old, new))
    assert one != other


def test_each_change_is_named():
    kept = {"a.py": "1", "b.py": "2", "c.py": "3"}
    assert numbers.changes(kept, dict(kept)) == []
    lines = numbers.changes(kept, {"a.py": "1", "b.py": "9", "d.py": "4"})
    assert lines == ["b.py: changed", "d.py: new", "c.py: gone"]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A tree of one module, with its numbers.toml."""
    module = tmp_path / "methods" / "lora.py"
    module.parent.mkdir()
    module.write_text(BEFORE)
    monkeypatch.setattr(numbers, "FILE", tmp_path / "numbers.toml")
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    numbers.write("1", numbers.modules())
    numbers.code.cache_clear()
    yield module
    numbers.code.cache_clear()


def test_same_keeps_the_version_and_changed_raises_it(clone, capsys):
    def version() -> str:
        return tomllib.loads(numbers.FILE.read_text())["version"]

    assert numbers.main([]) == 0
    clone.write_text(BEFORE.replace("= 4", "= 8"))
    assert numbers.main([]) == 1
    said = capsys.readouterr().out
    assert "methods/lora.py: changed" in said
    assert "--same" in said
    assert "--changed" in said
    assert numbers.main(["--smae"]) == 2
    assert version() == "1"
    assert numbers.main(["--same"]) == 0
    assert (numbers.main([]), version()) == (0, "1")
    clone.write_text(BEFORE)
    assert numbers.main(["--changed"]) == 0
    assert (numbers.main([]), version()) == (0, "2")


# Of lora on the toy base, three steps at a rate that moves it. Whoever moves these has moved the scores of boards.
RUNNING = [0.734973, 0.380058, 0.539470]
TRAIN = [0.370116, 0.368548, 0.335921]
SCORES = {"identity": -0.147368, "text": 0.056683, "drift": 0.881610, "prior_leak": -0.095856}


@pytest.mark.skipif(
    tuple(map(int, version_of("transformers").split(".")[:2])) < (5, 24),
    reason="the weights of the toy's text encoder are drawn by transformers, whose older versions draw others",
)
def test_a_run_comes_out_as_it_always_did(toy_protocol, tmp_path):
    from bench.protocol.models import load_protocol

    protocol = load_protocol(toy_protocol())
    running._task.cache_clear()
    plan = expand(protocol, look_up(protocol)).values()
    (run,) = [r for r in plan if (r.method, r.task) == ("lora", "toy/subject-a")]
    run = run.model_copy(update={"lr": 0.3})
    record = running.execute(key(run), run, tmp_path, lambda *_: None)
    assert record.status == "ok", record.error
    assert record.curve.running == pytest.approx(RUNNING, rel=1e-4)
    assert record.curve.train == pytest.approx(TRAIN, rel=1e-4)
    assert {name: record.scores[name] for name in SCORES} == pytest.approx(SCORES, abs=1e-3)
