"""A step counted on shapes against the same step on real tensors, class by class."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from bench.bases.toy import toy_network
from bench.core.errors import LitmusError
from bench.cost import Example, TrainingStep, flops
from bench.cost.forecast import batch, tuned
from bench.cost.forecast_check import checks, page, table, worst
from bench.cost.hollow import hollow
from bench.cost.small import SMALL, small
from bench.cost.step import counted, size
from bench.method import make, state

NEAR = 0.05


TINY: Any = {"size": 1, "side": 16}


@pytest.mark.parametrize("base", SMALL)
def test_the_forecast_is_near_what_a_real_step_takes(base):
    """With checkpointing, which has all of the plain step in it; the allocator also sees scratch memory of kernels."""
    (c,) = checks([base], ["lora"], ["fp32"], **TINY, ways=[True])
    assert abs(c.error_live) < NEAR, c
    assert abs(c.error_saved) < NEAR, c
    assert abs(c.error_allocated) < NEAR, c


@pytest.mark.parametrize(
    ("base", "method", "way"), [("sd15", "full", False), ("flux2-klein-4b", "dora", False), ("sdxl", "lora", True)]
)
def test_so_it_is_under_autocast_on_a_base_in_bf16(base, method, way):
    """On a CPU by the rules of a CPU; the second computation of checkpointing is under autocast too."""
    (c,) = checks([base], [method], ["bf16"], **TINY, ways=[way])
    assert abs(c.error_live) < NEAR, c
    assert abs(c.error_saved) < NEAR, c


def test_without_the_casts_float32_pictures_do_not_fit_bf16_weights(monkeypatch):
    monkeypatch.setattr("bench.cost.forecast_check.casting", lambda device: nullcontext())
    with pytest.raises(RuntimeError, match="should be the same"):
        list(checks(["sd15"], ["lora"], ["bf16"], **TINY, ways=[False]))


def test_what_is_trained_is_float32_whatever_the_base():
    net = small("sd15").to(torch.bfloat16)
    for name in ("full", "lora", "svdiff"):
        own = tuned(net, make(name))
        assert {p.dtype for p in own.parameters() if p.requires_grad} == {torch.float32}, name
        assert {p.dtype for p in own.parameters() if not p.requires_grad} <= {torch.bfloat16}, name
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert torch.bfloat16 in {x.dtype for x in state(tuned(net, make("full"), trained="bf16")).values()}


def test_a_forecast_that_is_off_is_seen(monkeypatch):
    """With attention written out on shapes only, the forecast is too high: what `hollow` replaces it for."""
    monkeypatch.setattr("bench.cost.forecast_check.hollow", lambda: hollow(fused=False))
    (c,) = checks(["flux1-dev"], ["lora"], ["fp32"], **TINY, ways=[False])
    assert c.error_saved > NEAR
    header, body = table([c])
    assert len(header) == len(body[0])
    assert worst([c]).startswith("1 steps: off by +")
    assert "batch 1, 16 x 16 latents, on cpu; torch 0" in page([c], "torch 0", "| |")


def example_of(net):
    return batch(net, 2, 8, 4)


def test_what_a_step_is_made_of():
    net = tuned(toy_network(), make("full"))
    found = counted(make("full"), net, example_of(net))
    weights = 4 * 249_268
    assert found.weights == weights
    assert weights * 2 <= found.moments <= weights * 2 + 4 * len(list(net.parameters()))  # and a count for each tensor
    assert found.resident == found.weights + found.moments + size(example_of(net).tensors())
    assert found.peak > found.resident + found.saved
    assert found.peak > found.resident + weights, "gradients"
    assert all(p.grad is None for p in net.parameters())
    assert found.flops_step > 2 * found.flops_forward


def test_shapes_give_the_same_numbers_when_asked_again_and_in_another_order():
    def count(name):
        with hollow():
            net = tuned(toy_network().to("meta"), make(name))
            return counted(make(name), net, example_of(net))

    first = {name: count(name) for name in ("lora", "bias")}
    assert {name: count(name) for name in ("bias", "lora")} == first


def test_what_is_remembered_shares_no_memory_and_forgets_nothing():
    with hollow():
        for _ in range(2):
            x = torch.empty(2, 3, 4, dtype=torch.bfloat16)
            y = x.transpose(1, 2) + 1
            assert (y.shape, y.dtype, y.is_meta) == ((2, 4, 3), torch.bfloat16, True)
            assert y.stride() == (torch.zeros(2, 3, 4, device="cpu").transpose(1, 2) + 1).stride()
            assert (x + torch.empty(4)).dtype == torch.float32
            assert (torch.empty(3, dtype=torch.int64) + 1).dtype == torch.int64
            assert (torch.empty(3, dtype=torch.int64) + 1.0).dtype == torch.float32
            assert x.view(6, 4).untyped_storage()._cdata == x.untyped_storage()._cdata
            assert y.untyped_storage()._cdata != (x.transpose(1, 2) + 1).untyped_storage()._cdata
    assert torch.zeros(3).device.type == "cpu"


@pytest.mark.parametrize("fused", [True, False])
def test_attention_on_shapes(fused):
    """Fused, nothing of the size of the matrix is kept; written out, it is."""
    before = F.scaled_dot_product_attention
    with hollow(fused):
        q, k, v = (torch.empty(1, 2, 256, 8, requires_grad=True) for _ in range(3))
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            out = F.scaled_dot_product_attention(q, k, v)
    assert out.shape == q.shape
    assert (max(kept) >= 2 * 256 * 256) != fused
    assert F.scaled_dot_product_attention is before


@pytest.mark.skipif(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu not in flop_registry,
    reason="this torch's counter does not know the CPU's fused attention",
)
def test_flops_are_those_of_torch_s_own_counter():
    net = tuned(toy_network(), make("lora"))
    step = TrainingStep(make("lora"), net, example_of(net))
    with FlopCounterMode(display=False) as counter:
        step()
    assert flops(step) == counter.get_total_flops() == counted(make("lora"), net, example_of(net)).flops_step


def test_a_small_network_has_the_class_and_the_text_side_of_the_large():
    assert type(small("sdxl").denoiser).__name__ == "UNet2DConditionModel"
    assert (small("sd15").text is None, small("sdxl").text is None) == (False, True)
    with pytest.raises(LitmusError, match="did you mean 'sdxl'"):
        small("sdx")


def test_the_text_side_counts_where_it_is_trained():
    net = small("sd15")
    assert tuned(net, make("lora")).text is None
    method = make("textual_inversion")
    own = tuned(net, method)
    assert {key.partition(".")[0] for key in state(own)} == {"text"}
    example = batch(own, 1, 16, 77)
    assert isinstance(example, Example)
    assert example.ids is not None
    assert counted(method, own, example).flops_forward > 0
