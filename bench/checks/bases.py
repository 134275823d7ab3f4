"""The examination of a base: what the harness relies on, said so that its author can run it.

Each check takes a Case and fails with an AssertionError in plain words. `examine_base` runs them all and reports,
`check_base` raises, `check_base_file` serves `litmus check-base FILE`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.bases import BaseSource, base_facts, load_base, source_of
from bench.bases.base import Base
from bench.bases.kinds.pipeline import Pipeline
from bench.bases.tiny import write
from bench.checks.families import examine_family
from bench.checks.result import Result, attempt, demand
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.network.calls import Context
from bench.network.family import Family
from bench.plugin.registry import load_file

PROMPTS = ("a dog on the beach", "a red car")
TOLERANCE = 1e-4  # relative, of noise added and taken away again in float32


@dataclass(frozen=True)
class Case:
    """A base to be examined: `source` makes it, `name` is how a protocol writes it."""

    source: BaseSource
    name: str

    @cached_property
    def raw(self) -> Base:
        """As `load` itself gives it."""
        return self.source.load()

    @cached_property
    def base(self) -> Base:
        """As the harness has it, on the device that it works on."""
        return load_base(self.name).working()

    @cached_property
    def pictures(self) -> Tensor:
        """(2, 3, H, W) in [0, 1]."""
        side = self.base.resolution
        h, w = (side, side) if isinstance(side, int) else side
        return torch.rand(2, 3, h, w, generator=rng("check base", "pictures"))

    def noise(self, purpose: str) -> Tensor:
        return torch.randn(2, *self.base.latent_shape, generator=rng("check base", purpose))

    def predict(self, x: Tensor, t: Tensor, context: Any) -> Tensor:
        base = self.base
        with torch.no_grad(), base.autocast():
            return base.net(x.to(base.device), t.to(base.device), context).float().cpu()


def digest_repeats(case: Case) -> None:
    """Two loads give the same weights and the same digest, which is the one that a plan is told."""
    again = case.source.load()
    assert again.digest == case.raw.digest, "two loads have two digests: compute it from the files or the weights"
    odd = [k for k, x in _tensors(case.raw).items() if not x.equal(_tensors(again)[k])]
    assert not odd, f"two loads of one digest differ in {odd[0]}: draw random weights from a seed of their own"
    told = base_facts(case.name)[1]
    loaded = load_base(case.name).digest
    assert told == loaded, f"digest() says {told[:12]} and the loaded base {loaded[:12]}: they must be one"


def _tensors(base: Base) -> dict[str, Tensor]:
    parts: dict[str, nn.Module] = {"net": base.net, "vae": base.vae}
    return {f"{part}.{k}": x for part, module in parts.items() for k, x in module.state_dict().items()}


def stays_frozen(case: Case) -> None:
    """After a picture is encoded, denoised and decoded nothing requires grad, and all is in eval mode."""
    base = case.base
    latents = base.encode(case.pictures.to(_device(base.vae))).cpu()
    case.predict(latents, torch.tensor([100, 700]), base.encode_text(list(PROMPTS)))
    base.decode(latents)
    for part, module in (("net", base.net), ("vae", base.vae)):
        learns = [k for k, p in module.named_parameters() if p.requires_grad]
        assert not learns, f"{part}.{learns[0]} requires grad after use: only a method makes something train"
        assert not any(m.training for m in module.modules()), f"{part} is in training mode after use: leave it in eval"


def codec_fits(case: Case) -> None:
    """Pictures become latents of latent_shape, and latents pictures of the resolution, in [0, 1], repeatably."""
    base = case.base
    latents = base.encode(case.pictures.to(_device(base.vae)))
    wanted = (2, *base.latent_shape)
    assert tuple(latents.shape) == wanted, f"encode gives {tuple(latents.shape)}, latent_shape asks for {wanted}"
    assert latents.isfinite().all(), "encode gives numbers that are not finite"
    assert not latents[0].equal(latents[1]), "encode gives one latent for two pictures"
    images = base.decode(latents)
    assert images.shape == case.pictures.shape, (
        f"decode gives {tuple(images.shape)}, the resolution asks for {tuple(case.pictures.shape)}"
    )
    assert images.dtype == torch.float32, f"decode gives {images.dtype}, not float32"
    assert images.device.type == "cpu", "decode leaves pictures on the device: they are judged on the CPU"
    low, high = images.min().item(), images.max().item()
    assert max(-low, high - 1) <= 0, f"decode gives pictures from {low:.2g} to {high:.2g}, not from 0 to 1"
    assert images.equal(base.decode(latents)), "decode gives another picture for the same latents"


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def encodes_text(case: Case) -> None:
    """Text states (B, L, D) that hang on the prompt, and not on the prompts beside it; the empty prompt has some."""
    base = case.base
    with torch.no_grad():
        both = _states(base.encode_text([*PROMPTS, ""]))
        alone = _states(base.encode_text([PROMPTS[0]]))
    assert both.ndim == 3, f"encode_text gives {tuple(both.shape)}, not (prompts, tokens, width)"
    assert len(both) == 3, f"encode_text gives {len(both)} rows for 3 prompts"
    assert both.isfinite().all(), "encode_text gives numbers that are not finite"
    assert not both[0].allclose(both[1]), "encode_text gives the same for two prompts"
    close = alone.shape[1:] == both.shape[1:] and alone[0].allclose(both[0], rtol=1e-3, atol=1e-3)
    assert close, "a prompt alone is encoded otherwise than beside others: pad all to one length"


def _states(told: Tensor | Context) -> Tensor:
    return (told.states if isinstance(told, Context) else told).float()


def predicts(case: Case) -> None:
    """The network takes latents, times and what encode_text gives, and its prediction hangs on each."""
    x, t = case.noise("x"), torch.tensor([100, 700])
    told = case.base.encode_text(list(PROMPTS))
    y = case.predict(x, t, told)
    assert y.shape == x.shape, f"the network gives {tuple(y.shape)} for latents of {tuple(x.shape)}"
    assert y.isfinite().all(), "the network gives numbers that are not finite"
    others = {
        "latents": (x + 1, t, told),
        "times": (x, t + 200, told),
        "prompts": (x, t, case.base.encode_text([*reversed(PROMPTS)])),
    }
    for what, given in others.items():
        assert not case.predict(*given).equal(y), f"the prediction does not hang on the {what}"
    assert case.predict(x, t, told).equal(y), "the same input gives another prediction: is something random in it?"


def schedule_goes_round(case: Case) -> None:
    """Noise that is added can be taken away again, times are the schedule's own and run from noise to clean."""
    schedule = case.base.schedule
    x0, eps = case.noise("clean"), case.noise("noise")
    for time in schedule.draw(4, rng("check base", "times")):
        t = time.expand(2)
        back = schedule.split(schedule.add_noise(x0, eps, t), schedule.target(x0, eps, t), t)
        for what, found, wanted in zip(("the clean latent", "the noise"), back, (x0, eps), strict=True):
            off = (found - wanted).abs().max().item() / wanted.abs().max().item()
            assert off < 100 * TOLERANCE, f"split does not give back {what} at time {time.item():g} (off by {off:.2g})"
    times = schedule.times(10).float()
    assert len(times) == 10, f"times(10) gives {len(times)}"
    assert (times.diff() < 0).all(), "sampling times do not run from noise to clean"
    assert max(-times[-1], times[0] - len(schedule)) <= 0, f"sampling times leave [0, {len(schedule)}]"


def forks_apart(case: Case) -> None:
    """Changing a fork's network leaves the base's own as it was."""
    base = case.base
    before = {k: x.clone() for k, x in base.net.state_dict().items()}
    fork = base.fork()
    with torch.no_grad():
        for p in fork.net.parameters():
            p.add_(1)
        for m in fork.net.modules():
            m.train()
    try:
        odd = [k for k, x in base.net.state_dict().items() if not x.equal(before[k])]
        assert not odd, f"changing a fork changes the base's own {odd[0]}: the fork must copy it"
        assert not any(m.training for m in base.net.modules()), "the fork shares modules with the base"
    finally:
        with torch.no_grad():
            base.net.load_state_dict(before)
        base.net.eval()


def says_its_words(case: Case) -> None:
    """Its kind says whether any word may be used, as the base itself does; a closed vocabulary is in lower case."""
    words = case.raw.words
    declared = type(case.source).open_words
    assert declared == (words is None), (
        f"open_words = {declared}, and words is {'None' if words is None else 'a vocabulary'}: let them agree"
    )
    odd = sorted(word for word in words or () if word != word.lower())
    assert not odd, f"words holds {odd[0]!r}: write it in lower case"


Check = Callable[[Case], None]
ALL: tuple[Check, ...] = (
    digest_repeats, stays_frozen, codec_fits, encodes_text, predicts, schedule_goes_round, forks_apart, says_its_words,
)  # fmt: skip


def examine_base(name: str) -> list[Result]:
    """Every check on the base called `name`. LitmusError for an unknown one."""
    case = Case(source_of(name), name)
    return [attempt(check, case) for check in ALL]


def check_base(name: str) -> None:
    """For an author's own test suite: AssertionError with a line for each check that the base fails."""
    demand(examine_base(name), f"the base {name} breaks the contract")


def check_base_file(path: str | Path) -> list[Result]:
    """Every check on what the file registers: bases by name, families by their toy and their tiny pipelines.

    Raises LitmusError when the file cannot be loaded, or registers neither.
    """
    found = [cls for cls in load_file(path) if issubclass(cls, BaseSource | Family)]
    if not found:
        raise LitmusError(f"{path} registers no base and no family: decorate a class with @BASES.register")
    return [result for cls in found for result in _of(cls)]


def _of(cls: type[Any]) -> Iterator[Result]:
    if issubclass(cls, BaseSource):
        yield from examine_base(cls.name)
        return
    yield from examine_family(cls.name)
    for name in cls.tiny:
        with tempfile.TemporaryDirectory() as folder:
            at = f"{write(name, Path(folder))}?dtype=fp32"
            results = [attempt(check, case) for case in [Case(Pipeline(at), at)] for check in ALL]
        yield from (Result(r.name, r.ok, r.message, f"tiny {name}") for r in results)
