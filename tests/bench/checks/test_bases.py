"""The examination of bases passes what is right and finds planted faults; so does that of families."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases import BASES, BaseSource
from bench.bases.base import Base
from bench.bases.toy import toy_base
from bench.checks.bases import ALL, check_base, check_base_file, examine_base
from bench.checks.families import examine_family
from bench.core.errors import LitmusError
from bench.network.family import FAMILIES
from bench.network.forwards import Inside, visit, widths


def failed(results) -> dict[str, str]:
    return {r.name: r.message for r in results if not r.ok}


@pytest.mark.parametrize("name", ["toy", "pocket"])
def test_our_own_pass(name):
    results = examine_base(name)
    assert failed(results) == {}
    assert len(results) == len(ALL)
    check_base(name)


@pytest.mark.parametrize("name", ["sd15", "flux2-klein"])
def test_pipelines_pass(tiny_base, name, monkeypatch):
    monkeypatch.setenv("LITMUS_DEVICE", "cpu")
    assert failed(examine_base(f"{tiny_base(name)}?dtype=fp32")) == {}


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "pixart", "flux", "flux2"])
def test_families_pass(name):
    assert failed(examine_family(name)) == {}


def shift_each_load(base: Base) -> Base:
    with torch.no_grad():
        next(base.net.parameters()).add_(torch.rand(()))
    return base


def random_digest(base: Base) -> Base:
    return replace(base, digest=hashlib.sha256(torch.rand(4).numpy().tobytes()).hexdigest())


def trains_on(base: Base) -> Base:
    class Awake(type(base.vae)):
        def decode(self, *args, **kwargs):
            self.train()
            return super().decode(*args, **kwargs)

    base.vae.__class__ = Awake
    return base


def wrong_latents(base: Base) -> Base:
    return replace(base, latent_shape=(4, 8, 4))


class Bare(Base):
    """Pictures as the VAE gives them, from -1 to 1."""

    def decode(self, latents, chunk=8):
        with torch.no_grad():
            return self.vae.decode(latents / self.vae.config.scaling_factor).sample.float()


class Deaf(Base):
    """One answer for all prompts."""

    def encode_text(self, prompts):
        return super().encode_text(["a dog"] * len(prompts))


class Mixing(Base):
    """Rows of a batch are centred together."""

    def encode_text(self, prompts):
        states: Any = super().encode_text(prompts)
        return states - states.mean(0, keepdim=True)


class Shared(Base):
    """A fork in name."""

    def fork(self):
        return replace(self)


def as_kind(kind: type[Base]):
    def change(base: Base) -> Base:
        return kind(**{key: getattr(base, key) for key in base.__dataclass_fields__})

    return change


def timeless(base: Base) -> Base:
    denoiser = base.net.denoiser
    forward = denoiser.forward
    denoiser.forward = lambda x, t, **more: forward(x, torch.zeros_like(t), **more)
    return base


def noisy(base: Base) -> Base:
    denoiser = base.net.denoiser
    first: Any = denoiser.conv_in
    first.forward = MethodType(lambda self, x: type(self).forward(self, x) + 0.1 * torch.randn(()), first)
    return base


def unclean(base: Base) -> Base:
    class Odd(type(base.schedule)):
        def split(self, xt, prediction, t):
            x0, eps = super().split(xt, prediction, t)
            return eps, x0

    keys = base.schedule.__dataclass_fields__
    return replace(base, schedule=Odd(**{key: getattr(base.schedule, key) for key in keys}))


def wordless(base: Base) -> Base:
    return replace(base, words=None)


FAULTS = {
    "shift_each_load": (shift_each_load, "digest_repeats", "two loads of one digest differ in"),
    "random_digest": (random_digest, "digest_repeats", "two loads have two digests"),
    "trains_on": (trains_on, "stays_frozen", "vae is in training mode after use"),
    "wrong_latents": (
        wrong_latents,
        "codec_fits",
        r"encode gives \(2, 4, 8, 8\), latent_shape asks",
    ),
    "bare": (as_kind(Bare), "codec_fits", "decode gives pictures from -"),
    "deaf": (as_kind(Deaf), "encodes_text", "the same for two prompts"),
    "mixing": (as_kind(Mixing), "encodes_text", "otherwise than beside others"),
    "shared": (as_kind(Shared), "forks_apart", "the fork must copy it"),
    "timeless": (timeless, "predicts", "does not hang on the times"),
    "noisy": (noisy, "predicts", "is something random in it"),
    "unclean": (unclean, "schedule_goes_round", "split does not give back the clean latent"),
    "wordless": (wordless, "says_its_words", "open_words = False, and words is None"),
}


@pytest.fixture
def planted():
    """A function: planted(change) -> the name of a toy base with that fault."""
    with BASES.kept():

        def plant(change) -> str:
            @BASES.register
            @dataclass(frozen=True)
            class Faulty(BaseSource):
                name = f"faulty-{change.__name__.replace('_', '-')}"
                title = "a fault"
                open_words = False

                def load(self) -> Base:
                    return change(toy_base())

            return Faulty.name

        yield plant


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(planted, fault):
    change, check, words = FAULTS[fault]
    found = failed(examine_base(name := planted(change)))
    assert check in found, found
    with pytest.raises(AssertionError, match=rf"(?s)breaks the contract.*{check}: .*{words}"):
        check_base(name)


def test_what_is_no_base_is_said(tmp_path):
    with pytest.raises(LitmusError, match=r"unknown base 'tyo': did you mean 'toy'\?"):
        examine_base("tyo")
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(LitmusError, match="registers no base and no family"):
        check_base_file(tmp_path / "empty.py")


# --- families: a toy of one residual layer, with one fault each ---------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


def right(block, x):
    at = visit(block)
    x = at("ffni", x)
    return at("transo", x + at("ffno", block.down(block.up(x).relu())))


def drifting(block, x):
    at = visit(block)
    x = at("ffni", x)
    return at("transo", x + at("ffno", block.down(block.up(1.01 * x).relu())))


def losing(block, x):
    at = visit(block)
    x = at("ffni", x)
    y = x + at("ffno", block.down(block.up(x).relu()))
    at("transo", y)
    return y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"in_channels": 4, "sample_size": 8, "cross_attention_dim": 16})()
        self.begin, self.block, self.end = nn.Linear(4, 16), Plain(), nn.Linear(16, 4)

    def forward(self, x, t, words):
        y = self.begin(x.flatten(2).mT) + words.mean(1, keepdim=True) + t[:, None, None] / 1000
        return self.end(self.block(y)).mT.unflatten(2, x.shape[2:])


def family(inside=right, role="up", text=True):
    from bench.network.family import Family

    @FAMILIES.register
    @dataclass(frozen=True)
    class Odd(Family):
        name = "odd"
        title = "Odd"
        classes = ("Net",)
        roles = {"Plain": {"ff.up": (role,), "ff.down": ("down",)}}
        insides = {"Plain": (Inside(inside, widths("up", "ffni", "ffno", "transo")),)}

        def call(self, denoiser, x, t, context):
            return denoiser(x, t, context.states if text else 0 * context.states)

        def toy(self):
            return Net()

    return "odd"


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ({}, None, ""),
        ({"inside": drifting}, "positions_are_its_own", "that adds nothing changes the prediction"),
        ({"inside": losing}, "positions_are_its_own", "what a bypass adds from ffni to transo is lost"),
        ({"role": "uo"}, "roles_are_there", "no Plain of the toy has uo, which should play ff.up"),
        ({"text": False}, "is_called", "does not hang on the text"),
    ],
)
def test_a_fault_of_a_family_is_found(fault, check, words):
    with FAMILIES.kept():
        found = failed(examine_family(family(**fault)))
    assert list(found) == ([check] if check else [])
    assert not check or words in found[check]
