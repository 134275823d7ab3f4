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
from bench.config import LitmusError, nearest
from bench.cost.hollow import emptied, hollow, matched
from bench.cost.measure import Example, TrainingStep
from bench.cost.memory import module_tensors
from bench.cost.small import SMALL, SUFFIX, small
from bench.cost.speed import Ratio, clocked, ratio, spans
from bench.cost.step import Step, counted, size
from bench.fit.forecast import DTYPES, Setting, base_name, batch, chosen, tokens, tuned
from bench.method import Method, Network, attached, load_state, state
from bench.params import spec_of
from bench.rng import rng

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
class Ground:
    """A frozen network to race on, with its batch; `dtype` and `weights` in words for the table."""

    name: str
    net: Network
    example: Example
    dtype: str
    weights: str
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Result:
    """One method on one base; without a place there, `note` says why and the rest is None.

    step, attach, load, merge   seconds, medians; steps_ratio and so on: as a multiple of the reference's
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


def ground(name: str, weights: str, setting: Setting, device: torch.device) -> Ground:
    """The base `name` on `device`: NAME-small and `weights` "random" need no files, else as `litmus run` loads it.

    Raises LitmusError for an unknown name, or weights that are not there.
    """
    if weights not in ("real", "random"):
        raise LitmusError(nearest(weights, ("real", "random"), "weights"))
    if name.endswith(SUFFIX):
        key = name.removesuffix(SUFFIX)
        if key not in SMALL:
            raise LitmusError(nearest(name, [f"{one}{SUFFIX}" for one in SMALL], "small base"))
        net = small(key).to(device=device, dtype=DTYPES[setting.dtype])
        return Ground(name, net, batch(net, setting.batch, SIDE, SMALL[key].tokens), setting.dtype, "random, small")
    if weights == "random":
        key = base_name(name)
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            net = build(key).to(dtype=DTYPES[setting.dtype]).eval()
        example = batch(net, setting.batch, setting.side(key), tokens(key))
        return Ground(key, net, example, setting.dtype, "random")
    return _loaded(name, setting, device)


def _loaded(name: str, setting: Setting, device: torch.device) -> Ground:
    from bench.bases import load_base

    base = load_base(name, setting.dtype)
    _, tokens, features = base.encode_text([""]).shape
    net = copy.deepcopy(base.net).to(device)
    like = next(net.denoiser.parameters())
    example = Example.random((setting.batch, *base.latent_shape), tokens, features, like)
    example = replace(example, ids=base.tokens(["a photo"] * setting.batch).to(device))
    return Ground(name, net, example, setting.dtype, "real", lambda: _autocast(setting.dtype, device))


def _autocast(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    return nullcontext() if dtype == "fp32" else torch.autocast(device.type, DTYPES[dtype])


def race(
    place: Ground,
    methods: Sequence[str] = (),
    reference: str = "lora",
    blocks: int = 8,
    calls: int = 2,
    warmup: int = WARMUP,
) -> Iterator[Result]:
    """A result per method (a spec; the registry's for "all"), the reference first; `blocks` of `calls` calls each."""
    (other,) = chosen([reference])
    for method in [other, *(m for m in chosen(methods) if m != other)]:
        try:
            yield _one(place, method, other, blocks, calls, warmup)
        except LitmusError as error:
            yield Result(place.name, spec_of(method), note=str(error))
        if place.example.x.is_cuda:
            torch.cuda.empty_cache()


def _one(place: Ground, method: Method, reference: Method, blocks: int, calls: int, warmup: int) -> Result:
    mine = tuned(place.net, method)
    saved = list(state(mine).values())
    scalars, whole = (sum(p.numel() for p in part) for part in (saved, place.net.denoiser.parameters()))
    bytes_ = _bytes(place, method, mine)
    example = place.example
    steps = spans(
        {
            "mine": TrainingStep(method, mine.train(), example, place.autocast, fused=True),
            "other": TrainingStep(reference, tuned(place.net, reference).train(), example, place.autocast, fused=True),
        },
        warmup,
        blocks * calls,
    )
    mine.zero_grad(set_to_none=True)
    seconds = statistics.median(steps["mine"])
    return Result(
        base=place.name,
        method=spec_of(method),
        scalars=scalars,
        share=scalars / whole,
        bytes_stored=size(saved),
        step=seconds,
        step_ratio=ratio(steps["mine"], steps["other"], blocks),
        images_per_second=len(example.x) / seconds,
        **bytes_,
        **_calls(place, method, mine.eval(), blocks, calls, warmup),
        **_handling(place, method, reference, blocks),
    )


def _bytes(place: Ground, method: Method, net: Network) -> dict[str, int | None]:
    """Peaks of a step that is not the first, alone on the device; the forecast knows no autocast, so none under it."""
    if place.weights == "real" and place.dtype != "fp32":
        step = TrainingStep(method, net.train(), place.example, place.autocast, fused=True)
        return {"bytes_live": None, "bytes_forecast": None, **_cuda(step, place)}
    seen = counted(method, net, place.example)
    step = TrainingStep(method, net, place.example, fused=True)
    forecast = _forecast(place, method, net)
    return {
        "bytes_live": seen.peak,
        "bytes_forecast": forecast and forecast.peak,
        **_cuda(step, place),
    }


def _cuda(step: TrainingStep, place: Ground) -> dict[str, int | None]:
    if not place.example.x.is_cuda:
        return {"bytes_allocated": None, "bytes_reserved": None}
    step()
    frozen = size(module_tensors(place.net))  # the untouched base lies beside the attached copy
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    return {
        "bytes_allocated": torch.cuda.max_memory_allocated() - frozen,
        "bytes_reserved": torch.cuda.max_memory_reserved() - frozen,
    }


def _forecast(place: Ground, method: Method, real: Network) -> Step | None:
    with hollow():
        own = tuned(emptied(place.net), method)
        matched(own, real)
        example = replace(
            place.example,
            **{key: value.to("meta") for key, value in vars(place.example).items() if value is not None},
        )
        try:
            return counted(method, own, example)
        except (RuntimeError, TypeError, ValueError):  # a method that reads numbers cannot be forecast
            return None


def _calls(
    place: Ground, method: Method, net: Network, blocks: int, calls: int, warmup: int
) -> dict[str, Ratio | None]:
    """A denoiser call against the frozen base's, before and after merging."""
    nets = {"base": place.net, "unmerged": net}
    if method.mergeable:
        nets["merged"] = copy.deepcopy(net)
        method.merge(nets["merged"])

    def work(one: Network) -> Callable[[], object]:
        @torch.no_grad()
        def call() -> object:
            with place.autocast():
                return one(place.example.x, place.example.t, place.example.context)

        return call

    found = spans({name: work(one) for name, one in nets.items()}, warmup, blocks * calls)
    return {
        name: ratio(found[name], found["base"], blocks) if name in found else None for name in ("unmerged", "merged")
    }


def _handling(place: Ground, method: Method, reference: Method, blocks: int) -> dict[str, Any]:
    """Attaching, loading a saved state and merging: each done anew in every block by both, on a copy of the base."""
    both = {"mine": method, "other": reference}
    took: dict[tuple[str, str], list[float]] = {}
    for i in range(blocks + 1):  # the first is thrown away
        for who, one in both.items():
            net = _bare(place.net, one)
            spent = {"attach": clocked(lambda: attached(one, net, rng("cost", i)))}  # noqa: B023  called at once
            saved = {key: p.clone() for key, p in state(net).items()}
            spent["load"] = clocked(lambda: load_state(net, saved))  # noqa: B023
            if one.mergeable:
                spent["merge"] = clocked(lambda: one.merge(net))  # noqa: B023
            for what, seconds in spent.items():
                took.setdefault((what, who), []).extend([seconds] if i else [])
    out: dict[str, Any] = {}
    for what in ("attach", "load", "merge"):
        mine, other = (took.get((what, who)) for who in both)
        out[what] = statistics.median(mine) if mine else None
        out[f"{what}_ratio"] = ratio(mine, other, blocks) if mine and other else None
    return out


def _bare(net: Network, method: Method) -> Network:
    text = net.text if method.side != "denoiser" else None
    return copy.deepcopy(Network(net.denoiser, text, trigger=(5,) if text is not None else ()))
