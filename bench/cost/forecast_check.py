"""How good a forecast of bench.cost.forecast is: forecast against measured, on small networks of the same classes.

The step is the trainer's: trained tensors in float32, and on a base in bfloat16 the forward pass under torch.autocast,
whose rules are those of the device that measures. Two measurements of one real step stand beside the forecast. `live`
counts tensors by the same rule as the forecast does, so its error is what shapes alone get wrong. `allocated` is what
torch's own allocator gave out, on a GPU the peak of torch.cuda, so its error also holds what no count of tensors can
see: scratch memory of kernels, and rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from bench.bases.architectures import ARCHITECTURES
from bench.core.errors import LitmusError
from bench.cost.autocast import casting, checkpointing
from bench.cost.forecast import DTYPES, batch, chosen, tuned
from bench.cost.hollow import emptied, hollow, matched
from bench.cost.measure import Example, TrainingStep
from bench.cost.small import SMALL, small
from bench.cost.step import Step, counted
from bench.method import Method, Network, floating

METHODS = ("full", "lora", "bias", "adapter", "svdiff")
SIDE = 32  # latents
PRECISIONS = ("fp32", "bf16")
WAYS = (False, True)  # without and with checkpointing
Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Check:
    """One method on one small network. Bytes are of the peak, resident included."""

    base: str
    method: str
    dtype: str
    checkpointing: bool
    batch: int
    side: int  # of the latents
    device: str
    forecast: int
    live: int
    allocated: int
    saved_forecast: int
    saved: int

    @property
    def error_live(self) -> float:
        """Of the forecast, as a share of what was measured; above 0 it was too high."""
        return self.forecast / self.live - 1

    @property
    def error_allocated(self) -> float:
        return self.forecast / self.allocated - 1

    @property
    def error_saved(self) -> float:
        return self.saved_forecast / self.saved - 1


def checks(
    bases: Sequence[str] = (),
    methods: Sequence[str] = (),
    dtypes: Sequence[str] = PRECISIONS,
    device: str = "cpu",
    size: int = 2,
    side: int = SIDE,
    ways: Sequence[bool] = WAYS,
    before: Callable[[str], None] = lambda base: None,
) -> Iterator[Check]:
    """Forecast and measure each method on each small base; methods that do not apply are left out.

    `size` is the batch, `side` that of its latents, `ways` says without and with checkpointing. `before` is called with
    the base's name before each, those that are left out included: `planned` has the names.
    """
    made = chosen(methods or METHODS)
    for base in bases or SMALL:
        for dtype in dtypes:
            real = small(base).to(device=device, dtype=DTYPES[dtype])
            for method in made:
                for way in ways:
                    before(base)
                    try:
                        yield _check(base, real, method, size, side, way)
                    except LitmusError:
                        continue
                    except RuntimeError as error:  # a CPU's norms take no float32 bias beside a bfloat16 weight
                        if "scalar type" not in str(error):
                            raise


def planned(bases: Sequence[str] = (), methods: Sequence[str] = ()) -> list[str]:
    """The base of each check that `checks` makes by itself, in its order."""
    each = len(PRECISIONS) * len(WAYS) * len(chosen(methods or METHODS))
    return [base for base in bases or SMALL for _ in range(each)]


def _check(base: str, real: Network, method: Method, size: int, side: int, way: bool) -> Check:
    first = next(real.denoiser.parameters())
    mixed, kind = first.dtype is torch.bfloat16, first.device.type

    def count(net: Network, autocast: Autocast) -> tuple[Step, Example]:
        if way:
            checkpointing(net.denoiser, autocast if net.denoiser.device.type == "meta" else nullcontext)
        example = batch(net, size, side, SMALL[base].tokens, torch.float32, first.dtype)
        return counted(method, net, example, autocast), example

    def precision() -> AbstractContextManager[Any]:
        return torch.autocast(kind, torch.bfloat16) if mixed else nullcontext()

    net = tuned(real, method)
    with hollow():
        bare = tuned(emptied(real), method)
        matched(bare, net)
        said, _ = count(bare, lambda: casting(kind) if mixed else nullcontext())
    seen, example = count(net, precision)
    peak = seen.resident + allocated(TrainingStep(method, net, example, precision, fused=True), example.x.device)
    return Check(
        base, method.spec, _dtype(real), way, size, side, example.x.device.type,
        said.peak, seen.peak, peak, said.saved, seen.saved,
    )  # fmt: skip


def _dtype(net: Network) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype is floating(net.denoiser).dtype)


def allocated(step: Callable[[], None], device: torch.device) -> int:
    """The most bytes that torch's allocator had given out at one time during the second call of `step`, beyond what it
    had given out before: on a CPU by the profiler's account, exact; on a GPU by torch.cuda, in blocks of 512 bytes."""
    step()  # AdamW's moments are there from now on
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    result: Any = seen.profiler
    events = [e for e in result.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def table(results: Sequence[Check]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, one per check."""
    header = [
        "base",
        "method",
        "dtype",
        "checkpointing",
        "forecast",
        "live",
        "error",
        "allocated",
        "error",
        "saved, error",
    ]
    body = []
    for c in results:
        numbers = [f"{c.forecast:,}", f"{c.live:,}", _percent(c.error_live), f"{c.allocated:,}"]
        title = f"{ARCHITECTURES[c.base].title}, small"
        yes = "yes" if c.checkpointing else "no"
        body.append([title, c.method, c.dtype, yes, *numbers, _percent(c.error_allocated), _percent(c.error_saved)])
    return header, body


def worst(results: Sequence[Check]) -> str:
    """One line: the largest errors of all."""
    if not results:
        return "nothing was measured"
    live, given = (max((getattr(c, f) for c in results), key=abs) for f in ("error_live", "error_allocated"))
    return f"{len(results)} steps: off by {_percent(live)} of live bytes at worst, {_percent(given)} of allocated bytes"


def _percent(share: float) -> str:
    return f"{100 * share:+.2f} %"


def page(results: Sequence[Check], versions: str, table: str) -> str:
    """The table as a page of Markdown."""
    one = results[0]
    size = f"batch {one.batch}, {one.side} x {one.side} latents, on {one.device}"
    lines = [
        "# How far off the forecast is",
        "",
        "Forecast by `litmus fit --check` and measured on small networks of the same classes with random weights, "
        f"{size}; {versions}. Trained tensors are float32; over weights in bf16 the forward pass runs under autocast. "
        "Bytes of the peak. Live: tensors counted on the real step. Allocated: given out by torch's allocator, scratch "
        "memory of kernels included. An error above 0 says that the forecast was too high.",
        "",
        worst(results),
        "",
        table,
        "",
    ]
    return "\n".join(lines)
