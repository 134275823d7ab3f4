"""Autocast on shapes: the lists are torch's, and each operation answers as it does under torch.autocast."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bench.bases.toy import toy_network
from bench.cost.autocast import LOWER, RESULT, WIDEST, casting, checkpointing, policies
from bench.cost.hollow import emptied, hollow

HEADER = Path(str(torch.__file__)).parent / "include" / "ATen" / "autocast_mode.h"


@pytest.mark.skipif(not HEADER.is_file(), reason="this torch comes without its headers")
@pytest.mark.parametrize(
    ("macro", "listed"), [("LOWER_PRECISION_FP", LOWER), ("FP32_SET_OPT_DTYPE", RESULT), ("PROMOTE", WIDEST)]
)
def test_the_lists_for_cuda_are_those_of_torch_s_header(macro, listed):
    body = HEADER.read_text().partition(f"#define AT_FORALL_{macro}(_)")[2].partition("\n\n")[0]
    theirs = {".".join(found).rstrip(".") for found in re.findall(r"_\((\w+)(?:, (\w+))?\)", body)}
    ours = set(listed["cuda"].split())
    assert theirs
    assert not {name for name in theirs - ours if "dimname" not in name.lower()}  # of older torch: named tensors
    assert all("cudnn" in name for name in ours - theirs)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_listed_name_is_one_that_torch_knows(device):
    listed = " ".join(table[device] for table in (LOWER, WIDEST, RESULT)).split()
    assert len(listed) == len(set(listed))
    assert set(listed) <= policies(device).keys()


S, L = torch.bfloat16, torch.float32
CALLS: dict[str, Any] = {
    "linear": lambda x, w: F.linear(x, w, w[0]),
    "matmul": lambda x, w: x @ w,
    "einsum": lambda x, w: torch.einsum("bij,jk->bik", x, w),
    "baddbmm": lambda x, w: torch.baddbmm(x, x, w.expand(2, 4, 4)),
    "conv2d": lambda x, w: F.conv2d(x[:, None], w[None, None]),
    "attention": lambda x, w: F.scaled_dot_product_attention(x[:, None], x[:, None], w.expand(2, 1, 4, 4)),
    "layer_norm": lambda x, w: F.layer_norm(x, (4,)),
    "group_norm": lambda x, w: F.group_norm(x, 2),
    "softmax": lambda x, w: x.softmax(-1),
    "told": lambda x, w: x.softmax(-1, dtype=torch.float64),
    "sum": lambda x, w: x.sum(1),
    "norm": lambda x, w: x.norm(dim=1),
    "pow": lambda x, w: x**2,
    "add": lambda x, w: x + w,
    "cat": lambda x, w: torch.cat([x, w.expand(2, 4, 4)]),
    "mse": lambda x, w: F.mse_loss(x, w.expand(2, 4, 4)),
    "gelu": lambda x, w: F.gelu(x),
    "mean": lambda x, w: x.mean(),
    "double": lambda x, w: x.double() @ w.double(),
    "upsample": lambda x, w: F.interpolate(x[:, None], scale_factor=2.0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("x", "w"), [(S, L), (L, S), (L, L), (S, S)])
def test_what_comes_of_an_operation_has_the_dtype_that_torch_gives_it_on_a_cpu(name, x, w):
    call = CALLS[name]
    real = torch.ones(2, 4, 4, dtype=x), torch.ones(4, 4, dtype=w)

    def done(args: Any, region: Any) -> Any:
        with region:
            try:
                return call(*args).dtype
            except RuntimeError:
                return "refused"

    wanted = done(real, torch.autocast("cpu", torch.bfloat16))
    assert done([one.to("meta") for one in real], casting("cpu")) == wanted


def test_the_rules_of_cuda_are_others():
    x, w = torch.ones(2, 4, 4, dtype=S, device="meta"), torch.ones(4, 4, device="meta")
    with casting("cuda"):
        found = {name: call(x, w).dtype for name, call in CALLS.items() if name != "double"}
    short = {"linear", "matmul", "einsum", "baddbmm", "conv2d", "attention", "gelu", "mean"}
    assert {name for name, dtype in found.items() if dtype is S} == short
    assert found["told"] is torch.float64
    assert found["cat"] is found["add"] is L
    assert CALLS["matmul"](x.float(), w).dtype is L, "outside nothing is cast"


class Seen(TorchDispatchMode):
    """First arguments of the calls of one operation."""

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op, self.inputs = op, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self.op:
            self.inputs.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_trained_weight_is_cast_once_and_a_frozen_one_each_time(device):
    def region() -> Any:
        return casting("cpu") if device == "meta" else torch.autocast("cpu", torch.bfloat16)

    counts = []
    x = torch.ones(2, 4, dtype=S, device=device)
    for trained in (True, False):
        w = torch.ones(4, 4, device=device, requires_grad=trained)
        with Seen(torch.ops.aten._to_copy.default) as seen:
            with region():
                F.linear(F.linear(x, w), w)
                with region():
                    F.linear(x, w)
            with region():
                loss = F.linear(x, w).sum()
        counts.append(len(seen.inputs))
        if trained:
            loss.backward()
            assert w.grad is not None
            assert w.grad.dtype is L
    assert counts == [2, 4]


def test_what_checkpointing_computes_again_is_cast_again():
    net = emptied(toy_network()).train()
    checkpointing(net.denoiser, lambda: casting("cuda"))
    with hollow(), Seen(torch.ops.aten.convolution.default) as seen:
        with casting("cuda"):
            x = torch.ones(1, 4, 8, 8, requires_grad=True)
            loss = net(x, torch.ones(1), torch.ones(1, 4, 16)).float().square().mean()
        first = len(seen.inputs)
        loss.backward()
    again = seen.inputs[first:]
    assert again
    assert {one.dtype for one in again} == {S}
