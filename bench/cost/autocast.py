"""torch.autocast for tensors without numbers, so that a forecast sees the casts of a training step under it.

torch.autocast knows no meta device: its kernels let tensors of any device but their own pass as they are. Here kernels
of the same effect stand under a dispatch key that is there for back ends outside torch, and are active inside `casting`
alone. So every operation is met where torch's own autocast meets it, below Python and above autograd.

Which operations are cast is read from torch's dispatcher, so it is the running release's. How, is from
aten/src/ATen/autocast_mode.h (CUDA) and autocast_mode.cpp (CPU) of pytorch/pytorch: the names below are all but those
that are cast to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

SHORT = torch.bfloat16
KEYS = {"cuda": "AutocastCUDA", "cpu": "AutocastCPU"}  # torch's own
KEY = "AutocastPrivateUse1"  # ours
_BOTH = """
    _convolution.deprecated conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d.input conv_transpose3d.input
    addmm addbmm baddbmm bmm mm matmul linear linalg_vecdot prelu scaled_dot_product_attention
"""
LOWER = {  # to bfloat16
    "cuda": f"""{_BOTH}
        _convolution convolution cudnn_convolution cudnn_convolution_transpose addmv addr mv einsum chain_matmul
        linalg_multi_dot _thnn_fused_lstm_cell _thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
        _cudnn_rnn _scaled_dot_product_flash_attention
    """,
    "cpu": f"""{_BOTH}
        conv1d.padding conv2d.padding conv3d.padding _addmm_activation mkldnn_rnn_layer
        _native_multi_head_attention
    """,
}
WIDEST = {  # to float32 if one of the tensors is
    "cuda": "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add",
    "cpu": "stack cat index_copy",
}
RESULT = {  # told to answer in float32 where the caller names no dtype
    "cuda": """
        prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm
        linalg_matrix_norm.str_ord sum sum.dim_IntList
    """,
    "cpu": "",
}


@dataclass
class _Region:
    """The autocast that is active: what is done to each operation, and casts of trained weights, kept to its end."""

    policies: dict[str, Callable[..., Any]]
    casts: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


_active: list[_Region] = []


@contextmanager
def casting(device: str) -> Iterator[None]:
    """torch.autocast(device, torch.bfloat16), "cuda" or "cpu", for tensors on the meta device."""
    _registered()
    included = torch._C._dispatch_tls_is_dispatch_key_included(KEY)
    _active.append(_Region(policies(device), _active[-1].casts if _active else {}))  # one cache, as torch has it
    _switch(True)
    try:
        yield
    finally:
        _switch(included)
        _active.pop()


def checkpointing(denoiser: nn.Module, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
    """`enable_gradient_checkpointing` of diffusers, whose second computation runs within `autocast()` as the first.

    torch enters its own autocast again by itself; of ours it knows nothing.
    """
    from torch.utils.checkpoint import checkpoint

    def again(module: nn.Module, *args: Any) -> Any:
        return checkpoint(module.__call__, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), autocast()))

    one: Any = denoiser
    one.enable_gradient_checkpointing(again)


def lowered(*tensors: Any) -> tuple[Any, ...]:
    """The arguments of an operation that autocast runs in bfloat16, cast where `casting` is on; else as they are."""
    on = torch._C._dispatch_tls_is_dispatch_key_included(KEY)
    return tuple(_cast(x, SHORT) if on and isinstance(x, Tensor) else x for x in tensors)


@cache
def policies(device: str) -> dict[str, Callable[..., Any]]:
    """What is done to each of torch's operations that autocast knows on "cuda" or "cpu", by name with overload."""
    named = {name: how for names, how in ((LOWER, _lower), (WIDEST, _widest), (RESULT, _result))
             for name in names[device].split()}  # fmt: skip
    known = torch._C._dispatch_get_registrations_for_dispatch_key(KEYS[device])
    operators = [name.removeprefix("aten::") for name in known if name.startswith("aten::")]
    return {name: named.get(name, _full) for name in operators}


def _switch(on: bool) -> None:
    torch._C._dispatch_tls_set_dispatch_key_excluded(KEY, not on)
    torch._C._dispatch_tls_set_dispatch_key_included(KEY, on)


@cache
def _registered() -> tuple[torch.library.Library, ...]:
    """Kernels for the operations of all devices; inactive while the key is off, as it is everywhere else."""
    rest = torch.library.Library("_", "IMPL")
    rest.fallback(torch.library.fallthrough_kernel, KEY)
    library = torch.library.Library("aten", "IMPL")
    for name in sorted({name for device in KEYS for name in policies(device)}):
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet), overload or "default")
        library.impl(name, partial(_kernel, name, op), KEY)
    return library, rest


_OURS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)  # pyright: ignore[reportAttributeAccessIssue]


def _kernel(name: str, op: Any, *args: Any, **kwargs: Any) -> Any:
    how = _active[-1].policies.get(name)
    if how is None and op.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
        return op.decompose(*args, **kwargs)  # another device's: here its parts are cast, each by its own rule
    with torch._C._ExcludeDispatchKeyGuard(_OURS):  # what it is made of is left alone
        return op(*args, **kwargs) if how is None else how(op, args, kwargs)


def _lower(op: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = _each((args, kwargs), SHORT)
    return op(*args, **kwargs)


def _full(op: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = _each((args, kwargs), torch.float32)
    return op(*args, **kwargs)


def _widest(op: Any, args: Any, kwargs: Any) -> Any:
    full = any(x.dtype is torch.float32 for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.is_meta)
    args, kwargs = _each((args, kwargs), torch.float32 if full else SHORT)
    return op(*args, **kwargs)


def _result(op: Any, args: Any, kwargs: Any) -> Any:
    arguments = op._schema.arguments
    at = next(i for i, one in enumerate(arguments) if one.name == "dtype")
    if not _castable(args[0]) or kwargs.get("dtype") is not None or (len(args) > at and args[at] is not None):
        return op(*args, **kwargs)
    return op(*args[:at], **{**kwargs, "dtype": torch.float32})


def _each(x: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(Tensor, lambda one: _cast(one, dtype), x)


def _castable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_meta and x.is_floating_point() and x.dtype is not torch.float64


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    if not _castable(x) or x.dtype is dtype:
        return x
    if not (dtype is SHORT and x.dtype is torch.float32 and x.requires_grad and x.is_leaf and not x._is_view()):
        return x.to(dtype)
    casts = _active[-1].casts  # a trained weight is cast once for the whole forward pass
    if id(x) not in casts:
        casts[id(x)] = x, x.to(dtype)
    return casts[id(x)][1]
