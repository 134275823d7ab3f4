"""The examination of extractors passes what is right and finds planted faults."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import pytest
import torch

from bench.checks.extractors import ALL, check_extractors, check_extractors_file, examine_extractors
from bench.core.errors import LitmusError
from bench.extractors import EXTRACTORS, ExtractorsSource, toy
from bench.extractors.base import Extractors


def failed(results) -> dict[str, str]:
    return {r.name: r.message for r in results if not r.ok}


@pytest.mark.parametrize("name", ["toy", "pocket"])
def test_our_own_pass(name):
    results = examine_extractors(name)
    assert failed(results) == {}
    assert len(results) == len(ALL)
    check_extractors(name)


def net(**changes):
    """The toy's, with some of its functions changed: function(the toy's own, its argument)."""

    class Changed(toy._Toy):
        pass

    for role, change in changes.items():
        own = getattr(toy._Toy, role)
        setattr(Changed, role, lambda self, x, own=own, change=change: change(lambda y: own(self, y), x))
    return replace(toy.load(), nets=Changed())


class Long(Extractors):
    """Features as they come."""

    def _unit(self, net, images):
        return net(self._fit(images)).float()


class Learning(Extractors):
    """Weights that are not frozen."""

    def style(self, images):
        weight = torch.ones((), requires_grad=True)
        return super().style(images) * weight


def long() -> Extractors:
    one = toy.load()
    return Long(one.name, one.digest, one.resolution, one.labels, one.nets)


def learning() -> Extractors:
    one = toy.load()
    return Learning(one.name, one.digest, one.resolution, one.labels, one.nets)


def smudge(own, images):
    images.mul_(0.5)
    return own(images)


FAULTS = {
    "random_digest": (
        lambda: replace(toy.load(), digest=hashlib.sha256(torch.rand(4).numpy().tobytes()).hexdigest()),
        "digest_repeats", "two loads have two digests",
    ),
    "random": (
        lambda: net(style=lambda own, x, w=torch.rand(16): own(x) + torch.rand(16)),
        "digest_repeats", "two loads of one digest differ in style",
    ),
    "long": (long, "features_are_unit", "identity gives features that are not of length 1"),
    "blind": (
        lambda: net(image=lambda own, x: torch.ones(len(x), 16)), "features_are_unit", "image gives the same for two",
    ),
    "infinite": (
        lambda: net(style=lambda own, x: own(x) / 0), "features_are_unit", "style gives numbers that are not finite",
    ),
    "grows": (
        lambda: replace(net(identity=lambda own, x: x.flatten(1)), resolution=0),
        "takes_any_size", "identity gives width",
    ),
    "beside": (
        lambda: net(identity=lambda own, x: own(x) - own(x).mean(0, keepdim=True) / 2),
        "pictures_stand_alone", "identity of a picture alone differs",
    ),
    "smudges": (lambda: replace(net(image=smudge), resolution=0), "changes_nothing", "image changes the pictures"),
    "learning": (learning, "changes_nothing", "style gives features that require grad"),
    "deaf": (lambda: net(text=lambda own, p: torch.ones(len(p), 16)), "reads_prompts", "text gives the same for two"),
    "elsewhere": (lambda: net(text=lambda own, p: torch.rand(len(p), 9)), "reads_prompts", "they share one space"),
    "unlabelled": (
        lambda: replace(toy.load(), labels={"class": ["dog"]}), "attributes_fit", r"attributes\['class'\] is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    made, check, words = FAULTS[fault]
    with EXTRACTORS.kept():

        @EXTRACTORS.register
        @dataclass(frozen=True)
        class Faulty(ExtractorsSource):
            name = f"faulty-{fault.replace('_', '-')}"
            title = "a fault"

            def load(self) -> Extractors:
                return made()

        found = failed(examine_extractors(Faulty.name))
        assert check in found, found
        with pytest.raises(AssertionError, match=rf"(?s)break the contract.*{check}: .*{words}"):
            check_extractors(Faulty.name)


def test_what_are_no_extractors_is_said(tmp_path):
    with pytest.raises(LitmusError, match=r"did you mean 'toy'\?"):
        examine_extractors("tyo")
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(LitmusError, match="registers no extractors"):
        check_extractors_file(tmp_path / "empty.py")
