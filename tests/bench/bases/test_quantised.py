"""A base with frozen weights in 4 or 8 bits: what trains beside them does, what needs their numbers refuses."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.bases import base_facts, hub, load_base
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.cost.shared import method_costs
from bench.method import METHODS, attached, floating, make, quantised, state
from bench.protocol.models import Train
from bench.training.attach import attach
from bench.training.loop import fit

FIT = ("lora", "bias", "norm", "adapter")


class Packed(nn.Linear):
    """A Linear as bitsandbytes holds one: two weights a byte, in a shape of their own."""

    def __init__(self, layer: nn.Linear):
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        low, high = layer.weight.aminmax()
        self.low, self.step = low.item(), (high - low).item() / 15
        levels = ((layer.weight - low) / self.step).round().to(torch.uint8).flatten()
        self.weight = nn.Parameter((levels[::2] * 16 + levels[1::2])[:, None], requires_grad=False)  # pyright: ignore
        if layer.bias is not None:
            self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        levels = torch.stack([self.weight[:, 0] // 16, self.weight[:, 0] % 16], 1).to(input.dtype)
        w = (levels * self.step + self.low).view(self.out_features, self.in_features)
        return F.linear(input, w, self.bias)


@pytest.fixture
def packed(tiny_base, litmus_home, monkeypatch):
    """A tiny SD 1.5 with every Linear of its U-Net packed; the first parameter of the network is one of them."""
    monkeypatch.setenv("LITMUS_DEVICE", "cpu")
    base = load_base(f"{tiny_base('sd15')}?dtype=fp32&resolution=64").fork()
    unet = base.net.denoiser
    for path, layer in list(unet.named_modules()):
        if type(layer) is nn.Linear:
            parent, _, child = path.rpartition(".")
            setattr(unet.get_submodule(parent), child, Packed(layer))
    conv = unet.conv_in
    del unet.conv_in
    unet.conv_in = conv  # now last
    assert next(unet.parameters()).dtype == torch.uint8
    return replace(base, name="packed", digest="packed")


@pytest.mark.parametrize("name", FIT)
def test_what_reads_no_weight_trains_in_float(packed, toy_task, name):
    assert quantised(packed.net.denoiser)
    assert floating(packed.net.denoiser).dtype == torch.float32
    method = make(name)
    assert method.quantised
    task = replace(toy_task, resolution=64)
    tuned = attach(packed, method, task, 0)
    before = {key: p.clone() for key, p in state(tuned.net).items()}
    assert {p.dtype for p in before.values()} == {torch.float32}
    assert sum(p.numel() for p in before.values()) == method.count(packed.net)
    fit(tuned, method, task, Train(steps=1, batch=1), lr=1e-2)
    assert any(not p.equal(before[key]) for key, p in state(tuned.net).items())


def test_what_reads_weights_is_refused_in_one_line(packed):
    refused = [name for name, cls in METHODS.items() if cls.side != "text" and not cls.quantised]
    assert {"full", "svdiff", "pissa", "dora", "olora", "loha"} <= set(refused)
    for name in refused:
        with pytest.raises(LitmusError, match=f"{name} reads or writes weights .* in 4 or 8 bits: leave out") as error:
            attached(METHODS[name](), packed.net, rng("init"))
        assert "lora" in str(error.value)
        assert "\n" not in str(error.value)


def test_nothing_is_merged_into_packed_weights_and_costs_are_measured_without(packed):
    tuned = attached(make("lora"), packed.fork().net, rng("init"))
    with pytest.raises(LitmusError, match="lora cannot be merged into weights of 4 or 8 bits: load the base without"):
        make("lora").merge(tuned)
    costs = method_costs(packed, make("lora"), 1)
    assert costs["overhead_unmerged"]
    assert costs.get("overhead_merged") is costs.get("seconds_merge") is None
    assert costs["bytes_peak"]


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("how", ["nf4", "int8"])
def test_bitsandbytes_itself(tiny_base, toy_task, litmus_home, monkeypatch, how):
    """The real thing on a CPU: a quantised U-Net trains a LoRA with moments in 8 bits.

    diffusers asks for a GPU before it quantises, though bitsandbytes itself can do without: here it is not asked.
    """
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    monkeypatch.setenv("LITMUS_DEVICE", "cpu")
    with pytest.raises(LitmusError, match=f"diffusers quantises to {how} on cuda or xpu.*cpu: leave out"):
        base_facts(f"{tiny_base('sd15')}?dtype=fp32&resolution=64&quantise={how}")
    monkeypatch.setattr(hub, "can_quantise", lambda spec, device: None)
    for cls in (bnb_quantizer.BnB4BitDiffusersQuantizer, bnb_quantizer.BnB8BitDiffusersQuantizer):
        monkeypatch.setattr(cls, "validate_environment", lambda self, **options: None)
    base = load_base(f"{tiny_base('sd15')}?dtype=fp32&resolution=64&quantise={how}")
    assert quantised(base.net.denoiser)
    task, method = replace(toy_task, resolution=64), make("lora")
    tuned = attach(base, method, task, 0)
    before = {key: p.clone() for key, p in state(tuned.net).items()}
    assert sum(p.numel() for p in before.values()) == method.count(base.net)
    curve = fit(tuned, method, task, Train(steps=2, batch=1, optimizer="adamw8bit"), lr=1e-2)
    assert all(map(torch.isfinite, torch.tensor(curve.running)))
    assert any(not p.equal(before[key]) for key, p in state(tuned.net).items())
    with pytest.raises(LitmusError, match="leave out --quantise"):
        attach(base, make("full"), task, 0)
