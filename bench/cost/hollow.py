"""Networks without numbers: everything on the meta device, with attention as a real device does it, and quickly.

torch works the shape of most results out in Python, a third of a millisecond for a sum; a step of SD 1.5 has thousands
of operations, and a table of methods has the same ones again and again. So what an operation returns for given shapes
is remembered.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cost.autocast import lowered


@contextmanager
def hollow(fused: bool = True) -> Iterator[None]:
    """Inside, new tensors are on the meta device, and attention is one operation as it is on a CPU or a GPU.

    The meta device has no fused attention of its own and would write the whole matrix out, as `fused` = False does.
    """
    with torch.device("meta"), _Remembered():
        if not fused:
            yield
            return
        # In torch's own place, not as a mode: torch switches modes off for what checkpointing computes again.
        with patch.object(F, "scaled_dot_product_attention", _attention):
            yield


def emptied(net: nn.Module) -> Any:
    """A copy of `net` on the meta device, made without a copy of its numbers."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad) for p in net.parameters()
    }
    memo |= {id(b): torch.empty_like(b, device="meta") for b in net.buffers()}
    return copy.deepcopy(net, memo)


def matched(net: nn.Module, real: nn.Module) -> None:
    """Give the tensors of the hollow `net` the dtypes of those of `real`, smaller, with the same method attached.

    peft leaves what it adds in float32 on the meta device, and takes the layer's dtype anywhere else. Tensors answer to
    each other by name, whatever the number of their block.
    """
    dtypes = {_place(key): x.dtype for key, x in _named(real)}
    for key, x in _named(net):
        wanted = dtypes.get(_place(key), x.dtype)
        if x.dtype is not wanted:
            x.data = x.data.to(wanted)


def _named(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


def _place(key: str) -> str:
    return re.sub(r"\d+", "", key)


_PLAIN = F.scaled_dot_product_attention


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The fused operation where torch would choose it on a CPU, and what torch does of itself where it would not."""
    query, key, value, attn_mask = lowered(query, key, value, attn_mask)
    same = query.ndim == 4 and query.shape[-1] == key.shape[-1] == value.shape[-1]
    if not query.is_meta or not same or dropout_p or enable_gqa or (attn_mask is not None and attn_mask.requires_grad):
        more = {"enable_gqa": enable_gqa} if enable_gqa else {}
        return _PLAIN(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **more)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        attn_mask = attn_mask.to(query.dtype)  # as torch does before the kernel sees it
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return op(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]


class _Remembered(TorchDispatchMode):
    """Answers an operation that has been seen with the same shapes by empty tensors of the shapes that came of it.

    Only operations that return new tensors, all of them on the meta device; views and work in place go to torch.
    """

    known: dict[Any, Any] = {}  # of the process: one method's operations are nearly all another's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs: list[Tensor] = []
        key = _key((func, args, kwargs), inputs)
        if key is None or not inputs:
            return func(*args, **kwargs)
        if (found := self.known.get(key)) is not None:
            shape, many = found
            made = [x if x is None else torch.empty_strided(x[0], x[1], dtype=x[2], device="meta") for x in shape]
            return made[0] if many is None else many(made)
        out = func(*args, **kwargs)
        many = None if isinstance(out, Tensor) else type(out) if type(out) in (tuple, list) else False
        parts = [out] if many is None else out
        if many is not False and all(x is None or _new(x, inputs) for x in parts):
            self.known[key] = ([x if x is None else (x.shape, x.stride(), x.dtype) for x in parts], many)
        return out


def _new(x: Any, inputs: list[Tensor]) -> bool:
    """A tensor on the meta device that shares nothing with `inputs`, and whose storage is no larger than it says."""
    if not isinstance(x, Tensor) or not x.is_meta or x.storage_offset():
        return False
    mine = x.untyped_storage()
    return all(mine._cdata != y.untyped_storage()._cdata for y in inputs) and (
        mine.nbytes() == x.element_size() * (1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)))
    )


_SAFE = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


def _key(x: Any, inputs: list[Tensor]) -> Any:
    """What decides the shapes that come of a call, hashable, with its tensors put into `inputs`; None where unknown."""
    kind = type(x)
    if kind in _SAFE:
        return kind, x  # 1, 1.0 and True are one key, and give different dtypes
    if isinstance(x, Tensor):
        if not x.is_meta or kind not in (Tensor, torch.nn.Parameter):
            return None
        inputs.append(x)
        return x.shape, x.stride(), x.dtype
    if isinstance(x, torch._ops.OpOverload):
        return _pure(x)
    if isinstance(x, tuple | list | dict):
        parts = tuple(_key(y, inputs) for y in (x.items() if isinstance(x, dict) else x))
        return None if None in parts else parts
    return None


@cache
def _pure(func: Any) -> Any:
    """`func`, or None if it changes something in place."""
    return None if func._schema.is_mutable else func
