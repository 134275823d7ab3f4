from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.core.rng import rng
from bench.cost import (
    Example,
    TrainingStep,
    bytes_disk,
    calls,
    flops,
    interleaved,
    measure,
    peak,
    process_peak,
    timed,
    training_bytes,
)
from bench.cost.memory import module_tensors
from bench.method import attached, make, state
from bench.records.record import Cost

KB = 1024


def floats(n: int) -> torch.Tensor:
    return torch.zeros(n * KB // 4)


# --- memory


def test_peak_of_a_known_sequence():
    def work():
        a = floats(64)  # 64
        b = a + 1  # 128
        del a  # 64
        c = floats(100)  # 164
        del b, c
        floats(20)

    assert peak(work).bytes == 164 * KB


def test_views_and_in_place_work_cost_nothing():
    def work():
        a = floats(64)
        a.view(-1, 2).t().add_(1).mul_(2)
        a[:10].zero_()

    assert peak(work).bytes == 64 * KB


def test_resident_tensors_count_from_the_start_and_once():
    w = floats(32)
    found = peak(lambda: w * 2, [w, w.view(-1, 2)])
    assert (found.resident, found.bytes, found.extra) == (32 * KB, 64 * KB, 32 * KB)


def test_what_was_there_before_counts_when_it_is_used():
    w = floats(32)
    assert peak(lambda: w * 2).bytes == 64 * KB


def test_what_autograd_keeps_is_seen():
    """y = tanh(tanh(...)) keeps every intermediate for its backward pass, and without grad only one."""
    w = floats(16).requires_grad_(True)

    def work():
        x = w
        for _ in range(5):
            x = x.tanh()

    grad = peak(work, [w]).extra
    with torch.no_grad():
        plain = peak(work, [w]).extra
    assert (grad, plain) == (5 * 16 * KB, 2 * 16 * KB)


def test_checkpointing_lowers_the_peak_of_a_network():
    net = attached(make("lora"), toy_network(), rng("a")).train()
    example = Example.random((2, 4, 8, 8), 4, 16, next(net.parameters()))
    step = TrainingStep(make("lora"), net, example)
    before = [peak(step, module_tensors(net)).extra for _ in range(2)]
    net.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    after = peak(step, module_tensors(net)).extra
    assert before[0] == before[1], "the count repeats"
    assert after < before[0]


def test_process_peak_is_above_what_lives():
    assert process_peak() > 50 * 1024 * KB


# --- scalars, FLOPs, seconds


def test_training_bytes_are_the_published_ones():
    mib = {k: round(v / 2**20, 1) for k, v in training_bytes(859_520_964, 859_520_964).items()}
    assert mib == {"weights": 3278.8, "gradients": 3278.8, "moments": 6557.6}
    light = training_bytes(859_520_964, 1_594_368)
    assert [round(light[k] / 2**20, 1) for k in ("gradients", "moments")] == [6.1, 12.2]


def test_bytes_disk_is_the_file_s_size(tmp_path):
    from safetensors.torch import save_file

    net = attached(make("lora"), toy_network(), rng("a"))
    save_file(state(net), tmp_path / "x.safetensors")
    assert bytes_disk(net) == (tmp_path / "x.safetensors").stat().st_size


def test_flops_of_a_linear_layer():
    layer, x = nn.Linear(8, 16), torch.randn(4, 8, requires_grad=True)
    assert flops(lambda: layer(x)) == 2 * 4 * 8 * 16
    assert flops(lambda: layer(x).sum().backward()) == 3 * 2 * 4 * 8 * 16
    layer.requires_grad_(False)
    assert flops(lambda: layer(x).sum().backward()) == 2 * 2 * 4 * 8 * 16


def test_timed_is_a_median_and_waits_out_the_warm_up(monkeypatch):
    now = iter([100, 101, 101, 104, 104, 106])  # a warm-up that is not timed, then 1, 3 and 2
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    count = []
    speed = timed(lambda: count.append(0), warmup=1, calls=3)
    assert (speed.seconds, speed.iqr, speed.calls, speed.per_second, len(count)) == (2, 1, 3, 0.5, 4)


def test_works_take_turns():
    order = []
    interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, warmup=1, calls=2)
    assert order == ["a", "b"] * 3
    with pytest.raises(ValueError, match="at least 2"):
        timed(lambda: None, calls=1)


# --- all together


@pytest.mark.parametrize("name", ["base", "full", "lora", "adapter"])
def test_measure_repeats_and_fills_a_record(name):
    net = toy_network()
    keys = list(net.state_dict())
    example = Example.random((2, 4, 8, 8), 4, 16, next(net.parameters()))
    one, two = (measure(make(name), net, example) for _ in range(2))
    assert Cost(**one), "every name is a field of the record"  # type: ignore[arg-type]
    assert one.keys() <= Cost.model_fields.keys()
    same = [k for k in one if not k.startswith("seconds")]
    assert [one[k] for k in same] == [two[k] for k in same]
    assert list(net.state_dict()) == keys
    assert not any(p.requires_grad for p in net.parameters())
    assert (one["bytes_peak"] is None) == (name == "base")


def test_what_is_trained_costs_float32_on_a_base_in_bf16():
    wide, narrow = toy_network(), toy_network().bfloat16()
    example = Example.random((2, 4, 8, 8), 4, 16, torch.empty(0))
    plain = measure(make("lora"), wide, example)
    mixed = measure(make("lora"), narrow, example, lambda: torch.autocast("cpu", torch.bfloat16), timed_calls=2)
    assert mixed["bytes_disk"] == plain["bytes_disk"]
    assert mixed["overhead_merged"]
    assert measure(make("svdiff"), narrow, example, lambda: torch.autocast("cpu", torch.bfloat16))["bytes_disk"]
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}


def test_a_step_with_checkpointing_is_measured_as_such():
    net = toy_network()
    example = Example.random((4, 4, 8, 8), 4, 16, next(net.parameters()))
    plain, again = (measure(make("lora"), net, example, checkpointing=way) for way in (False, True))
    assert again["bytes_peak"] < plain["bytes_peak"]  # type: ignore[operator]
    assert again["flops_step"] > plain["flops_step"]  # type: ignore[operator]
    assert again["bytes_disk"] == plain["bytes_disk"]


def test_a_step_by_another_optimiser_remembers_what_that_does():
    net = toy_network()
    example = Example.random((2, 4, 8, 8), 4, 16, next(net.parameters()))
    plain = measure(make("full"), net, example)["bytes_peak"]
    bare = measure(make("full"), net, example, optimiser=lambda groups, lr: torch.optim.SGD(groups, lr))["bytes_peak"]
    assert plain - bare == pytest.approx(8 * 249_268, rel=0.1)  # type: ignore[operator]


def test_costs_stand_in_the_order_that_they_must():
    net = toy_network()
    example = Example.random((2, 4, 8, 8), 4, 16, next(net.parameters()))
    cost = {name: measure(make(name), net, example) for name in ("full", "lora", "bias")}
    assert cost["full"]["bytes_peak"] > cost["lora"]["bytes_peak"]  # type: ignore[operator]
    assert cost["full"]["flops_step"] > cost["bias"]["flops_step"]  # type: ignore[operator]
    resident = 4 * 249_268
    moments = 2 * resident
    assert cost["full"]["bytes_peak"] > resident + moments  # type: ignore[operator]


def test_overheads_are_none_where_there_is_no_merging():
    net = toy_network()
    example = Example.random((2, 4, 8, 8), 4, 16, next(net.parameters()))
    for name in ("lora", "adapter"):
        method = make(name)
        tuned = attached(method, toy_network(), rng("a"))
        found = calls(method, net, tuned, example, warmup=1, n=3)
        assert found["overhead_unmerged"] > 0  # type: ignore[operator]
        assert (found["overhead_merged"] is None) == (name == "adapter")


def test_forward_flops_of_stable_diffusion():
    """0.80327 TFLOP for batch 1 at 512 x 512, counted once on another version of torch."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        net = UNet2DConditionModel(
            sample_size=64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8
        )
        x, t, context = torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768)
        with torch.no_grad():
            assert flops(lambda: net(x, t, encoder_hidden_states=context)) == pytest.approx(0.80327e12, rel=1e-5)
