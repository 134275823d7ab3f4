"""Adapters beside single layers on the toy U-Net: that they compute what their papers write."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.bases.toy import toy_network
from bench.core.rng import rng
from bench.method import LitmusError, attached, make, parse_spec, state

X = torch.randn(2, 16, 32, generator=rng("x"))  # into a block: (B, L, C)
C = torch.randn(2, 4, 16, generator=rng("c"))  # text states
INPUT = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.tensor([3, 700]), C


def moved(spec: str, by: float = 0.3) -> tuple[Any, Any]:
    """(a block of a network with `spec` attached and every trained tensor off its start, the same block of the base)"""
    name, hyper = parse_spec(spec)
    net, base = attached(make(name, **hyper), toy_network(), rng("init")), toy_network()
    stream = rng("move")
    with torch.no_grad():
        for p in state(net).values():
            p.add_(by * torch.randn(p.shape, generator=stream))
    blocks: list[Any] = [
        next(m for m in n.modules() if type(m).__name__ == "BasicTransformerBlock") for n in (net, base)
    ]
    return blocks[0], blocks[1]


def bottleneck(a: Any, x: Tensor, scale: float = 1.0) -> Tensor:
    return scale * (a.up(a.down(x).relu()))


def through(block: Any, sublayer: Any) -> Tensor:
    """The block's output with sublayer(name, plain sub-layer, its input) in place of each sub-layer's output."""
    h = X
    h = h + sublayer("attn1", lambda x: block.attn1(x), block.norm1(h))
    h = h + sublayer("attn2", lambda x: block.attn2(x, encoder_hidden_states=C), block.norm2(h))
    return h + sublayer("ff", lambda x: block.ff(x), block.norm3(h))


LAST = {"attn1": lambda b: b.attn1.to_out[0], "attn2": lambda b: b.attn2.to_out[0], "ff": lambda b: b.ff.net[2]}


@torch.no_grad()
def check(block: Any, base: Any, delta: Any) -> None:
    """`block` is `base` with y -> delta(name, last layer of the block, x, y) at each sub-layer's output."""
    expected = through(base, lambda name, plain, x: delta(name, LAST[name](block), x, plain(x)))
    got = block(X, encoder_hidden_states=C)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(got, base(X, encoder_hidden_states=C), atol=1e-2)


def test_series_houlsby():
    block, base = moved("series_adapter[scale=0.5]")
    check(block, base, lambda name, last, x, y: y + bottleneck(last.series_adapter.adapter, y, 0.5))


def test_series_pfeiffer():
    block, base = moved("series_adapter[placement=pfeiffer]")
    assert not hasattr(LAST["attn1"](block), "series_adapter")
    check(block, base, lambda name, last, x, y: y + bottleneck(last.series_adapter.adapter, y) if name == "ff" else y)


def test_series_paper_start_is_a_cut_off_normal():
    net = attached(make("series_adapter", init="paper"), toy_network(), rng("init"))
    weights = torch.cat([p.flatten() for k, p in state(net).items() if k.endswith("weight")])
    assert weights.abs().max() <= 0.02
    assert weights.std() == pytest.approx(0.0088, rel=0.05)  # a normal cut at two deviations has 0.88 of its deviation
    assert not any(p.any() for k, p in state(net).items() if k.endswith("bias"))


@pytest.mark.parametrize("place", ["ffn", "attn", "both"])
def test_parallel(place):
    block, base = moved(f"parallel_adapter[place={place},scale=1.5]")
    here = {"ffn": ("ff",), "attn": ("attn1", "attn2"), "both": ("attn1", "attn2", "ff")}[place]
    check(
        block, base,
        lambda name, last, x, y: y + bottleneck(last.parallel_adapter.adapter, x, 1.5) if name in here else y,
    )  # fmt: skip


def test_scaled_parallel_is_parallel_times_four():
    block, base = moved("scaled_parallel_adapter")
    check(
        block, base,
        lambda name, last, x, y: y + bottleneck(last.parallel_adapter.adapter, x, 4.0) if name == "ff" else y,
    )  # fmt: skip


def test_mam_s_prefix_is_attended_to_by_every_query():
    """Softmax over the prefix's keys and the base's own, with the prefix's values in front of the base's."""
    block, base = moved("mam[length=3]")
    for name, context in (("attn1", None), ("attn2", C)):
        attention, plain = getattr(block, name), getattr(base, name)
        q, source = plain.to_q(X), X if context is None else context
        k = torch.cat([attention.to_k.mam_prefix.rows.expand(2, -1, -1), plain.to_k(source)], 1)
        v = torch.cat([attention.to_v.mam_prefix.rows.expand(2, -1, -1), plain.to_v(source)], 1)
        q, k, v = (t.unflatten(-1, (plain.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = plain.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        torch.testing.assert_close(attention(X, encoder_hidden_states=context), y, rtol=1e-4, atol=1e-4)
    ff = block.ff.net[2].mam_ffn.adapter
    torch.testing.assert_close(block.ff(X), base.ff(X) + bottleneck(ff, X, 2.0), rtol=1e-4, atol=1e-4)


def test_mam_s_prefix_stands_outside_a_mask():
    """With every text state masked away, cross-attention still sees the prefix."""
    block, _ = moved("mam[length=3]")
    mask = torch.full((2, 1, 4), -10_000.0)
    got = block.attn2(X, encoder_hidden_states=C, attention_mask=mask)
    other = block.attn2(X, encoder_hidden_states=torch.zeros_like(C), attention_mask=mask)
    torch.testing.assert_close(got, other)
    assert not got.allclose(block.attn2(X, encoder_hidden_states=C), atol=1e-2)


@pytest.mark.parametrize("cross", ["false", "true"])
def test_uniadapter_shares_its_down_projection(cross):
    block, base = moved(f"uniadapter[scale=0.5,cross={cross}]")

    def delta(name: str, last: Any, x: Tensor, y: Tensor) -> Tensor:
        z = block.uniadapter_down(y).relu()
        up = last.uniadapter.up(z)
        if cross == "true" and name == "attn2":
            up = up + LAST["attn1"](block).uniadapter.up(z)
        return y + 0.5 * up

    check(block, base, delta)


GATES = {
    "large": lambda g, x, y: 2 * torch.sigmoid(g.gate(F.gelu(g.gate_down(x), approximate="tanh"))),
    "middlex": lambda g, x, y: 2 * torch.sigmoid(g.gate(x + y)),
    "middley": lambda g, x, y: 1 + g.scale,
    "small": lambda g, x, y: 2 * torch.sigmoid(g.gate(torch.cat([x, y], -1))).mean(1, keepdim=True),
}


@pytest.mark.parametrize("gate", GATES)
def test_vlpet_gate(gate):
    block, base = moved(f"vlpet[gate={gate}]")

    def delta(name: str, last: Any, x: Tensor, y: Tensor) -> Tensor:
        y = y + last.vlpet.up(F.gelu(last.vlpet.down(y), approximate="tanh"))
        return GATES[gate](last.vlpet, x, y) * y

    check(block, base, delta)


def test_scale_bias_is_the_paper_s_equation():
    block, base = moved("scale_bias[targets=attn2.to_out+ff.up,norms=false]")
    x = torch.randn(1, 5, 32, generator=rng("x"))
    for tuned, plain in ((block.attn2.to_out[0], base.attn2.to_out[0]), (block.ff.net[0].proj, base.ff.net[0].proj)):
        torch.testing.assert_close(tuned(x), tuned.tuned_scale * (plain(x) + tuned.tuned_bias))


@pytest.mark.parametrize("spec", ["series_adapter", "parallel_adapter[place=both]", "mam", "uniadapter", "vlpet"])
def test_what_is_added_has_one_name_and_the_base_keeps_its_own(spec):
    name, hyper = parse_spec(spec)
    net = attached(make(name, **hyper), toy_network(), rng("init"))
    keys, base = net.state_dict().keys(), toy_network().state_dict().keys()
    assert base < keys
    assert keys - base == set(state(net))


def test_a_copy_taken_in_the_middle_of_a_pass_keeps_no_activation():
    net: Any = attached(make("parallel_adapter"), toy_network(), rng("init"))
    sides = [m for m in net.modules() if type(m).__name__ == "Parallel"]
    for side in sides:
        side.heard = X * torch.ones(1, requires_grad=True)  # no leaf: deepcopy refuses such a tensor
    assert all(m.heard is None for m in copy.deepcopy(net).modules() if type(m).__name__ == "Parallel")
    net(*INPUT)
    assert all(side.heard is None for side in sides)


@pytest.mark.parametrize(
    "spec", ["series_adapter", "parallel_adapter[place=both]", "mam", "uniadapter", "vlpet[gate=small]"]
)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_two_seeds_pack(spec):
    """vmap of the gradient over two stacked seeds gives each seed's own."""
    from torch.func import functional_call, grad, vmap

    name, hyper = parse_spec(spec)
    nets = [attached(make(name, **hyper), toy_network(), torch.Generator().manual_seed(i)) for i in range(2)]
    with torch.no_grad():
        for net in nets:
            for p in state(net).values():
                p.add_(0.1)
    stacked = {k: torch.stack([state(n)[k] for n in nets]) for k in state(nets[0])}

    def loss(own: dict[str, Tensor]) -> Tensor:
        return functional_call(nets[0], own, INPUT).square().mean()

    packed = vmap(grad(loss))(stacked)
    for i, net in enumerate(nets):
        net(*INPUT).square().mean().backward()
        for key, p in net.named_parameters():
            if p.requires_grad:
                torch.testing.assert_close(packed[key][i], p.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("series_adapter[placement=after]", "placement is one of houlsby, pfeiffer, not 'after'"),
        ("series_adapter[init=small]", "init is one of zero, paper"),
        ("parallel_adapter[place=ff]", "place is one of attn, ffn, both, not 'ff'"),
        ("scaled_parallel_adapter[width=0]", "scaled_parallel_adapter: width is at least 1"),
        ("mam[attn=adapter]", "attn is prefix or parallel"),
        ("mam[length=0]", "length is at least 1"),
        ("uniadapter[width=0]", "width is at least 1"),
        ("vlpet[gate=middle]", "gate is one of large, middlex, middley, small"),
        ("vlpet[start=zero]", "start is one of base, paper"),
        ("difffit[depth=0]", "depth is at least 1"),
        ("cones[positions=some]", "positions is one of all, trigger"),
    ],
)
def test_what_cannot_be_is_refused_at_once(spec, line):
    name, hyper = parse_spec(spec)
    with pytest.raises(LitmusError, match=line):
        make(name, **hyper)


def test_a_second_adapter_of_a_kind_on_one_network_is_refused():
    net = attached(make("series_adapter"), toy_network(), rng("init"))
    with pytest.raises(LitmusError, match="has a series_adapter already"):
        make("series_adapter").attach(net, rng("init"))
