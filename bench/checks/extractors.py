"""The examination of extractors: what metrics rely on, said so that their author can run it.

Each check takes a Case and fails with an AssertionError in plain words. `examine_extractors` runs them all and reports,
`check_extractors` raises, `check_extractors_file` serves `litmus check-extractors FILE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.checks.result import Result, attempt, demand
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.extractors import extractors_digest, extractors_source, load_extractors
from bench.extractors.base import Extractors
from bench.extractors.registry import ExtractorsSource
from bench.plugin.registry import load_file

PROMPTS = ("a dog on the beach", "a red car", "")
ROLES = ("identity", "style", "image")
SIDES = (48, 64)  # odd enough for none of them to be the encoder's own resolution
TOLERANCE = 1e-4  # of a unit feature; libraries sum batches in another order


@dataclass(frozen=True)
class Case:
    """Extractors to be examined: `name` is how a protocol writes them."""

    name: str

    @cached_property
    def source(self) -> ExtractorsSource:
        return extractors_source(self.name)

    @cached_property
    def extractors(self) -> Extractors:
        return load_extractors(self.name)

    def pictures(self, side: int = SIDES[0], count: int = 3) -> Tensor:
        """(count, 3, side, side) in [0, 1]: large patches, which survive any resizing."""
        small = torch.rand(count, 3, 4, 4, generator=rng("check extractors", side))
        return torch.nn.functional.interpolate(small, (side, side), mode="nearest")

    def features(self, role: str, images: Tensor) -> Tensor:
        return getattr(self.extractors, role)(images)


def digest_repeats(case: Case) -> None:
    """Two loads have one digest and give the same features; the digest is the one that a plan is told."""
    first, again = case.source.load(), case.source.load()
    assert first.digest == again.digest, "two loads have two digests: compute it from the weights and the preprocessing"
    images = case.pictures()
    for role in ROLES:
        close = getattr(first, role)(images).allclose(getattr(again, role)(images), atol=TOLERANCE)
        assert close, f"two loads of one digest differ in {role}: draw random weights from a seed of their own"
    told, loaded = extractors_digest(case.name), case.extractors.digest
    assert told == loaded, f"digest() says {told[:12]} and what load() returns {loaded[:12]}: they must be one"


def features_are_unit(case: Case) -> None:
    """Every role gives float32 features (pictures, width) of length 1 on the CPU, other ones for another picture."""
    images = case.pictures()
    for role in ROLES:
        found = case.features(role, images)
        assert found.ndim == 2, f"{role} gives {tuple(found.shape)}, not (pictures, width)"
        assert len(found) == len(images), f"{role} gives {len(found)} rows for {len(images)} pictures"
        _sound(role, found)
        assert not found[0].allclose(found[1], atol=TOLERANCE), f"{role} gives the same for two pictures"


def _sound(what: str, features: Tensor) -> None:
    assert features.isfinite().all(), f"{what} gives numbers that are not finite"
    assert features.dtype == torch.float32, f"{what} gives {features.dtype}, not float32"
    assert features.device.type == "cpu", f"{what} leaves features on the device: metrics are computed on the CPU"
    off = (features.norm(dim=-1) - 1).abs().max().item()
    assert off < TOLERANCE, f"{what} gives features that are not of length 1 (off by {off:.2g})"


def takes_any_size(case: Case) -> None:
    """Pictures of any side give features of one width, about the same for the same picture enlarged."""
    small, large = case.pictures(SIDES[0]), case.pictures(SIDES[0]).repeat_interleave(2, -1).repeat_interleave(2, -2)
    for role in ROLES:
        one, other = case.features(role, small), case.features(role, large)
        assert one.shape == other.shape, (
            f"{role} gives width {one.shape[-1]} at {SIDES[0]} px and {other.shape[-1]} at twice that"
        )
        same, mixed = (one * other).sum(-1).mean().item(), (one * other.roll(1, 0)).sum(-1).mean().item()
        assert same > mixed, (
            f"{role}: a picture enlarged is less like itself ({same:.3f}) than like another ({mixed:.3f})"
        )


def pictures_stand_alone(case: Case) -> None:
    """A picture's features do not hang on the pictures beside it, nor on how many there are."""
    images = case.pictures(count=4)
    for role in ROLES:
        together = case.features(role, images)
        off = max((case.features(role, images[i : i + 1])[0] - together[i]).abs().max().item() for i in (0, 3))
        assert off < TOLERANCE, (
            f"{role} of a picture alone differs from beside others by {off:.2g}: is a norm in training mode?"
        )


def changes_nothing(case: Case) -> None:
    """Pictures are left as they came, no gradient is kept, and the same pictures give the same features again."""
    images = case.pictures()
    for role in ROLES:
        given = images.clone()
        first = case.features(role, given)
        assert given.equal(images), f"{role} changes the pictures that it is given"
        assert not first.requires_grad, f"{role} gives features that require grad: freeze the encoder"
        assert case.features(role, given).allclose(first, atol=TOLERANCE), (
            f"{role} gives other features the second time"
        )


def reads_prompts(case: Case) -> None:
    """Prompts have features in the space of `image`, the empty one too, whatever stands beside them."""
    found = case.extractors.text(list(PROMPTS))
    width = case.features("image", case.pictures()).shape[-1]
    assert tuple(found.shape) == (len(PROMPTS), width), (
        f"text gives {tuple(found.shape)} for {len(PROMPTS)} prompts, image has width {width}: they share one space"
    )
    assert found.isfinite().all(), "text gives numbers that are not finite"
    assert not found[0].allclose(found[1], atol=TOLERANCE), "text gives the same for two prompts"
    alone = case.extractors.text([PROMPTS[0]])[0]
    assert alone.allclose(found[0], atol=TOLERANCE), "a prompt alone is read otherwise than beside others"


def attributes_fit(case: Case) -> None:
    """Logits for exactly the attributes in `labels`, one column for each of their names; none without labels."""
    labels, images = case.extractors.labels, case.pictures()
    found = case.extractors.attributes(images)
    assert found.keys() == labels.keys(), f"attributes gives {sorted(found)}, labels has {sorted(labels)}"
    for name, names in labels.items():
        assert len(names) == len(set(names)), f"labels[{name!r}] says a name twice"
        shape = tuple(found[name].shape)
        assert shape == (len(images), len(names)), f"attributes[{name!r}] is {shape} for {len(names)} names"
        assert found[name].isfinite().all(), f"attributes[{name!r}] has numbers that are not finite"


Check = Callable[[Case], None]
ALL: tuple[Check, ...] = (
    digest_repeats, features_are_unit, takes_any_size, pictures_stand_alone, changes_nothing, reads_prompts,
    attributes_fit,
)  # fmt: skip


def examine_extractors(name: str) -> list[Result]:
    """Every check on the extractors called `name`. LitmusError for unknown ones, and for weights that are not here."""
    case = Case(name)
    case.source.load()
    return [attempt(check, case) for check in ALL]


def check_extractors(name: str) -> None:
    """For an author's own test suite: AssertionError with a line for each check that the extractors fail."""
    demand(examine_extractors(name), f"the extractors {name} break the contract")


def check_extractors_file(path: str | Path) -> list[Result]:
    """Every check on all extractors that the file registers. LitmusError when it cannot be loaded or registers none."""
    found = [cls for cls in load_file(path) if issubclass(cls, ExtractorsSource)]
    if not found:
        raise LitmusError(f"{path} registers no extractors: decorate a class with @EXTRACTORS.register")
    return [result for cls in found for result in examine_extractors(cls.name)]
