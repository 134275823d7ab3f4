"""Bypasses inside transformers of the true classes: what is read, what is written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy_transformers import TRANSFORMERS, toy_transformer
from bench.checks.arena import make_arena
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.method import attached, make
from bench.network.sites import POSITIONS, bridge, features, sites, ways

JOINT = {"attn1i", "attn1o", "attn2o", "attn2c", "ffni", "ffno", "transo"}
HAVE = {"sd3": JOINT, "flux": JOINT, "flux2": JOINT, "pixart": {*JOINT, "attn2i"}}


@pytest.fixture(scope="module", params=TRANSFORMERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def place(kind):
    return make_arena(lambda: toy_transformer(kind))


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        self.read = x.detach().clone()
        return self.value


def block_of(net, position):
    """A block that has `position`: of two streams where there is one."""
    return next(iter(sites(net, position).values()))


# Where a tensor can be met from outside: the module, and whether it goes in, in by name, or out (of several: which).
MET = {
    "attn1i": ("", "hidden_states"),
    "attn1o": ("attn", 0),
    "attn2o": ("attn", 0),
    "attn2c": ("norm1_context", "in"),
    "ffni": ("norm2", "in"),
    "ffno": ("ff", 0),
    "transo": ("", -1),
}
MET_PIXART = {
    **MET, "attn1i": ("", "in"), "attn1o": ("attn1", 0), "attn2i": ("attn2", "in"), "attn2o": ("attn2", 0),
    "attn2c": ("attn2", "encoder_hidden_states"),
}  # fmt: skip


def meet(block, where, change):
    """Let `change(tensor)` see and replace the tensor at `where`."""
    path, how = where
    module = block.get_submodule(path)

    def before(module, args, kwargs):
        if how == "in" and args:
            return (change(args[0]), *args[1:]), kwargs
        key = "hidden_states" if how == "in" else how
        return args, {**kwargs, key: change(kwargs[key])}

    def after(module, args, kwargs, out):
        if isinstance(out, torch.Tensor):
            return change(out)
        out = list(out)
        out[how] = change(out[how])
        return tuple(out)

    if isinstance(how, int):
        module.register_forward_hook(after, with_kwargs=True)
    else:
        module.register_forward_pre_hook(before, with_kwargs=True)


def test_which_positions_there_are(kind):
    net = toy_transformer(kind)
    assert {p for p in POSITIONS if sites(net, p, optional=True)} == HAVE[kind]


@pytest.mark.parametrize("position", sorted({*JOINT, "attn2i"}))
def test_a_bridge_reads_what_stands_there(kind, place, position):
    if position not in HAVE[kind]:
        with pytest.raises(LitmusError, match=f"no module with role '{position}'"):
            sites(place.make(), position)
        return
    net, other, seen = place.make(), place.make(), []
    block = block_of(net, position)
    target = "attn2c" if position == "attn2c" else "transo"
    probe = Constant(torch.zeros(()))
    bridge(block, position, target, probe, "probe")
    met = MET_PIXART if kind == "pixart" else MET
    meet(block_of(other, position), met[position], lambda x: seen.append(x.clone()) or x)
    with torch.no_grad():
        assert place.run(net).equal(place.run(other)), "with nothing added, the block computes what it did"
    assert probe.read.equal(seen[0])
    assert features(block, position) == probe.read.shape[-1]


@pytest.mark.parametrize("position", ["attn1i", "attn2c", "ffni", "transo"])
def test_a_bridge_writes_there(kind, place, position):
    net, other = place.make(), place.make()
    block, twin = block_of(net, position), block_of(other, position)
    c = torch.randn(features(block, position), generator=rng("c"))
    bridge(block, position, position, Constant(c), "probe")
    met = MET_PIXART if kind == "pixart" else MET
    meet(twin, met[position], lambda x: x + c)
    if position == "ffni":  # the residual stream goes round the feed-forward too
        meet(twin, met["transo"], lambda x: x + c)
    with torch.no_grad():
        plain, mine, expected = (place.run(one) for one in (place.make(), net, other))
    torch.testing.assert_close(mine, expected)
    assert not mine.allclose(plain, atol=1e-4)


@pytest.mark.parametrize("name", ["FluxSingleTransformerBlock", "Flux2SingleTransformerBlock"])
def test_a_single_block_has_its_two_ends(name):
    place = make_arena(lambda: toy_transformer("flux2" if "2" in name else "flux"))
    nets = [place.make() for _ in range(3)]
    blocks: list[Any] = [next(m for m in net.modules() if type(m).__name__ == name) for net in nets]
    c = torch.randn(features(blocks[0], "transo"), generator=rng("c"))
    bridge(blocks[0], "attn1i", "attn1i", Constant(c), "probe")
    bridge(blocks[1], "attn1i", "transo", Constant(c), "probe")
    with torch.no_grad():
        plain, first, last = (place.run(net) for net in (place.make(), *nets[:2]))
    assert not first.allclose(plain, atol=1e-5)
    assert not last.allclose(plain, atol=1e-5)
    assert not first.allclose(last, atol=1e-5)
    words = place.context.shape[1]
    assert blocks[1].probe.read.shape[1] == words + 16, "text and picture are one sequence there"
    with pytest.raises(LitmusError, match=rf"a {name} has no ffni: it has attn1i, transo"):
        bridge(blocks[2], "attn1i", "ffni", Constant(c), "probe")


def test_blocks_that_lack_the_target_are_passed_over():
    net = toy_transformer("flux")
    assert len(sites(net, "attn1i")) == 3
    assert {type(block).__name__ for block in ways(net, "attn1i", "ffni").values()} == {"FluxTransformerBlock"}
    with pytest.raises(LitmusError, match="no way from attn1o to attn2i: a FluxTransformerBlock has no attn2i"):
        ways(net, "attn1o", "attn2i")


def test_one_method_file_serves_all(kind):
    with torch.device("meta"):
        net = toy_transformer(kind)
        method = make("adapter")
        count = method.count(net)
        attached(method, net, rng("x"))
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count > 0


def test_a_block_with_a_norm_of_another_kind_is_refused():
    from diffusers.models.attention import BasicTransformerBlock

    block = BasicTransformerBlock(8, 1, 8, norm_type="ada_norm", num_embeds_ada_norm=4)
    with pytest.raises(LitmusError, match="the inside of a BasicTransformerBlock of this network is not known"):
        features(block, "attn1i")
