from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.core.rng import rng
from bench.method import LitmusError, attached, make, state
from bench.network.sites import PAIRS

INPUT = torch.randn(1, 4, 8, 8, generator=rng("x")), torch.tensor([3]), torch.randn(1, 4, 16, generator=rng("c"))


def attach(seed=0, **hyper):
    return attached(make("adapter", **hyper), toy_network(), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_legal_pair_starts_at_the_base_and_then_leaves_it(source, target):
    net = attach(source=source, target=target, width=3)
    plain = toy_network()(*INPUT)
    assert net(*INPUT).equal(plain)
    (net(*INPUT) - 1).square().mean().backward()
    up = [p for k, p in net.named_parameters() if ".adapter.up." in k]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in up)
    with torch.no_grad():
        for p in up:
            p.sub_(p.grad, alpha=0.1)  # type: ignore[arg-type]
    assert not net(*INPUT).allclose(plain)


PAPER = {
    "attn1i": "attn1i attn2i ffni transo",
    "attn1o": "attn2i ffni transo",
    "attn2i": "attn2i ffni transo",
    "attn2o": "ffni transo",
    "attn2c": "attn2c",
    "ffni": "ffni transo",
    "ffno": "transo",
    "transo": "transo",
    "resi": "resi reso",
    "reso": "reso",
}


def test_the_paper_s_twenty_pairs_are_there_and_no_other():
    """The shipped configurations of Xiang-cd/unet-finetune at e87962c: 17 in transformer blocks, 3 in residual ones."""
    assert set(PAIRS) == {(a, b) for a, found in PAPER.items() for b in found.split()}
    assert len(PAIRS) == 20


def test_paper_s_start_is_torch_s_own_for_both_layers():
    net = attach(init="paper", width=64)
    for name, fan in (("down", 32), ("up", 64)):
        tensors = [p for k, p in state(net).items() if f".adapter.{name}." in k]
        for p in tensors:
            assert 0.8 * fan**-0.5 < p.abs().max() <= fan**-0.5


def test_formula():
    """h_target + s * up(relu(down(h_source))), checked where source and target are the same tensor."""
    net = attach(source="transo", target="transo", init="paper", scale=0.5, width=5)
    block: Any = next(m for m in net.modules() if type(m).__name__ == "BasicTransformerBlock")
    x = torch.randn(1, 16, 32, generator=rng("x"))
    h = type(block).forward(block, x, encoder_hidden_states=INPUT[2])
    a = block.adapter
    expected = h + 0.5 * (a.up.weight @ (a.down.weight @ h.mT + a.down.bias[:, None]).relu() + a.up.bias[:, None]).mT
    torch.testing.assert_close(block(x, encoder_hidden_states=INPUT[2]), expected)


def test_residual_adapter_has_norm_silu_and_convolutions():
    net = attach(source="resi", target="reso", width=3, init="paper")
    block: Any = next(
        m for m in net.modules() if type(m).__name__ == "ResnetBlock2D" and m.in_channels != m.out_channels
    )
    x, temb = torch.randn(1, block.in_channels, 4, 4, generator=rng("x")), torch.randn(1, 64, generator=rng("t"))
    a = block.adapter
    inner = nn.Sequential(a.norm, nn.SiLU(), a.down, nn.ReLU(), a.up)
    torch.testing.assert_close(block(x, temb), type(block).forward(block, x, temb) + inner(x))


def test_base_keeps_its_names():
    net = attach()
    base = toy_network().state_dict().keys()
    assert base < net.state_dict().keys()
    assert all(".adapter." in key for key in net.state_dict().keys() - base)
    assert set(state(net)) == net.state_dict().keys() - base


def test_a_copy_has_adapters_of_its_own():
    net = attach()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for p in state(twin).values():
            p.add_(0.3)
    assert net(*INPUT).equal(toy_network()(*INPUT))
    assert not twin(*INPUT).allclose(net(*INPUT))


@pytest.mark.parametrize(
    ("hyper", "line"),
    [
        ({"source": "ffni", "target": "attn1i"}, "no way from 'ffni' to 'attn1i': from ffni to ffni, transo"),
        ({"source": "attn2o", "target": "attn2c"}, "no way from 'attn2o' to 'attn2c'"),
        ({"source": "reso", "target": "resi"}, "from reso to reso"),
        ({"source": "ffnni"}, "no way from 'ffnni'.*attn1i, attn1o"),
        ({"activation": "gelu"}, "activation is one of relu, sigmoid, silu, identity, not 'gelu'"),
        ({"init": "small"}, "init is one of zero, paper"),
        ({"width": 0}, "width is at least 1"),
    ],
)
def test_what_cannot_be_is_refused_at_once(hyper, line):
    with pytest.raises(LitmusError, match=line):
        make("adapter", **hyper)


def test_the_paper_s_settings_by_name(sd15):
    """What the authors' code trains is 1,511,040 scalars on SD 1.5, from torch's own start."""
    from bench.runner.resolve import competitor

    def settings(one: Any) -> tuple:
        return one.source, one.target, one.activation, one.scale, one.width, one.init

    released = make("adapter", preset="released")
    assert settings(released) == ("attn2o", "ffni", "relu", 1.0, 60, "paper")
    assert released.count(sd15) == 1_511_040
    assert not released.exact_start
    assert released.spec == "adapter[released]"
    best = make("adapter", preset="best_pair")
    assert settings(best) == ("attn2o", "ffni", "relu", 1.0, 32, "zero")
    assert best == make("adapter", preset="paper"), "the older name, in protocols of users"
    assert make("adapter", preset="released", width=8).width == 8  # type: ignore[attr-defined]
    assert competitor("adapter[paper]").hyper == best.hyper()
    assert competitor("adapter[released]").hyper == released.hyper()
    with pytest.raises(LitmusError, match="unknown preset of adapter 'papr': did you mean 'paper'"):
        make("adapter", preset="papr")
    with pytest.raises(LitmusError, match=r"unknown preset of lora 'rank'.*write key=value"):
        make("lora", preset="rank")


def test_nothing_is_published_or_what_is_carries_its_study():
    """Without a published study the default is exactly what it always was: keys of records hang on it."""
    from methods.adapter import PAPER, WINNER

    if not WINNER.is_file():
        assert make("adapter").hyper() == PAPER == make("adapter", preset="paper").hyper()
    else:
        table = json.loads(WINNER.read_text())
        assert make("adapter").hyper() == table["hyper"]
        assert table["study"]
        assert [table["hyper"]["source"], table["hyper"]["target"]] in table["tied"]


def test_a_published_winner_becomes_the_default(tmp_path, monkeypatch):
    """The module, loaded from another folder with a winner beside it: its defaults and hyper() are the winner's."""
    from bench.method import METHODS, load_file, source_digest
    from methods import adapter as module

    settings = {"source": "ffni", "target": "transo", "activation": "silu", "scale": 4.0, "width": 31, "init": "zero"}
    (tmp_path / "adapter.py").write_text(Path(module.__file__).read_text())
    (tmp_path / "adapter_winner.json").write_text(json.dumps({"study": "s", "hyper": settings, "tied": []}))
    monkeypatch.delitem(METHODS, "adapter")
    (found,) = load_file(tmp_path / "adapter.py")
    try:
        assert found().hyper() == settings
        assert make("adapter").hyper() == settings
        assert make("adapter", preset="paper").hyper() == module.PAPER
        assert source_digest(found) != ""
    finally:
        METHODS.pop("adapter")
        METHODS["adapter"] = module.Adapter
    (tmp_path / "adapter_winner.json").write_text("[]")
    with pytest.raises(LitmusError, match=r"adapter_winner.json is no study's winner.*litmus anova --publish"):
        module.defaults(tmp_path / "adapter_winner.json")
