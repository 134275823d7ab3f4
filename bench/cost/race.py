"""`litmus cost`: seconds and bytes of each method on one base, timed in turns with a reference on the same machine.

A time alone says as much about the machine as about the method; what can be carried elsewhere is the ratio to the
reference (LoRA), measured call by call beside it. The reference is also raced against a second copy of itself: how far
that row is from 1 is what the machine's unrest alone does.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.bases.architectures import build
from bench.core.errors import LitmusError, nearest
from bench.core.rng import rng
from bench.cost.autocast import casting
from bench.cost.forecast import DTYPES, Setting, bare, base_name, batch, chosen, tokens, tuned
from bench.cost.hollow import emptied, hollow, matched
from bench.cost.measure import Example, TrainingStep
from bench.cost.memory import module_tensors
from bench.cost.shared import training_batch
from bench.cost.small import SMALL, SUFFIX, small
from bench.cost.speed import Ratio, clocked, ratio, spans
from bench.cost.step import Step, counted, size
from bench.method import Method, Network, load_state, state
from bench.training.attach import attached_copy

SIDE = 32  # latents of a small network's picture
WARMUP = 3
METHODS = (
    "lora",
    "full",
    "bias",
    "norm",
    "adapter",
    "difffit",
    "dora",
    "svdiff",
)  # of every kind, few enough to wait for


@dataclass(frozen=True)
class Setup:
    """A frozen network to race on, with its batch; `dtype` and `weights` in words for the table.

    `textless` says why methods of the text side do not apply here, where that is known.
    """

    name: str
    net: Network
    example: Example
    dtype: str
    weights: str
    textless: str = ""

    def autocast(self) -> AbstractContextManager[Any]:
        """What the forward pass of training runs in: under "bf16" torch's autocast, as `litmus run` has it."""
        return nullcontext() if self.dtype == "fp32" else torch.autocast(self.example.x.device.type, DTYPES[self.dtype])


@dataclass(frozen=True)
class Result:
    """One method on one base; where it does not apply, `note` says why and the rest is None.

    step, attach, load, merge   seconds, medians (merge: None where nothing is folded in); steps_ratio and so on: as a
                                multiple of the reference's
    unmerged, merged            a denoiser call as a multiple of the frozen base's
    bytes_live                  peak of tensors in a step, counted; bytes_forecast: the same from shapes alone
    bytes_allocated, _reserved  peaks of torch.cuda over training steps; None on a CPU
    """

    base: str
    method: str
    scalars: int | None = None
    share: float | None = None
    bytes_stored: int | None = None
    step: float | None = None
    step_ratio: Ratio | None = None
    images_per_second: float | None = None
    attach: float | None = None
    attach_ratio: Ratio | None = None
    load: float | None = None
    load_ratio: Ratio | None = None
    merge: float | None = None
    merge_ratio: Ratio | None = None
    unmerged: Ratio | None = None
    merged: Ratio | None = None
    bytes_live: int | None = None
    bytes_forecast: int | None = None
    bytes_allocated: int | None = None
    bytes_reserved: int | None = None
    note: str = ""


def set_up(name: str, weights: str, setting: Setting, device: torch.device, dtype: str | None = None) -> Setup:
    """The base `name` on `device`: NAME-small and `weights` "random" need no files, else as `litmus run` loads it.

    `dtype` is the one that was asked for, if any: a folder or a hub id has its own, elsewhere it is the setting's.
    Raises LitmusError for an unknown name, weights that are not there, or a dtype that is not the base's.
    """
    if weights not in ("real", "random"):
        raise LitmusError(nearest(weights, ("real", "random"), "weights"))
    frozen = DTYPES[setting.dtype]

    def random(net: Network, side: int, tokens: int) -> Example:
        return batch(net, setting.batch, side, tokens, torch.float32, frozen)

    if name.endswith(SUFFIX):
        key = name.removesuffix(SUFFIX)
        if key not in SMALL:
            raise LitmusError(nearest(name, [f"{one}{SUFFIX}" for one in SMALL], "small base"))
        net = small(key).to(device=device, dtype=frozen)
        return Setup(name, net, random(net, SIDE, SMALL[key].tokens), setting.dtype, "random, small")
    if weights == "random":
        key = base_name(name)
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            net = build(key).to(dtype=frozen).eval()
        return Setup(key, net, random(net, setting.side(key), tokens(key)), setting.dtype, "random")
    return _loaded(name, setting, device, dtype)


def _loaded(name: str, setting: Setting, device: torch.device, dtype: str | None) -> Setup:
    from bench.bases import find_source, load_base
    from bench.bases.spec import with_options

    source = find_source(name)
    if dtype and source and source.dtype not in (None, dtype):
        raise LitmusError(
            f"{name} is in {source.dtype}, not in {dtype}: leave --dtype out, or give "
            f"--base '{with_options(name, dtype=dtype)}'"
        )
    base, textless = load_base(name, setting.dtype, str(device)), ""
    example = training_batch(base, setting.batch)
    try:
        base = base.with_text()
        example = replace(example, ids=base.tokens(["a photo"] * setting.batch))
    except LitmusError as error:
        textless = str(error)
    net = copy.deepcopy(base.net).to(device)
    return Setup(name, net, example.to(device), base.compute, "real", textless)


def race(
    setup: Setup,
    methods: Sequence[str] = (),
    reference: str = "lora",
    blocks: int = 8,
    calls: int = 2,
    warmup: int = WARMUP,
    before: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """A result per method (a spec; the registry's for "all"), the reference first; `blocks` of `calls` calls each.

    `before` is called before each.
    """
    other, runners = _runners(methods, reference)
    for method in runners:
        before()
        try:
            yield _one(setup, method, other, blocks, calls, warmup)
        except LitmusError as error:
            yield Result(setup.name, method.spec, note=str(error))
        except RuntimeError as error:
            if "scalar type" not in str(error):
                raise
            yield Result(setup.name, method.spec, note=f"does not train in {setup.dtype} on this device: {error}")
        if setup.example.x.is_cuda:
            torch.cuda.empty_cache()


def runners(methods: Sequence[str], reference: str) -> int:
    """How many results `race` gives on each base."""
    return len(_runners(methods, reference)[1])


def _runners(methods: Sequence[str], reference: str) -> tuple[Method, list[Method]]:
    (other,) = chosen([reference])
    return other, [other, *(m for m in chosen(methods) if m != other)]


def _one(setup: Setup, method: Method, reference: Method, blocks: int, calls: int, warmup: int) -> Result:
    if method.side != "denoiser" and setup.textless:
        raise LitmusError(setup.textless)
    mine = tuned(setup.net, method)
    saved = list(state(mine).values())
    scalars, whole = (sum(p.numel() for p in part) for part in (saved, setup.net.denoiser.parameters()))
    bytes_ = _bytes(setup, method, mine)
    example = setup.example
    steps = spans(
        {
            "mine": TrainingStep(method, mine.train(), example, setup.autocast, fused=True),
            "other": TrainingStep(reference, tuned(setup.net, reference).train(), example, setup.autocast, fused=True),
        },
        warmup,
        blocks * calls,
    )
    mine.zero_grad(set_to_none=True)
    seconds = statistics.median(steps["mine"])
    return Result(
        base=setup.name,
        method=method.spec,
        scalars=scalars,
        share=scalars / whole,
        bytes_stored=size(saved),
        step=seconds,
        step_ratio=ratio(steps["mine"], steps["other"], blocks),
        images_per_second=len(example.x) / seconds,
        **bytes_,
        **_calls(setup, method, mine.eval(), blocks, calls, warmup),
        **_handling(setup, method, reference, blocks),
    )


def _bytes(setup: Setup, method: Method, net: Network) -> dict[str, int | None]:
    """Peaks of a step that is not the first, alone on the device, and what is forecast for it."""
    seen = counted(method, net, setup.example, setup.autocast)
    step = TrainingStep(method, net, setup.example, setup.autocast, fused=True)
    forecast = _forecast(setup, method, net)
    return {"bytes_live": seen.peak, "bytes_forecast": forecast and forecast.peak, **_cuda(step, setup)}


def _cuda(step: TrainingStep, setup: Setup) -> dict[str, int | None]:
    if not setup.example.x.is_cuda:
        return {"bytes_allocated": None, "bytes_reserved": None}
    step()
    frozen = size(module_tensors(setup.net))  # the untouched base lies beside the attached copy
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    return {
        "bytes_allocated": torch.cuda.max_memory_allocated() - frozen,
        "bytes_reserved": torch.cuda.max_memory_reserved() - frozen,
    }


def _forecast(setup: Setup, method: Method, real: Network) -> Step | None:
    kind = setup.example.x.device.type
    with hollow():
        own = tuned(emptied(setup.net), method)
        matched(own, real)
        try:
            return counted(
                method, own, setup.example.to("meta"), nullcontext if setup.dtype == "fp32" else lambda: casting(kind)
            )
        except (RuntimeError, TypeError, ValueError):  # a method that reads numbers cannot be forecast
            return None


def _calls(setup: Setup, method: Method, net: Network, blocks: int, calls: int, warmup: int) -> dict[str, Ratio | None]:
    """A denoiser call against the frozen base's, before and after merging."""
    nets = {"base": setup.net, "unmerged": net}
    if method.mergeable:
        nets["merged"] = copy.deepcopy(net)
        method.merge(nets["merged"])

    def work(one: Network) -> Callable[[], object]:
        @torch.no_grad()
        def call() -> object:
            with setup.autocast():
                return one(setup.example.x, setup.example.t, setup.example.context)

        return call

    times = spans({name: work(one) for name, one in nets.items()}, warmup, blocks * calls)
    return {
        name: ratio(times[name], times["base"], blocks) if name in times else None for name in ("unmerged", "merged")
    }


def _handling(setup: Setup, method: Method, reference: Method, blocks: int) -> dict[str, Any]:
    """Attaching, loading a saved state and merging: each done anew in every block by both, on a copy of the base."""
    both = {"mine": method, "other": reference}
    took: dict[tuple[str, str], list[float]] = {}
    for i in range(blocks + 1):  # the first is thrown away
        for who, one in both.items():
            net, seconds = _attached(setup.net, one, i)
            spent = {"attach": seconds}
            saved = {key: p.clone() for key, p in state(net).items()}
            spent["load"] = clocked(lambda: load_state(net, saved))  # noqa: B023
            if folds(one):
                spent["merge"] = clocked(lambda: one.merge(net))  # noqa: B023
            for what, seconds in spent.items():
                took.setdefault((what, who), []).extend([seconds] if i else [])
    out: dict[str, Any] = {}
    for what in ("attach", "load", "merge"):
        mine, other = (took.get((what, who)) for who in both)
        out[what] = statistics.median(mine) if mine else None
        out[f"{what}_ratio"] = ratio(mine, other, blocks) if mine and other else None
    return out


def folds(method: Method) -> bool:
    """Whether merging is any work: a method that trains the base's own tensors has nothing to fold in."""
    return method.mergeable and type(method).merge is not Method.merge


def _attached(net: Network, method: Method, seed: int) -> tuple[Network, float]:
    """A copy of `net` with `method` attached as it is trained, and the seconds that attaching took."""
    seconds: list[float] = []  # of each try: the last is the one that gave the copy
    own = attached_copy(
        bare(net, method), method, lambda: rng("cost", seed), around=lambda work: seconds.append(clocked(work))
    )
    return own, seconds[-1]
