"""The registry of families: one file each, tables that are read from it, groups of entry points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import bench.families
from bench.bases import BASES
from bench.bases.architectures import ARCHITECTURES
from bench.bases.tiny import TINY
from bench.bases.toy_transformers import TRANSFORMERS, toy_transformer
from bench.core.errors import LitmusError
from bench.cost.small import SMALL
from bench.method import METHODS
from bench.network.calls import predict
from bench.network.family import FAMILIES, Architecture, Family, family_of_denoiser
from bench.network.sites import BLOCKS, ROLES
from bench.plugin.registry import plural


def test_one_file_a_family_called_as_the_family():
    files = {p.stem for p in Path(bench.families.__file__).parent.glob("[a-z]*.py")} - {"pieces"}
    assert files == set(FAMILIES.own())
    assert all(FAMILIES[name].__module__ == f"bench.families.{name}" for name in files)


def test_the_groups_of_entry_points():
    assert (METHODS.group, FAMILIES.group, BASES.group) == ("litmus.methods", "litmus.families", "litmus.bases")
    kinds = ("objective", "metric", "task", "extractors")
    assert [plural(kind) for kind in kinds] == ["objectives", "metrics", "tasks", "extractors"]


def test_tables_are_in_the_order_of_publication():
    assert list(ARCHITECTURES) == [
        "sd15", "sd21", "sdxl", "sd35-medium", "sd35-large", "pixart-sigma", "flux1-dev", "flux2-klein-4b", "pocket",
    ]  # fmt: skip
    assert list(SMALL) == [name for name in ARCHITECTURES if name != "pocket"]
    assert list(TRANSFORMERS) == ["sd3", "pixart", "flux", "flux2"]
    assert len(TINY) == 10


def test_a_family_that_is_registered_later_is_in_every_table():
    with FAMILIES.kept():

        @FAMILIES.register
        @dataclass(frozen=True)
        class Late(Family):
            name = "late"
            title = "Late"
            classes = ("Late",)
            roles = {"LateBlock": {"mix.in": ("one",)}}
            models = {"late-1": Architecture("Late 1", "Late", None)}

            def toy(self):
                return torch.nn.Linear(16, 4)

        assert "late-1" in ARCHITECTURES
        assert "LateBlock" in BLOCKS
        assert "mix.in" in ROLES
        assert isinstance(toy_transformer("late").denoiser, torch.nn.Linear)
    assert "late-1" not in ARCHITECTURES
    assert "LateBlock" not in BLOCKS
    with pytest.raises(LitmusError, match=r"unknown family 'flx': did you mean 'flux'\?"):
        toy_transformer("flx")


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "pixart", "flux", "flux2"])
def test_a_toy_is_of_its_family(name):
    with torch.device("meta"):
        denoiser = toy_transformer(name).denoiser
    assert family_of_denoiser(denoiser) is not None
    assert family_of_denoiser(denoiser).name == name  # type: ignore[union-attr]


def test_a_class_that_no_family_knows_is_called_as_a_plain_u_net():
    class Strange(torch.nn.Module):
        def forward(self, x, t, encoder_hidden_states):
            return type("Out", (), {"sample": x + t.view(-1, 1, 1, 1) + encoder_hidden_states.mean()})()

    assert family_of_denoiser(Strange()) is None
    y = predict(Strange(), torch.zeros(1, 4, 2, 2), torch.ones(1), torch.ones(1, 3, 5))
    assert y.equal(torch.full((1, 4, 2, 2), 2.0))


def test_a_family_without_a_title_is_refused():
    with pytest.raises(LitmusError, match="Bare has no title"):

        @FAMILIES.register
        @dataclass(frozen=True)
        class Bare(Family):
            name = "bare"
