"""The examination as a whole: of a sound method, of the text side, of files, and the lines that authors read."""

from __future__ import annotations

import re
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
from bench.plugin.registry import load_file


@pytest.fixture(scope="module")
def sound(scale):
    return checks.examine(scale())


def test_a_sound_method_passes_everything(sound):
    assert [(r.name, r.message) for r in sound if not r.ok] == []
    assert [r.name for r in sound if r.network == "U-Net"] == [check.__name__ for check in checks.ALL]
    assert [r.name for r in sound if r.network == "transformer"] == [check.__name__ for check in checks.ELSEWHERE]


def test_what_was_skipped_is_said_with_its_reason(sound):
    told = {(r.name, r.network): r.message for r in sound if r.skipped}
    assert told == {
        ("survives_averaging", "U-Net"): "it does nothing between steps",
        ("starts_from_data", "U-Net"): "needs_data = False",
        ("needs_its_declaration", "U-Net"): "mergeable = True",
    }
    assert all(r.ok for r in sound if r.skipped)
    assert not any(r.message for r in sound if not r.skipped)


def test_a_method_that_has_no_place_in_a_transformer_is_skipped_there(scale):
    class Convs(scale):
        name = "convs"

        def attach(self, net, rng):
            for layer in sites(net, "conv").values():
                layer.requires_grad_(True)

        def count(self, net):
            return sum(p.numel() for m in sites(net, "resblock").values() for p in m.parameters())

    (told,) = checks._elsewhere(make("blora"))
    assert (told.ok, told.skipped, told.network) == (True, True, "transformer")
    assert "it is a method for U-Nets" in told.message
    (odd,) = checks._elsewhere(Convs())
    assert (odd.ok, odd.skipped) == (False, False)
    assert "count says" in odd.message


def test_a_fault_that_only_a_transformer_shows_is_found(scale):
    """A layer whose name only U-Nets have is nowhere to be found in the other."""

    class OnlyOnUNets(scale):
        def attach(self, net, rng):
            super().attach(net, rng)
            net.denoiser.conv_out.bias.data += 0.0

    bad = [r for r in checks.examine(OnlyOnUNets()) if not r.ok]
    assert bad
    assert {r.network for r in bad} == {"transformer"}


class Noisy(nn.Module):
    """A wrapper with dropout: what is trained works on inputs of which a tenth is dropped."""

    base: Any
    a: Any

    def __init__(self, base, a):
        super().__init__()
        self.base, self.a, self.drop = base, a, nn.Dropout(0.1)
        self.b = nn.Parameter(a.new_zeros(base.out_features, len(a)))

    def forward(self, x):
        return self.base(x) + (self.drop(x) @ self.a.T.to(x.dtype)) @ self.b.T.to(x.dtype)


def test_a_method_with_dropout_passes(scale):
    class Dropped(scale):
        def attach(self, net, rng):
            for path, layer in sites(net, "attn2").items():
                parent, _, child = path.rpartition(".")
                a = self.start((self.rank, layer.in_features), rng).to(layer.weight.device)
                setattr(net.get_submodule(parent), child, Noisy(layer, nn.Parameter(a)))

        @torch.no_grad()
        def merge(self, net):
            for path, module in list(net.named_modules()):
                if isinstance(module, Noisy):
                    parent, _, child = path.rpartition(".")
                    module.base.weight += module.b @ module.a
                    setattr(net.get_submodule(parent), child, module.base)

    before = torch.get_rng_state()
    assert [(r.name, r.network, r.message) for r in checks.examine(Dropped()) if not r.ok] == []
    assert before.equal(torch.get_rng_state())


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
    monkeypatch.setattr(checks, "ELSEWHERE", ())

    class Two(scale):
        lr = 0.0
        exact_start = False

    with pytest.raises(
        AssertionError, match=r"scale breaks the contract\ndeclares_itself, U-Net: .*\nstarts_at_base, U-Net: "
    ):
        checks.check_method(Two())
    checks.check_method(scale())


def test_a_method_that_raises_is_a_failed_result(scale, monkeypatch):
    class Raises(scale):
        def attach(self, net, rng):
            raise KeyError("to_q")

    monkeypatch.setattr(checks, "ALL", (checks.starts_at_base,))
    monkeypatch.setattr(checks, "ELSEWHERE", ())
    (only,) = checks.examine(Raises())
    assert (only.name, only.ok, only.method, only.network) == ("starts_at_base", False, "scale", "U-Net")
    assert re.fullmatch(r"KeyError: 'to_q' \(\S*test_examine.py:\d+\)", only.message)


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
    monkeypatch.setattr(checks, "ELSEWHERE", ())
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


BROKEN = HEAD + (
    "@register\n@dataclass(frozen=True)\nclass Broken(Method):\n    name = 'broken'\n    paper = 'none'\n"
    "    def attach(self, net, rng):\n        b = net.denoiser.conv_out.bias\n        b.requires_grad_(True)\n"
    "        {line}\n"
    "    def count(self, net):\n        return 4\n"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("net.denoiser.nowhere", "AttributeError: 'ToyUNet' object has no attribute 'nowhere'"),
        ("b.reshape(3)", "RuntimeError: shape '[3]' is invalid"),  # raised inside torch
        ("assert b.ndim == 2, 'a matrix'", "a matrix"),  # the author's own assertion
    ],
)
def test_an_error_says_file_and_line_of_the_author_s_code(plugin, line, said, monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.starts_at_base,))
    monkeypatch.setattr(checks, "ELSEWHERE", ())
    path = plugin(BROKEN.format(line=line))
    (only,) = checks.check_file(path)
    assert said.split("'")[0] in only.message
    assert only.message.endswith(f"({path}:11)")


def test_an_error_under_vmap_says_file_and_line_too(plugin, monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.packs,))
    monkeypatch.setattr(checks, "ELSEWHERE", ())
    text = BROKEN.format(line="net.denoiser.conv_out.register_forward_hook(look)").replace(
        "@register\n",
        "def look(module, args, out):\n    return out if module.bias.sum().item() < 9 else out\n@register\n",
    )
    path = plugin(text)
    (only,) = checks.check_file(path)
    assert only.message.startswith("two seeds do not pack: ")
    assert f"({path}:4)" in only.message


def test_a_clash_of_names_says_the_files_of_both(plugin, tmp_path):
    load_file(plugin(BROKEN.format(line="pass")))
    other = tmp_path / "other.py"
    other.write_text(BROKEN.format(line="pass"))
    with pytest.raises(LitmusError) as told:
        checks.check_file(other)
    assert str(told.value).count(str(other)) >= 1
    assert str(tmp_path / "plugin.py") in str(told.value)
    assert "litmus_file_" not in str(told.value)


def test_a_clash_with_one_of_ours_says_its_file(plugin):
    with pytest.raises(
        LitmusError, match=r"two methods are called 'lora': rename Broken in \S*plugin.py \(methods/lora.py"
    ):
        checks.check_file(plugin(BROKEN.format(line="pass").replace("'broken'", "'lora'")))


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
