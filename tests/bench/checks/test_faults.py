"""Each check is seen to bite: one planted fault per check, and the check that must name it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.checks import contract as checks
from bench.method import Method
from bench.network.sites import sites


def wrapped(net) -> list[Any]:
    """The wrappers that the sound method puts around Linear layers (conftest.py)."""
    return [m for m in net.modules() if hasattr(m, "a")]


class Fault(Method):
    """What goes wrong; the sound method, which lies behind it, does the rest (`planted`)."""

    rank: int
    if TYPE_CHECKING:

        def start(self, shape: Any, rng: Any) -> Any: ...


class NotTheBase(Fault):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            nn.init.constant_(m.b, 0.1)


class SaysItMoves(Fault):
    exact_start = False


class ForgetsOut(Fault):
    def count(self, net):
        return sum(self.rank * m.in_features for m in sites(net, "attn2").values())


class IgnoresItsSize(Fault):
    def attach(self, net, rng):
        super(IgnoresItsSize, replace(self, rank=2)).attach(net, rng)

    def count(self, net):
        return super(IgnoresItsSize, replace(self, rank=2)).count(net)


class TrainsNothing(Fault):
    def attach(self, net, rng):
        super().attach(net, rng)
        net.requires_grad_(False)

    def count(self, net):
        return 0


class TrainsNorms(Fault):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in sites(net, "norm").values():
            m.weight.requires_grad_(True)


class MovesWhatIsFrozen(Fault):
    def step(self, net: Any, i, n):
        with torch.no_grad():
            net.denoiser.conv_out.bias += 1.0


class NeverTrainsA(Fault):
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


class ForgetsAGroup(Fault):
    def groups(self, net, lr):
        return [{"params": [m.b for m in wrapped(net)], "lr": lr}]


class FrozenA(Fault):
    """VeRA's mistake: a frozen random tensor from rng, which another seed does not bring back."""

    size_field = None

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.a.requires_grad_(False)

    def count(self, net):
        return sum(self.rank * m.out_features for m in sites(net, "attn2").values())


class Explodes(Fault):
    lr = 1e4


class WrongSide(Fault):
    side = "both"


class NoSuchSide(Fault):
    side = "picture"


class FromData(Fault):
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
        replace(self, rank=self.rank + 1).attach(net, rng)


class DrawsFromTheGlobalStreamForData(FromData):
    def look(self, g):
        return torch.rand(())


class ForgetsToSayItNeedsData(FromData):
    needs_data = False


class ReadsItsOwnTensors(Fault):
    """Looks at a tensor's value while computing, which one program for two seeds cannot."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.register_forward_hook(_reading)


def _reading(module, args, out):
    return out if module.b.sum().item() < 1e9 else 0 * out


class SaysItCannotPack(Fault):
    packable = False


class OnlyByChance(Fault):
    """Six steps that throw the network about; its norms saturate, and the loss ends lower at some rates."""

    lr = 1e3


class PenaltyOnTheWayBack(Fault):
    """Adds to the gradient where it passes, as often as it passes."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.register_forward_pre_hook(_pulled)


def _pulled(module, args):
    if args[0].requires_grad:
        args[0].register_hook(lambda grad: grad + 1e-3)


class PenaltyIsNoScalar(Fault):
    def penalty(self, net):
        return torch.stack([m.b.norm() for m in wrapped(net)])


class PenaltyIsNotFinite(Fault):
    def penalty(self, net):
        return wrapped(net)[0].a.sum() / 0.0


class PenaltyWithoutAGraph(Fault):
    def penalty(self, net):
        return wrapped(net)[0].a.detach().norm()


class PenaltyOfNothing(Fault):
    def penalty(self, net):
        return 0.0 * wrapped(net)[0].a.sum()


class PenaltyOfTheBase(Fault):
    def penalty(self, net):
        return wrapped(net)[0].base.weight.requires_grad_(True).square().sum()


class PrunedRanksComeBack(Fault):
    """Holds the last rank at 0 from the middle of the training, and says nothing to EMA."""

    def step(self, net, i, n):
        if 2 * i >= n:
            with torch.no_grad():
                for m in wrapped(net):
                    m.b[:, -1] = 0.0


class ProjectsWhatIsInOrder(Fault):
    def step(self, net, i, n):
        pass

    def project(self, net):
        with torch.no_grad():
            for m in wrapped(net):
                m.b[:, -1] = 0.0


class SaysItCannotMergeThoughItDoes(Fault):
    mergeable = False


class ReservesMoreThanItHas(Fault):
    def reserved(self, net):
        return self.count(net) + 1


class Climbs(Fault):
    def groups(self, net, lr):
        return [{"params": [p for p in net.parameters() if p.requires_grad], "lr": lr, "maximize": True}]


class MergeForgotten(Fault):
    def merge(self, net):
        pass


class MergeNeedsNoGrad(Fault):
    def merge(self, net):
        for m in wrapped(net):
            m.base.weight += m.b @ m.a


class MergeDropsIt(Fault):
    def merge(self, net):
        for path, module in list(net.named_modules()):
            if hasattr(module, "a"):
                parent, _, child = path.rpartition(".")
                setattr(net.get_submodule(parent), child, module.base)


class MergeBreaksTheOriginal(Fault):
    """A copy shares its layers' classes, and merging it takes away what the original's class computes."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.__class__ = type("Own", (type(m),), {"forward": type(m).forward})

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


class GlobalStream(Fault):
    def start(self, shape, rng):
        return torch.randn(shape)


class HiddenGlobalDraw(Fault):
    def start(self, shape, rng):
        nn.Linear(2, 2)  # draws its start, which is then thrown away
        return super().start(shape, rng)


class NumpyDraw(Fault):
    def start(self, shape, rng):
        np.random.rand()
        return super().start(shape, rng)


class PythonDraw(Fault):
    def start(self, shape, rng):
        random.random()
        return super().start(shape, rng)


class ClosureHook(Fault):
    """A closure over the original's tensor: the deep copy goes on using it."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            b = m.b
            m.forward = lambda x, m=m, b=b: m.base(x) + (x @ m.a.T.to(x.dtype)) @ b.T.to(x.dtype)


class CountsItsCalls(Fault):
    """What the block computes hangs on how often it ran, so recomputing it gives other gradients."""

    def attach(self, net, rng):
        super().attach(net, rng)
        for m in net.modules():
            if type(m).__name__ == "ResnetBlock2D":
                m.register_forward_hook(_fading)


def _fading(module, args, out):
    module.calls = getattr(module, "calls", 0) + 1
    return out * (1 + 0.1 * (module.calls % 2))


class NeedsFloat32(Fault):
    def attach(self, net, rng):
        super().attach(net, rng)
        for m in wrapped(net):
            m.register_forward_hook(_float)


def _float(module, args, out):
    assert out.dtype == torch.float32
    return out


class BadSpace(Fault):
    space = {"rnak": (1, 2, "log")}


class BadRange(Fault):
    space = {"lr": (1, 1e-3, "log")}


class NoRate(Fault):
    lr = 0.0


class CountsOnlyOnTheCPU(Fault):
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
    (OnlyByChance, "learns", "land by chance, lower lr"),
    (PenaltyOnTheWayBack, "penalises_in_the_open", "belongs into penalty(net)"),
    (PenaltyIsNoScalar, "penalises_in_the_open", "a scalar tensor, or None"),
    (PenaltyIsNotFinite, "penalises_in_the_open", "the penalty is"),
    (PenaltyWithoutAGraph, "penalises_in_the_open", "no gradient passes through the penalty"),
    (PenaltyOfNothing, "penalises_in_the_open", "pulls at nothing"),
    (PenaltyOfTheBase, "penalises_in_the_open", "pulls at what is frozen"),
    (PrunedRanksComeBack, "survives_averaging", "write project(net)"),
    (ProjectsWhatIsInOrder, "survives_averaging", "moves what the last step left in order"),
    (SaysItCannotMergeThoughItDoes, "needs_its_declaration", "yet merge works: leave the declaration out"),
    (ReservesMoreThanItHas, "figures_agree", "part of what is trainable"),
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


@pytest.fixture
def planted(scale):
    """A function: planted(fault) -> the sound method with that fault, at its defaults."""
    return lambda fault: (type(fault.__name__, (fault, scale), {}) if issubclass(fault, Fault) else fault)()


def test_a_start_from_data_passes(planted):
    assert [(r.name, r.message) for r in checks.examine(planted(FromData)) if not r.ok] == []


@pytest.mark.parametrize(("fault", "check", "words"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_a_planted_fault_is_caught(fault, check, words, planted, place):
    result = checks.attempt(getattr(checks, check), planted(fault), place)
    assert not result.ok
    assert words in result.message


def test_a_wild_learning_rate_is_caught_wherever_the_loss_ends(planted, place):
    """Whether the loss ends lower after six such steps is chance; the check must not hang on it."""
    for lr in (10.0, 1e2, 1e3, 1e5):
        wild = planted(type("Wild", (Fault,), {"lr": lr}))
        assert not checks.attempt(checks.learns, wild, place).ok


def test_every_check_has_a_planted_fault():
    assert {check.__name__ for check in checks.ALL} == {check for _, check, _ in FAULTS}
