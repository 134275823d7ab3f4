"""Each check is seen to bite: one planted fault per check, and the check that must name it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.bases.toy_transformers import toy_transformer
from bench.checks import contract as checks
from bench.method import METHODS, LitmusError, Method, make
from bench.sites import sites


@dataclass(frozen=True)
class Scale(Method):
    """A method without fault: W' = W + b a^T at each attention layer, as wrappers of Linear."""

    name = "scale"
    paper = "none"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    size_field = "rank"

    rank: int = 2

    def start(self, shape, rng):
        return torch.randn(shape, generator=rng)

    def attach(self, net, rng):
        for path, layer in sites(net, "attn2").items():
            parent, _, child = path.rpartition(".")
            a = nn.Parameter(self.start((self.rank, layer.in_features), rng).to(layer.weight.device))
            setattr(net.get_submodule(parent), child, Wrapped(layer, a))

    def count(self, net):
        return sum(self.rank * (m.in_features + m.out_features) for m in sites(net, "attn2").values())

    @torch.no_grad()
    def merge(self, net):
        for path, module in list(net.named_modules()):
            if isinstance(module, Wrapped):
                parent, _, child = path.rpartition(".")
                module.base.weight += module.b @ module.a
                setattr(net.get_submodule(parent), child, module.base)


class Wrapped(nn.Module):
    base: Any
    a: Any

    def __init__(self, base, a):
        super().__init__()
        self.base, self.a = base, a  # a (r, in)
        self.b = nn.Parameter(a.new_zeros(base.out_features, len(a)))  # (out, r)

    def forward(self, x):
        return self.base(x) + (x @ self.a.T.to(x.dtype)) @ self.b.T.to(x.dtype)


def wrapped(net) -> list[Any]:
    return [m for m in net.modules() if isinstance(m, Wrapped)]


class NotTheBase(Scale):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            nn.init.constant_(m.b, 0.1)


class SaysItMoves(Scale):
    exact_start = False


class ForgetsOut(Scale):
    def count(self, net):
        return sum(self.rank * m.in_features for m in sites(net, "attn2").values())


class IgnoresItsSize(Scale):
    def attach(self, net, rng):
        Scale.attach(Scale(rank=2), net, rng)

    def count(self, net):
        return Scale(rank=2).count(net)


class TrainsNothing(Scale):
    def attach(self, net, rng):
        super().attach(net, rng)
        net.requires_grad_(False)

    def count(self, net):
        return 0


class TrainsNorms(Scale):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in sites(net, "norm").values():
            m.weight.requires_grad_(True)


class MovesWhatIsFrozen(Scale):
    def step(self, net: Any, i, n):
        with torch.no_grad():
            net.denoiser.conv_out.bias += 1.0


class NeverTrainsA(Scale):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.forward = Detached(m)


class Detached:
    """Calls the wrapper with `a` cut off the graph."""

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        m = self.module
        return m.base(x) + (x @ m.a.detach().T.to(x.dtype)) @ m.b.T.to(x.dtype)


class ForgetsAGroup(Scale):
    def groups(self, net, lr):
        return [{"params": [m.b for m in wrapped(net)], "lr": lr}]


class FrozenA(Scale):
    """VeRA's mistake: a frozen random tensor from rng, which another seed does not bring back."""

    size_field = None

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.a.requires_grad_(False)

    def count(self, net):
        return sum(self.rank * m.out_features for m in sites(net, "attn2").values())


class Explodes(Scale):
    lr = 1e4


class WrongSide(Scale):
    side = "both"


class NoSuchSide(Scale):
    side = "picture"


class FromData(Scale):
    """Starts `a` along the first batches' gradients, which the network that reads it back need not know."""

    needs_data = True

    def attach_data(self, net, rng, losses):
        self.attach(net, rng)
        own = [m.b for m in wrapped(net)]
        for m, g in zip(
            wrapped(net), torch.autograd.grad(torch.stack([loss(net) for loss in losses]).sum(), own), strict=True
        ):
            with torch.no_grad():
                m.a += self.look(g)

    def look(self, g):
        return 0.1 * g.abs().mean() / (g.abs().mean() + 1e-6)


class IgnoresData(FromData):
    def attach_data(self, net, rng, losses):
        self.attach(net, rng)


class DataStartIsNotTheBase(FromData):
    def attach_data(self, net, rng, losses):
        super().attach_data(net, rng, losses)
        for m in wrapped(net):
            nn.init.constant_(m.b, 0.1)


class DataThatIsNotSaved(FromData):
    def attach_data(self, net, rng, losses):
        super().attach_data(net, rng, losses)
        for m in wrapped(net):
            m.b.data += 0.1
            m.base.weight.data -= m.b.data @ m.a.data  # PiSSA's way: the base is another one, and nobody wrote it down


class LeavesGradients(FromData):
    def attach_data(self, net, rng, losses):
        super().attach_data(net, rng, losses)
        losses[0](net).backward()


class AnotherShapeFromData(FromData):
    def attach_data(self, net, rng, losses):
        Scale.attach(Scale(rank=self.rank + 1), net, rng)


class DrawsFromTheGlobalStreamForData(FromData):
    def look(self, g):
        return torch.rand(())


class ForgetsToSayItNeedsData(FromData):
    needs_data = False


class ReadsItsOwnTensors(Scale):
    """Looks at a tensor's value while computing, which one program for two seeds cannot."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in net.modules():
            if isinstance(m, Wrapped):
                m.register_forward_hook(_reading)


def _reading(module, args, out):
    return out if module.b.sum().item() < 1e9 else 0 * out


class SaysItCannotPack(Scale):
    packable = False


class Climbs(Scale):
    def groups(self, net, lr):
        return [{"params": [p for p in net.parameters() if p.requires_grad], "lr": lr, "maximize": True}]


class MergeForgotten(Scale):
    def merge(self, net):
        pass


class MergeNeedsNoGrad(Scale):
    def merge(self, net):
        for m in wrapped(net):
            m.base.weight += m.b @ m.a


class MergeDropsIt(Scale):
    def merge(self, net):
        for path, module in list(net.named_modules()):
            if isinstance(module, Wrapped):
                parent, _, child = path.rpartition(".")
                setattr(net.get_submodule(parent), child, module.base)


class MergeBreaksTheOriginal(Scale):
    """A copy shares its layers' classes, and merging it takes away what the original's class computes."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.__class__ = type("Own", (Wrapped,), {"forward": Wrapped.forward})

    def merge(self, net):
        kinds = {type(m) for m in wrapped(net)}
        super().merge(net)
        for kind in kinds:
            kind.forward = _gone


def _gone(module, x):
    raise AttributeError("weight")


class SaysItCannotMerge(Method):
    name, paper, mergeable, lr = "x", "none", False, 1e-3

    def attach(self, net: Any, rng):
        net.denoiser.conv_out.bias.requires_grad_(True)

    def count(self, net: Any):
        return net.denoiser.conv_out.bias.numel()


class GlobalStream(Scale):
    def start(self, shape, rng):
        return torch.randn(shape)


class HiddenGlobalDraw(Scale):
    def start(self, shape, rng):
        nn.Linear(2, 2)  # draws its start, which is then thrown away
        return super().start(shape, rng)


class NumpyDraw(Scale):
    def start(self, shape, rng):
        np.random.rand()
        return super().start(shape, rng)


class PythonDraw(Scale):
    def start(self, shape, rng):
        random.random()
        return super().start(shape, rng)


class ClosureHook(Scale):
    """A closure over the original's tensor: the deep copy goes on using it."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            b = m.b
            m.forward = lambda x, m=m, b=b: m.base(x) + (x @ m.a.T.to(x.dtype)) @ b.T.to(x.dtype)


class CountsItsCalls(Scale):
    """What the block computes hangs on how often it ran, so recomputing it gives other gradients."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in net.modules():
            if type(m).__name__ == "ResnetBlock2D":
                m.register_forward_hook(_fading)


def _fading(module, args, out):
    module.calls = getattr(module, "calls", 0) + 1
    return out * (1 + 0.1 * (module.calls % 2))


class NeedsFloat32(Scale):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.register_forward_hook(_float)


def _float(module, args, out):
    assert out.dtype == torch.float32
    return out


class BadSpace(Scale):
    space = {"rnak": (1, 2, "log")}


class BadRange(Scale):
    space = {"lr": (1, 1e-3, "log")}


class NoRate(Scale):
    lr = 0.0


class CountsOnlyOnTheCPU(Scale):
    def count(self, net):
        return super().count(net) - int(next(net.parameters()).is_meta)


FAULTS = [
    (NotTheBase, "starts_at_base", "the start is not the base"),
    (SaysItMoves, "starts_at_base", "leave the declaration out"),
    (ForgetsOut, "counts_by_formula", "count says"),
    (IgnoresItsSize, "counts_by_formula", "count does not change with rank"),
    (TrainsNothing, "counts_by_formula", "trains = True"),
    (CountsOnlyOnTheCPU, "counts_by_formula", "count says"),
    (TrainsNorms, "counts_by_formula", "count says"),
    (MovesWhatIsFrozen, "trains_only_its_own", "denoiser.conv_out.bias"),
    (NeverTrainsA, "trains_only_its_own", "never moved it"),
    (ForgetsAGroup, "trains_only_its_own", "never moved it"),
    (Explodes, "learns", "the loss is nan after"),
    (Climbs, "learns", "steps at lr 0.01 take the loss from"),
    (FrozenA, "survives_disk", "something random is frozen"),
    (MergeForgotten, "merges_into_base", "names or shapes are not the base's"),
    (MergeDropsIt, "merges_into_base", "merged, the outputs differ"),
    (MergeNeedsNoGrad, "merges_into_base", "assign"),
    (MergeBreaksTheOriginal, "merges_into_base", "breaks the network that it was copied from"),
    (SaysItCannotMerge, "merges_into_base", "leave the declaration out"),
    (GlobalStream, "repeats", "drawn from a global stream"),
    (GlobalStream, "leaves_global_streams_alone", "of torch"),
    (HiddenGlobalDraw, "leaves_global_streams_alone", "of torch"),
    (NumpyDraw, "leaves_global_streams_alone", "of numpy"),
    (PythonDraw, "leaves_global_streams_alone", "of random"),
    (ClosureHook, "copies", "reaches the original"),
    (CountsItsCalls, "works_checkpointed", "the gradient differs"),
    (NeedsFloat32, "works_in_bf16", ""),
    (WrongSide, "trains_only_its_own", "side = 'both', yet what is trainable lies in denoiser"),
    (IgnoresData, "starts_from_data", "no use of it"),
    (DataStartIsNotTheBase, "starts_from_data", "the start is not the base"),
    (DataThatIsNotSaved, "starts_from_data", "not saved"),
    (LeavesGradients, "starts_from_data", "leaves gradients behind"),
    (AnotherShapeFromData, "starts_from_data", "other tensors than attach"),
    (DrawsFromTheGlobalStreamForData, "starts_from_data", "two starts"),
    (ForgetsToSayItNeedsData, "starts_from_data", "needs_data = False"),
    (ReadsItsOwnTensors, "packs", "two seeds do not pack: RuntimeError"),
    (SaysItCannotPack, "packs", "leave the declaration out"),
    (BadSpace, "declares_itself", "'rnak'"),
    (NoSuchSide, "declares_itself", "side is one of denoiser, text, both"),
    (BadRange, "declares_itself", "must be"),
    (NoRate, "declares_itself", "lr must be above 0"),
    (ForgetsOut, "figures_agree", "against count"),
    (SaysItCannotMerge, "figures_agree", "drop mergeable = False"),
]


@pytest.fixture(scope="module")
def place():
    return checks.arena()


def test_a_start_from_data_passes():
    assert [(r.name, r.message) for r in checks.examine(FromData()) if not r.ok] == []


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


def test_a_refusal_is_said_by_count_and_attach_alike():
    class Conv(Scale):
        def count(self, net):
            return sum(m.weight.numel() for m in sites(net, "conv").values())

    def flux():
        return toy_transformer("flux")

    assert "no place for the role 'bias'" in (checks.refusal(make("bias"), lambda: toy_transformer("flux2")) or "")
    assert checks.refusal(make("bias"), flux) is None
    with pytest.raises(AssertionError, match="count says .*'conv'.*, attach says yes"):
        checks.refusal(Conv(), flux)


def test_a_size_that_cannot_be_doubled_is_halved(place):
    @dataclass(frozen=True)
    class AtMostTwo(Scale):
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


@pytest.fixture(scope="module")
def sound(place):
    return checks.examine(Scale())


def test_a_sound_method_passes_everything(sound):
    assert [(r.name, r.message) for r in sound if not r.ok] == []
    assert [r.name for r in sound] == [check.__name__ for check in checks.ALL]


@pytest.mark.parametrize(("fault", "check", "words"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_a_planted_fault_is_caught(fault, check, words, place):
    result = checks.attempt(getattr(checks, check), fault(), place)
    assert not result.ok
    assert words in result.message


def test_every_check_has_a_planted_fault():
    assert {check.__name__ for check in checks.ALL} == {check for _, check, _ in FAULTS}


def test_a_frozen_base_must_train_nothing(place):
    class Base(Scale):
        trains = False
        lr = 0.0
        size_field = None

    for check, words in (("learns", "something requires grad"), ("counts_by_formula", "trains = False")):
        with pytest.raises(AssertionError, match=words):
            getattr(checks, check)(Base(), place)


def test_a_hyperparameter_that_no_protocol_can_write(place):
    @dataclass(frozen=True)
    class Listed(Scale):
        places: tuple = field(default=("attn1", "attn2"))

    with pytest.raises(AssertionError, match="cannot be written"):
        checks.declares_itself(Listed(), place)


def test_check_method_names_all_that_fail(monkeypatch):
    monkeypatch.setattr(checks, "ALL", (checks.declares_itself, checks.starts_at_base, checks.repeats))

    class Two(NotTheBase):
        lr = 0.0

    with pytest.raises(AssertionError, match=r"scale breaks the contract\ndeclares_itself: .*\nstarts_at_base: .*"):
        checks.check_method(Two())
    checks.check_method(Scale())


def test_a_method_that_raises_is_a_failed_result(monkeypatch):
    class Raises(Scale):
        def attach(self, net, rng):
            raise KeyError("to_q")

    monkeypatch.setattr(checks, "ALL", (checks.starts_at_base,))
    assert checks.examine(Raises()) == [checks.Result("starts_at_base", False, "KeyError: 'to_q'", "scale")]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that writes a method file; what it registers is forgotten after the test."""
    monkeypatch.setattr("bench.method.METHODS", METHODS | {})

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
