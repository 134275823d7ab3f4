"""FLOPs of attention: our own rule against the closed form and against a second way of counting, on any torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bench.cost.flops import flops
from bench.cost.hollow import hollow

# B, H, S, L, E: self-attention, cross-attention on 77 words, one head, one query
SHAPES = {
    "self": (2, 8, 64, 64, 16),
    "cross": (2, 8, 64, 77, 16),
    "one head": (4, 1, 33, 20, 8),
    "one row": (3, 2, 1, 9, 4),
}


def tensors(shape):
    b, h, s, rows, e = shape
    return [torch.randn(b, h, n, e, requires_grad=True) for n in (s, rows, rows)]


def forward(shape):
    q, k, v = tensors(shape)
    return flops(lambda: F.scaled_dot_product_attention(q, k, v))


def step(shape):
    q, k, v = tensors(shape)
    return flops(lambda: F.scaled_dot_product_attention(q, k, v).sum().backward())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("place", ["real", "hollow"])
def test_fused_attention_is_its_closed_form(shape, place):
    b, h, s, rows, e = shape
    product = 2 * b * h * s * rows * e
    if place == "hollow":
        with hollow():
            counted = forward(shape), step(shape)
    else:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            counted = forward(shape), step(shape)
    assert counted == (2 * product, 7 * product)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_written_out_matrix_is_the_second_way_of_counting(shape):
    """Plain products count two forward and four backward; a fused kernel makes the scores once more."""
    b, h, s, rows, e = shape
    with hollow(fused=False):
        plain = forward(shape), step(shape)
    with hollow():
        fused = forward(shape), step(shape)
    assert fused[0] == plain[0]
    assert fused[1] == plain[1] + 2 * b * h * s * rows * e


def test_every_kernel_that_this_torch_has_is_counted():
    """Its name and the names of its arguments are what the rule goes by."""
    from bench.cost.flops import _attention

    names = [n for n in dir(torch.ops.aten) if n.startswith("_scaled_dot_product") and "math" not in n]
    names += [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::_scaled_dot_product")]
    ops = {n.partition("::")[2].partition(".")[0] or n for n in names}
    kernels = sorted(n for n in ops if "math" not in n and "quantized" not in n)
    assert len(kernels) >= 6
    for name in kernels:
        func = getattr(torch.ops.aten, name).default
        arguments = [argument.name for argument in func._schema.arguments]
        assert {"query", "key", "value"} <= set(arguments), name
        args = [torch.empty(2, 3, 5, 7, device="meta") if a in ("query", "key", "value") else None for a in arguments]
        expected = 2 * 2 * 3 * 5 * 5 * 7 * (5 if name.endswith("_backward") else 2)
        assert _attention(func, args, {}) == expected, name
