"""Modules beside layers, as an author outside inserts them: y = f(x) + g(x), copies, packing, and taking them away."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.checks import contract as checks
from bench.core.rng import rng
from bench.method import LitmusError, Method, Network, attached, floating, state
from bench.method.bypass import (
    Bottleneck,
    Branch,
    Parallel,
    Series,
    bottleneck_size,
    draw_down,
    insert,
    linear,
    remove,
    sublayers,
    zero,
)
from bench.network.sites import sites


@dataclass(frozen=True)
class Beside(Method):
    """A bottleneck beside each layer at `targets`; reads the layer's input, or with `after` its output."""

    name = "beside"
    paper = "none: a test"
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 64, "log")}
    size_field = "width"
    mergeable = False

    width: int = 3
    targets: str = "attn"
    after: bool = False

    def attach(self, net, rng):
        for layer in sites(net, self.targets).values():
            in_, out = self._ends(layer)
            g = Bottleneck(in_, out, self.width, 1.0, layer.weight).draw(rng)
            insert(layer, "beside", Series(g) if self.after else Parallel(g))

    def count(self, net):
        return sum(bottleneck_size(*self._ends(layer), self.width) for layer in sites(net, self.targets).values())

    def _ends(self, layer):
        return (layer.out_features if self.after else layer.in_features), layer.out_features


@dataclass(frozen=True)
class Folded(Method):
    """A linear bypass g(x) = B A x, which can be merged."""

    name = "folded"
    paper = "none: a test"
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    rank: int = 2

    def attach(self, net, rng):
        for layer in sites(net, "attn").values():
            a: Any = linear(layer.in_features, self.rank, layer.weight)
            b: Any = linear(self.rank, layer.out_features, layer.weight)
            draw_down(a, rng)
            zero(b)
            a.bias = b.bias = None
            insert(layer, "folded", Parallel(nn.Sequential(a, b)))

    def count(self, net):
        return sum(self.rank * sum(layer.weight.shape) for layer in sites(net, "attn").values())

    @torch.no_grad()
    def merge(self, net):
        for layer in sites(net, "attn").values():
            a, b = layer.folded.adapter
            layer.weight += b.weight @ a.weight
        remove(net, "folded")


@pytest.mark.parametrize("method", [Beside(), Beside(after=True), Beside(targets="attn2.to_v+ff"), Folded()])
def test_a_method_of_a_few_lines_passes_every_check(method):
    place = checks.make_arena()
    results = [checks.attempt(check, method, place) for check in checks.ALL]
    assert [(r.name, r.message) for r in results if not r.ok] == []


def layer_and_plain(conv: bool = False) -> tuple[Any, Any]:
    layer = nn.Conv2d(6, 5, 3, padding=1) if conv else nn.Linear(6, 5)
    return layer, copy.deepcopy(layer)


X = torch.randn(2, 3, 6, generator=rng("x"))


class Gain(Branch):
    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(gain)

    def forward(self, y):
        return y * self.gain


def test_parallel_is_f_plus_g_of_the_input_and_series_of_the_output():
    g, h = nn.Linear(6, 5), nn.Linear(5, 5)
    layer, plain = layer_and_plain()
    insert(layer, "g", Parallel(g))
    torch.testing.assert_close(layer(X), plain(X) + g(X))
    insert(layer, "h", Series(h))
    y = plain(X) + g(X)
    torch.testing.assert_close(layer(X), y + h(y))
    assert type(layer) is nn.Linear
    assert {"weight", "bias", "g.adapter.weight", "h.adapter.bias"} < set(layer.state_dict())


def test_beside_a_convolution():
    g = nn.Conv2d(6, 5, 1)
    layer, plain = layer_and_plain(conv=True)
    insert(layer, "g", Parallel(g))
    x = torch.randn(2, 6, 4, 4, generator=rng("x"))
    torch.testing.assert_close(layer(x), plain(x) + g(x))


def test_beside_weights_in_8_bits():
    class Packed(nn.Linear):
        """A Linear whose weight is bytes, as bitsandbytes holds one."""

        def forward(self, input):
            return input @ (self.weight.to(input.dtype) / 255).mT

    layer: Any = Packed(6, 5, bias=False)
    layer.weight = nn.Parameter(torch.full((5, 6), 255, dtype=torch.uint8), requires_grad=False)
    net = Network(nn.Sequential(layer, nn.LayerNorm(5)))
    g = Bottleneck(6, 5, 2, 1.0, like=floating(net.denoiser)).draw(rng("init"))
    insert(layer, "g", Parallel(g))
    torch.testing.assert_close(layer(X), X.sum(-1, keepdim=True).expand(2, 3, 5))
    layer(X).sum().backward()
    assert g.up.weight.grad is not None
    assert g.up.weight.dtype == torch.float32


def test_a_branch_listens_to_another_layer_and_has_one_name():
    first, last = nn.Linear(6, 6), nn.Linear(6, 5)
    net, plain = nn.Sequential(first, nn.ReLU(), last), copy.deepcopy(nn.Sequential(first, nn.ReLU(), last))
    g = nn.Linear(6, 5)
    insert(last, "g", Parallel(g), source=first)
    torch.testing.assert_close(net(X), plain(X) + g(X))
    assert {k for k in net.state_dict() if ".g." in k} == {"2.g.adapter.weight", "2.g.adapter.bias"}
    with pytest.raises(LitmusError, match="Parallel has heard no input: the layer that it listens to runs before it"):
        last(X)


def test_a_branch_of_one_s_own_returns_what_is_handed_on():
    layer, plain = layer_and_plain()
    insert(layer, "gain", Gain(torch.arange(5.0)))
    torch.testing.assert_close(layer(X), plain(X) * torch.arange(5.0))


def test_a_copy_works_by_itself():
    layer, _ = layer_and_plain()
    insert(layer, "g", Parallel(nn.Linear(6, 5)))
    twin = copy.deepcopy(layer)
    before = layer(X)
    with torch.no_grad():
        twin.g.adapter.weight.zero_()
    assert layer(X).equal(before)
    assert not twin(X).allclose(before)
    remove(twin, "g")
    assert layer(X).equal(before), "taking a branch out of a copy leaves the original"


def test_remove_takes_one_name_away_and_leaves_the_others():
    first, last = nn.Linear(6, 6), nn.Linear(6, 5)
    net, plain = nn.Sequential(first, last), copy.deepcopy(nn.Sequential(first, last))
    before = [set(vars(m)) for m in (first, last)]
    insert(last, "gain", Gain(torch.full((5,), 2.0)))
    insert(last, "g", Parallel(nn.Linear(6, 5)), source=first)
    insert(first, "h", Parallel(nn.Linear(6, 6)))
    remove(net, "g")
    remove(net, "h")
    torch.testing.assert_close(net(X), 2 * plain(X))
    assert "forward" not in vars(first)
    remove(net, "gain")
    assert net(X).equal(plain(X))
    assert [set(vars(m)) for m in (first, last)] == before
    assert net.state_dict().keys() == plain.state_dict().keys()
    remove(net, "nothing of that name")


def test_a_name_that_is_taken_is_refused():
    layer, _ = layer_and_plain()
    with pytest.raises(LitmusError, match="a layer has a weight already: attach a method to a network of its own"):
        insert(layer, "weight", Gain(torch.ones(5)))


def test_building_blocks_draw_from_the_given_stream_alone():
    before = torch.get_rng_state()
    like = torch.empty(1, dtype=torch.bfloat16)
    a, b = (Bottleneck(6, 5, 2, 1.0, like).draw(rng("init")) for _ in range(2))
    assert torch.get_rng_state().equal(before)
    assert a.down.weight.equal(b.down.weight)
    assert a.down.weight.dtype == torch.bfloat16
    assert sum(p.numel() for p in a.parameters()) == bottleneck_size(6, 5, 2)
    assert not a(X.bfloat16()).any()


def test_sub_layers_are_named_from_the_network():
    net = toy_network()
    for path, first, last in sublayers(net, "both"):
        assert net.get_submodule(path) is last
        assert path.startswith("denoiser.")
        assert first is not last
    empty = Network(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(LitmusError):
        list(sublayers(empty, "ffn"))


def test_what_is_inserted_is_what_is_saved():
    net = attached(Beside(), toy_network(), rng("init"))
    assert state(net).keys() == net.state_dict().keys() - toy_network().state_dict().keys()
    assert all(".beside.adapter." in key for key in state(net))
