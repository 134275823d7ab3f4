"""Peak bytes of live tensors, counted by watching every operation: the same number on every run and every machine.

A process's own high-water mark (`process_peak`) moves with allocator, threads and history; it stands beside the count,
never in its place. Memory that a kernel takes and gives back inside one operation is seen by neither on purpose.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bench.cost.flops import cost_of


@dataclass(frozen=True)
class Peak:
    """resident: bytes there before the work; bytes: the most that lived at one time, resident included."""

    resident: int
    bytes: int

    @property
    def extra(self) -> int:
        """Bytes that the work itself added at its worst."""
        return self.bytes - self.resident


def peak(work: Callable[[], object], resident: Iterable[Tensor] = ()) -> Peak:
    """Peak live tensor bytes while `work()` runs, on top of the tensors of `resident` (weights, inputs).

    Storages are counted once, however many tensors share them. What `work` keeps alive when it returns counts to its
    end. Works on any device; on the meta device it counts what the shapes would take.
    """
    live = Live(resident)
    before = live.now
    with steady(), live:
        work()
    return Peak(before, live.most)


@contextmanager
def steady(tidy: bool = True) -> Iterator[None]:
    """Inside, no cycle is broken at a chance moment, which would make a count of live bytes a matter of chance.

    `tidy` breaks them before, which gives back what earlier work has left.
    """
    if tidy:
        gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Live(TorchDispatchMode):
    """Adds a storage when an operation first shows it, and takes it off when it dies.

    now, most  bytes that live at this moment, and the most so far; flops  theoretical FLOPs so far
    """

    def __init__(self, resident: Iterable[Tensor]):
        super().__init__()
        self.now = self.most = self.flops = 0
        self.known: dict[int, int] = {}  # id of the storage -> bytes
        for tensor in resident:
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for x in args:  # what was there before counts from its first use
            self._look(x)
        if kwargs:
            self._look(kwargs)
        out = func(*args, **kwargs)
        self._look(out)
        self.flops += cost_of(func, args, kwargs, out)
        return out

    def _look(self, x: Any) -> None:
        if isinstance(x, Tensor):
            self._see(x)
        elif isinstance(x, (tuple, list, dict)):
            for y in tree_iter(x):
                if isinstance(y, Tensor):
                    self._see(y)

    def _see(self, tensor: Tensor) -> None:
        if tensor.is_sparse:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            self.now += size - self.known[key]  # resized in place
        else:
            # torch keeps one Python object per storage alive as long as the storage, so its end is the storage's end.
            weakref.finalize(storage, self._gone, key).atexit = False
            self.now += size
        self.known[key] = size
        self.most = max(self.most, self.now)

    def _gone(self, key: int) -> None:
        self.now -= self.known.pop(key, 0)


def process_peak() -> int:
    """High-water mark in bytes of this process's memory since its start; it cannot be set back. 0 where unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def module_tensors(*modules: torch.nn.Module) -> list[Tensor]:
    """All parameters and buffers, as `resident` wants them."""
    return [p for module in modules for p in (*module.parameters(), *module.buffers())]
