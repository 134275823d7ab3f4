"""The examination as a whole: of a sound method, of the text side, of files, and the lines that authors read."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MethodType
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.bases.toy_transformers import toy_transformer
from bench.checks import contract as checks
from bench.method import LitmusError, Method, make
from bench.network.sites import sites


@pytest.fixture(scope="module")
def sound(scale):
    return checks.examine(scale())


def test_a_sound_method_passes_everything(sound):
    assert [(r.name, r.message) for r in sound if not r.ok] == []
    assert [r.name for r in sound] == [check.__name__ for check in checks.ALL]


class Word(Method):
    """Textual inversion in small: the trigger's embedding (D,) is trained, all others stay."""

    name, paper, side, lr = "word", "none", "text", 1e-2

    def attach(self, net: Any, rng):
        table = net.text.get_input_embeddings()
        table.register_parameter("own", nn.Parameter(table.weight[list(net.trigger)].detach().clone()))  # (1, D)
        table.trigger = net.trigger
        table.forward = MethodType(_word, table)

    def count(self, net: Any):
        return len(net.trigger) * net.text.config.hidden_size

    def merge(self, net: Any):
        table = net.text.get_input_embeddings()
        table.weight.data[list(table.trigger)] = table.own.data
        del table.own, table.forward


def _word(table: Any, ids):
    plain = type(table).forward(table, ids)
    for i, token in enumerate(table.trigger):
        plain = torch.where((ids == token)[..., None], table.own[i].to(plain.dtype), plain)
    return plain


class DeafWord(Word):
    """Trains a copy of the embedding that nobody reads."""

    def attach(self, net: Any, rng):
        super().attach(net, rng)
        del net.text.get_input_embeddings().forward


def test_a_method_of_the_text_side_is_tried_through_prompts():
    assert [(r.name, r.message) for r in checks.examine(Word()) if not r.ok] == []


def test_a_text_side_that_nobody_reads_is_caught():
    results = {r.name: r for r in checks.examine(DeafWord(), checks=[checks.trains_only_its_own, checks.learns])}
    assert not any(r.ok for r in results.values())


def test_a_text_side_method_needs_a_text_side():
    with pytest.raises(LitmusError, match="no text side"):
        checks.examine(Word(), toy_network)


def test_a_refusal_is_said_by_count_and_attach_alike(scale):
    class Conv(scale):
        def count(self, net):
            return sum(m.weight.numel() for m in sites(net, "conv").values())

    def flux():
        return toy_transformer("flux")

    assert "no module with role 'bias'" in (checks.refusal(make("bias"), lambda: toy_transformer("flux2")) or "")
    assert checks.refusal(make("bias"), flux) is None
    with pytest.raises(AssertionError, match="count says .*'conv'.*, attach says yes"):
        checks.refusal(Conv(), flux)


def test_a_size_that_cannot_be_doubled_is_halved(scale, place):
    @dataclass(frozen=True)
    class AtMostTwo(scale):
        def __post_init__(self):
            if self.rank > 2:
                raise LitmusError("rank is at most 2")

        def count(self, net):
            return super().count(net) + (0 if self.rank == 2 else self.wrong)

        wrong: ClassVar[int] = 0

    checks.counts_by_formula(AtMostTwo(), place)
    AtMostTwo.wrong = 1
    with pytest.raises(AssertionError, match=r"count says .*rank=1"):
        checks.counts_by_formula(AtMostTwo(), place)


def test_a_frozen_base_must_train_nothing(scale, place):
    class Base(scale):
        trains = False
        lr = 0.0
        size_field = None

    for check, words in (("learns", "something requires grad"), ("counts_by_formula", "trains = False")):
        with pytest.raises(AssertionError, match=words):
            getattr(checks, check)(Base(), place)


def test_a_hyperparameter_that_no_protocol_can_write(scale, place):
    @dataclass(frozen=True)
    class Listed(scale):
        places: tuple = field(default=("attn1", "attn2"))

    with pytest.raises(AssertionError, match="cannot be written"):
        checks.declares_itself(Listed(), place)


def test_check_method_names_all_that_fail(scale, monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.declares_itself, checks.starts_at_base, checks.repeats))

    class Two(scale):
        lr = 0.0
        exact_start = False

    with pytest.raises(AssertionError, match=r"scale breaks the contract\ndeclares_itself: .*\nstarts_at_base: .*"):
        checks.check_method(Two())
    checks.check_method(scale())


def test_a_method_that_raises_is_a_failed_result(scale, monkeypatch):
    class Raises(scale):
        def attach(self, net, rng):
            raise KeyError("to_q")

    monkeypatch.setattr(checks, "ALL", (checks.starts_at_base,))
    assert checks.examine(Raises()) == [checks.Result("starts_at_base", False, "KeyError: 'to_q'", "scale")]


@pytest.fixture
def plugin(tmp_path, registry):
    """A function that writes a method file; what it registers is forgotten after the test."""

    def write(text):
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return path

    return write


HEAD = "from dataclasses import dataclass\nfrom bench.method import Method, register\n"


def test_check_file(plugin, monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.declares_itself, checks.counts_by_formula))
    text = HEAD + (
        "@register\n@dataclass(frozen=True)\nclass Last(Method):\n    name = 'last'\n    paper = 'none'\n"
        "    def attach(self, net, rng):\n        net.denoiser.conv_out.bias.requires_grad_(True)\n"
        "    def count(self, net):\n        return 5\n"
    )
    found = checks.check_file(plugin(text))
    assert [(r.method, r.name, r.ok) for r in found] == [
        ("last", "declares_itself", True),
        ("last", "counts_by_formula", False),
    ]
    assert found[1].message.startswith("count says 5 scalars, attach makes 4 trainable")


def test_check_file_without_a_method(plugin):
    (only,) = checks.check_file(plugin("x = 1\n"))
    assert not only.ok
    assert "@register" in only.message


def test_check_file_without_a_default(plugin):
    text = HEAD + "@register\n@dataclass(frozen=True)\nclass A(Method):\n    name, paper = 'a', 'none'\n    rank: int\n"
    (only,) = checks.check_file(plugin(text))
    assert "every hyperparameter needs a default" in only.message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\ny = (\n", r"cannot load .*plugin.py, line 2: SyntaxError"),
        ("import nowhere_to_be_found\n", r"cannot load .*plugin.py, line 1: ModuleNotFoundError"),
        (HEAD + "@register\nclass A(Method):\n    name = 'a'\n", r"plugin.py: A has no paper"),
    ],
)
def test_a_file_that_cannot_be_loaded(plugin, text, line):
    with pytest.raises(LitmusError, match=line):
        checks.check_file(plugin(text))


def test_no_file(tmp_path):
    with pytest.raises(LitmusError, match="no file"):
        checks.check_file(tmp_path / "none.py")
