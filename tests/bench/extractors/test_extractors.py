"""Extractors give unit features at any picture size, whatever the chunks."""

from __future__ import annotations

import pytest
import torch

from bench import extractors
from bench.core.errors import LitmusError
from bench.extractors import extractors_digest, load_extractors
from bench.extractors.base import Extractors


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["identity", "style", "image"])
def test_pictures_become_unit_features(toy_extractors, images, name, monkeypatch):
    whole = getattr(toy_extractors, name)(images)
    assert whole.shape == (5, 16)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5))
    assert not whole[0].allclose(whole[1])
    monkeypatch.setattr("bench.extractors.base.CHUNK", 2)
    torch.testing.assert_close(getattr(toy_extractors, name)(images), whole)


def test_other_sizes_are_resized(images):
    class Sees:
        def identity(self, x):
            return x.flatten(1)

    two = Extractors("two", "", 2, {}, Sees())
    colours = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    torch.testing.assert_close(two.identity(colours.expand(1, 3, 64, 64)), two.identity(colours.expand(1, 3, 2, 2)))
    assert two.identity(images).shape == (5, 12)


def test_texts_become_unit_features(toy_extractors):
    texts = toy_extractors.text(["a red car", "a dog"])
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(toy_extractors.text(["a dog"])[0], texts[1])


def test_attributes_have_a_logit_per_label(toy_extractors, images):
    found = toy_extractors.attributes(images)
    assert {name: x.shape for name, x in found.items()} == {
        name: (5, len(labels)) for name, labels in toy_extractors.labels.items()
    }


def test_no_pictures_are_no_features(toy_extractors):
    assert toy_extractors.identity(torch.zeros(0, 3, 32, 32)).shape == (0, 16)


def test_the_same_numbers_in_the_next_process(toy_extractors):
    value = toy_extractors.identity(torch.full((1, 3, 32, 32), 0.75))[0, :2].tolist()
    assert value == pytest.approx([0.141469, 0.067879], abs=1e-5)


def test_the_digest_needs_no_loading(toy_extractors):
    assert extractors_digest("toy") == toy_extractors.digest


def test_unknown_and_missing(monkeypatch, tmp_path):
    with pytest.raises(LitmusError, match="unknown extractors 'poket': did you mean 'pocket'"):
        load_extractors("poket")
    monkeypatch.setattr("bench.extractors.pocket.FOLDER", tmp_path)
    extractors._load.cache_clear()
    for ask in (load_extractors, extractors_digest):
        with pytest.raises(LitmusError, match="weights are missing"):
            ask("pocket")
