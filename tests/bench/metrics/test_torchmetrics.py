"""Cards of torchmetrics' metrics, read from its source text, against what its classes say when they are imported."""

from __future__ import annotations

import inspect
import warnings

import pytest

from bench.core.errors import LitmusError
from bench.metrics import _torchmetrics as outside
from bench.metrics import metric


def classes():
    """Every metric class that torchmetrics' two packages publish, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchmetrics.image
        import torchmetrics.multimodal
        from torchmetrics import Metric

        found = {}
        for package in (torchmetrics.image, torchmetrics.multimodal):
            found |= {n: c for n, c in vars(package).items() if inspect.isclass(c) and issubclass(c, Metric)}
    return found


def test_the_cards_say_what_the_classes_say():
    there = classes()
    named = {name.removeprefix(outside.PREFIX) for name in outside.names()}
    assert len(named) > 15
    for name in named & there.keys():
        cls, card = there[name], outside.card(outside.PREFIX + name)
        assert card.higher_is_better is cls.higher_is_better, name
        low, high = cls.plot_lower_bound, cls.plot_upper_bound
        assert card.bounds == (-outside.INF if low is None else low, outside.INF if high is None else high), name
        known = [p for p in inspect.signature(cls.__init__).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
        assert list(card.takes) == [p.name for p in known], name
        for p in known:
            assert card.takes[p.name] == (... if p.default is p.empty else p.default), (name, p.name)


def test_what_is_left_out_cannot_be_fed():
    """Each class is either listed, or its update asks for something that is no picture."""
    named = {name.removeprefix(outside.PREFIX) for name in outside.names()}
    left = {n: [*inspect.signature(c.update).parameters][1:] for n, c in classes().items() if n not in named}
    assert left.keys() <= {
        "PerceptualPathLength", "LipVertexError", "QualityWithNoReference", "SpatialDistortionIndex",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fed", "title"),
    [
        ("StructuralSimilarityIndexMeasure", outside.PAIRS, "SSIM"),
        ("LearnedPerceptualImagePatchSimilarity", outside.PAIRS, "LPIPS ↓"),
        ("FrechetInceptionDistance", outside.SETS, "FID ↓"),
        ("KernelInceptionDistance", outside.SETS, "KID ↓"),
        ("CLIPScore", outside.TEXTS, "CLIP score"),
        ("TotalVariation", outside.ALONE, "total variation ↓"),
        ("InceptionScore", outside.ALONE, "inception score"),
    ],
)
def test_what_it_is_fed_is_read_from_its_signature(name, fed, title):
    one = metric(outside.PREFIX + name)
    assert isinstance(one, outside.TorchMetric)
    assert one.fed == fed
    assert one.heading == title
    assert outside.FED[fed] in one.definition


def test_settings_are_checked_and_keep_their_spelling():
    one = metric("torchmetrics:KernelInceptionDistance[gamma=1,subset_size=6,feature=image]")
    assert one.spec == "torchmetrics.KernelInceptionDistance[gamma=1.0,subset_size=6,feature=image]"
    assert metric(one.spec).spec == one.spec
    assert outside.ours(outside.card(one.name)) == {"normalize": True}
    assert outside.ours(outside.card("torchmetrics.MultiScaleStructuralSimilarityIndexMeasure")) == {"data_range": 1.0}
    with pytest.raises(LitmusError, match="unknown setting of torchmetrics.KernelInceptionDistance 'subset_sise'"):
        metric("torchmetrics.KernelInceptionDistance[subset_sise=6]")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("torchmetrics.FID", "did you mean 'torchmetrics.FrechetInceptionDistance'"),
        ("torchmetrics.ssim", "did you mean 'torchmetrics.StructuralSimilarityIndexMeasure'"),
        ("torchmetrics.TotalVariaton", "did you mean 'torchmetrics.TotalVariation'"),
        ("TotalVariation", "did you mean 'torchmetrics.TotalVariation'"),
        ("torchmetrics.PerceptualPathLength", "compares generator, which no board has"),
    ],
)
def test_unknown_ones_are_refused_with_the_nearest(name, line):
    with pytest.raises(LitmusError, match=line):
        metric(name)


def test_without_torchmetrics_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(outside, "_classes", dict)
    with pytest.raises(LitmusError, match=r"pip install 'torchmetrics\[image\]'"):
        outside.card.__wrapped__("torchmetrics.TotalVariation")
    assert outside.names() == []
