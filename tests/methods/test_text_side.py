"""Methods that train the text side, on the toy base: only the identifier's part moves, and only its prompts change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from bench.bases.toy import toy_base
from bench.core.rng import rng
from bench.method import attached, make, parse_spec, state

WITH, WITHOUT = "a photo of a sks dog on the beach", "a photo of a red car in the city"
SPECS = ["textual_inversion", "cones", "cones[positions=trigger]", "customdiffusion[token=true]"]


@pytest.fixture(scope="module")
def frozen():
    return toy_base()


def prepared(frozen, spec: str) -> tuple[Any, Any]:
    """(method, a fork of the toy base with it attached, the identifier being "sks")"""
    name, hyper = parse_spec(spec)
    method, base = make(name, **hyper), frozen.fork()
    base.net.trigger = tuple(base.tokenizer("sks", add_special_tokens=False).input_ids)
    attached(method, base.net, rng("init"))
    return method, base


def step(method, base, steps: int = 4) -> list[float]:
    x, t = torch.randn(1, 4, 8, 8, generator=rng("x")), torch.tensor([300])
    optimiser = torch.optim.AdamW([p for p in base.net.parameters() if p.requires_grad], lr=method.lr, weight_decay=0)
    losses = []
    for _ in range(steps):
        loss = (base.net(x, t, base.encode_text([WITH])) - 1).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses


@pytest.mark.parametrize("spec", SPECS)
def test_starts_at_the_base_and_learns(frozen, spec):
    method, base = prepared(frozen, spec)
    assert sum(p.numel() for p in state(base.net).values()) == method.count(frozen.net)
    with torch.no_grad():
        for prompt in (WITH, WITHOUT):
            assert base.encode_text([prompt]).equal(frozen.encode_text([prompt]))
    losses = step(method, base)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("spec", SPECS)
def test_only_prompts_with_the_identifier_change(frozen, spec):
    method, base = prepared(frozen, spec)
    step(method, base)
    with torch.no_grad():
        both = base.encode_text([WITH, WITHOUT])
        assert not both[0].allclose(frozen.encode_text([WITH])[0], atol=1e-4)
        torch.testing.assert_close(both[1], frozen.encode_text([WITHOUT])[0])


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_but_its_own_moves(frozen, spec):
    method, base = prepared(frozen, spec)
    own = set(state(base.net))
    before = copy.deepcopy(base.net.state_dict())
    step(method, base)
    odd = {k for k, p in base.net.state_dict().items() if not p.equal(before[k])}
    assert odd == own
    assert all(("concept" in k) == k.startswith("text.") for k in own)


@pytest.mark.parametrize("spec", ["textual_inversion", "customdiffusion[token=true]"])
def test_merged_rows_are_the_only_ones_that_differ(frozen, spec):
    method, base = prepared(frozen, spec)
    step(method, base)
    with torch.no_grad():
        before = base.encode_text([WITH])
        method.merge(base.net)
        torch.testing.assert_close(base.encode_text([WITH]), before)
    assert base.net.state_dict().keys() == frozen.net.state_dict().keys()
    rows = [n.text.get_input_embeddings().weight for n in (base.net, frozen.net)]
    assert (rows[0] != rows[1]).any(1).nonzero().flatten().tolist() == list(base.net.trigger)


def test_each_of_several_tokens_has_a_row(frozen):
    name_of = frozen.tokenizer.convert_tokens_to_ids
    base = frozen.fork()
    base.net.trigger = (name_of("sks</w>"), name_of("zwx</w>"), name_of("sks</w>"))
    attached(make("textual_inversion"), base.net, rng("init"))
    table: Any = base.net.text.get_input_embeddings()
    assert table.concept.shape == (2, 16)
    with torch.no_grad():
        table.concept.copy_(torch.stack([torch.full((16,), 1.0), torch.full((16,), 2.0)]))
    ids = torch.tensor([[name_of("zwx</w>"), name_of("dog</w>"), name_of("sks</w>")]])
    y = table(ids)[0]
    assert y[0].eq(2).all()
    assert y[1].equal(table.weight[ids[0, 1]])
    assert y[2].eq(1).all()


def test_cones_adds_its_rows_where_they_belong(frozen):
    for spec in ("cones", "cones[positions=trigger]"):
        _, base = prepared(frozen, spec)
        z = base.net.text.concept
        with torch.no_grad():
            z.copy_(torch.randn(z.shape, generator=rng("z")))
            delta = base.encode_text([WITH])[0] - frozen.encode_text([WITH])[0]
        expected = z.detach().clone()
        if spec != "cones":  # the start token, then a, photo, of, a, sks
            expected = torch.zeros(16, 16)
            expected[5] = z.detach()[0]
        torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-5)


def test_cones_sends_no_gradient_through_the_encoder(frozen):
    _, base = prepared(frozen, "cones")
    seen = []
    layer = base.net.text.get_input_embeddings()
    layer.register_forward_hook(lambda module, given, y: seen.append(y.requires_grad))
    assert base.encode_text([WITH]).requires_grad
    assert seen == [False]


@pytest.mark.parametrize("spec", SPECS)
def test_a_copy_has_a_text_side_of_its_own(frozen, spec):
    method, base = prepared(frozen, spec)
    twin = copy.deepcopy(base.net)
    step(method, base)
    with torch.no_grad():
        ids = base.tokenizer([WITH], padding="max_length", return_tensors="pt").input_ids
        torch.testing.assert_close(twin.text(ids)[0], frozen.net.text(ids)[0])


@pytest.mark.parametrize("spec", SPECS)
def test_without_a_task_one_token_is_counted(frozen, spec):
    name, hyper = parse_spec(spec)
    method, base = make(name, **hyper), frozen.fork()
    attached(method, base.net, rng("init"))
    assert sum(p.numel() for p in state(base.net).values()) == method.count(base.net)
    text = {k: p.shape for k, p in state(base.net).items() if k.startswith("text.")}
    assert list(text.values()) == [(16, 16) if spec == "cones" else (1, 16)]
