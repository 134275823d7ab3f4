"""A GPU where there is none: tensors that say they lie on another device, and are computed on the CPU all the same.

An operation on tensors of both devices raises as CUDA does, and so does a draw there by a CPU generator. Numbers are
the CPU's own, so a run on this device has to agree with one on the CPU to the last digit: what differs, or raises, is a
tensor that was made at the wrong place or drawn by the wrong stream.

    python tests/bench/gpu.py BASE OBJECTIVE METHOD ...      one line for each that does not work there
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "privateuseone"  # the name that torch keeps free for devices of others
GPU = torch.device(NAME, 0)
# What CUDA takes from both devices: copies between them, and indices on the CPU.
MIXED = {"copy_", "__getitem__", "__setitem__", "index_put_", "index_put", "set_", "__set__",
         "_has_compatible_shallow_copy_type", "to"}  # fmt: skip
DRAWS = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "randint", "randn", "rand", "randperm",
         "multinomial", "bernoulli", "normal", "trunc_normal_"}  # fmt: skip


class OnGPU(torch.Tensor):
    """A tensor of the device. Its type is all that tells it from one of the CPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copied = _there(_plain(self).detach().clone()).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]


class Device(TorchFunctionMode):
    """Sees also what makes a tensor on the device, or takes one there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})


def _plain(x: Any) -> Any:
    with torch._C.DisableTorchFunction():
        return x.as_subclass(torch.Tensor) if isinstance(x, OnGPU) else x


def _there(x: Any) -> Any:
    with torch._C.DisableTorchFunction():
        return x.as_subclass(OnGPU) if isinstance(x, torch.Tensor) and not isinstance(x, OnGPU) else x


def _named(x: Any) -> str:
    """ "cpu" or NAME where `x` names that device, else ""."""
    kind = x.type if isinstance(x, torch.device) else x.partition(":")[0] if isinstance(x, str) else ""
    return kind if kind in ("cpu", NAME) else ""


def _called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = any(isinstance(x, OnGPU) for x in given)
    if name == "__get__" and there:  # a property
        what = func.__self__.__name__
        if what == "device":
            return GPU
        if what in ("is_cpu", "is_cuda"):
            return False
    if there and name not in MIXED:
        with torch._C.DisableTorchFunction():
            if any(not isinstance(x, OnGPU) and x.dim() and x.device.type == "cpu" for x in given):
                raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two: {name}")
    indexed = name in ("__getitem__", "__setitem__") and there and not isinstance(args[0], OnGPU)
    if indexed and any(isinstance(x, OnGPU) for x in tree_leaves(args[1])):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    if name == "__iter__" and there:
        return iter(args[0].unbind(0))
    if name == "numpy" and there:
        raise TypeError("can't convert a device tensor to numpy: use Tensor.cpu() first")
    told = [x for x in tree_leaves((args, kwargs)) if _named(x)] if name != "__set__" else []
    if name in ("to", "type") or "device" in kwargs:
        targets = [_named(x) for x in told]
        moved = (
            isinstance(args[1], OnGPU) if name == "to" and len(args) > 1 and isinstance(args[1], torch.Tensor) else None
        )
        there = targets[0] == NAME if targets else there if moved is None else moved
        args, kwargs = tree_map(lambda x: torch.device("cpu") if _named(x) else x, (args, kwargs))
    elif name == "cpu":
        there = False
    elif name in ("copy_", "__setitem__", "set_", "__set__") and args:
        there = isinstance(args[0], OnGPU)
    if there and name in DRAWS and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu': {name}")
    crossed = name in ("to", "cpu") and there is not isinstance(args[0], OnGPU)
    with torch._C.DisableTorchFunctionSubclass():
        out = func(*args, **kwargs)
        if crossed and out is args[0]:  # a copy on the other device shares nothing
            out = out.clone()
    return tree_map(_there if there else _plain, out)


@contextmanager
def pretended() -> Iterator[str]:
    """Inside, what is yielded is a device that bases take. For a process of its own: it changes torch and litmus."""
    from bench.core import device

    device.KINDS = (*device.KINDS, NAME)
    device._fault = lambda kind, number: ""
    torch.__future__.set_swap_module_params_on_conversion(True)  # else a moved parameter loses its type
    with Device():
        yield NAME


def runs(base: str, objective: str, specs: list[str]) -> dict[str, Any]:
    """The runs of a small board, by key, resolved as `litmus run` has it."""
    from bench.runner import single
    from bench.runner.plan import expand
    from bench.runner.resolve import look_up

    few = {"steps": 2, "per_prompt": 1}
    rules = single.protocol(
        "gpu", ["pocket/subject-mug"], specs, "0", objective=objective, base=base, extractors="pocket", steps=3,
        batch=2, sampling=few,
    )  # fmt: skip
    return expand(rules, look_up(rules, "cpu"))


def compared(key: str, run: Any, folder: Path) -> str:
    """What differs between a run on the CPU and one on the device, each in a home of its own; "" for nothing."""
    from bench.core.settings import Settings
    from bench.evaluation import references
    from bench.runner.run import execute

    def done(device: str) -> Any:
        home = folder / device
        if not home.is_dir():
            home.mkdir()
            (home / "datasets").symlink_to(Path(__file__).resolve().parents[2] / "datasets")
        os.environ["LITMUS_HOME"] = str(home)
        references._block.cache_clear()
        return execute(key, run, home, lambda *told: None, Settings(device, save=True))

    here = done("cpu")
    with pretended() as device:
        there = done(device)
    for record in (here, there):
        if not record.ok:
            return record.error
    if (here.provenance.machine.device, there.provenance.machine.device) != ("cpu", device):
        return f"the record says it was made on {there.provenance.machine.device}"
    both = [[x for part in ("train", "heldout", "running") for x in getattr(one.curve, part)] for one in (here, there)]
    # On a CPU convolutions are laid out otherwise for drawing (bench.evaluation.sampler.for_sampling).
    if not torch.allclose(*map(torch.tensor, both), rtol=1e-4):
        return f"losses {here.curve.running} on the CPU, {there.curve.running} there"
    far = {name: (x, there.scores[name]) for name, x in here.scores.items() if abs(x - there.scores[name]) > 1e-3}
    return f"scores {far}" if far or here.scores.keys() != there.scores.keys() else ""


def main(base: str, objective: str, specs: list[str]) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for key, run in runs(base, objective, specs).items():
            try:
                fault = compared(key, run, Path(folder))
            except Exception:
                fault = traceback.format_exc()
            failed += bool(fault)
            print(f"{run.spec}: {fault or 'ok'}", flush=True)
    return failed


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
