"""Metrics against torchmetrics, scipy and cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import LitmusError
from bench.metrics import Features, Views, listed, measure, metric
from bench.metrics._cosine import mean_cosine, nearest_cosine, paired_cosine
from bench.metrics.distance_prompt import pairwise_distance
from bench.metrics.diversity import vendi
from bench.metrics.kid import kid, null_band


def unit(*shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_cosines_are_those_of_torchmetrics():
    import torch
    from torchmetrics.functional import pairwise_cosine_similarity

    x, y = unit(5, 16), unit(3, 16, seed=1)
    table = pairwise_cosine_similarity(torch.tensor(x), torch.tensor(y)).numpy()
    np.testing.assert_allclose(mean_cosine(x, y), table.mean(1))
    np.testing.assert_allclose(nearest_cosine(x, y), table.max(1))
    np.testing.assert_allclose(paired_cosine(x[:3], y), np.diag(table[:3]))
    np.testing.assert_allclose(mean_cosine(x.reshape(5, 1, 16), y), table.mean(1)[:, None])


def test_kid_is_that_of_torchmetrics():
    import torch
    from torchmetrics.image.kid import poly_mmd

    x, y = unit(20, 16), unit(20, 16, seed=1)  # equal sizes: torchmetrics knows no other
    scaled = [torch.tensor(z) * 4 for z in (x, y)]  # unit vectors scaled to √D, D = 16
    gram = [[(a @ b.T / 16 + 1) ** 3 for b in scaled] for a in scaled]
    from torchmetrics.image.kid import maximum_mean_discrepancy

    theirs = maximum_mean_discrepancy(gram[0][0], gram[0][1], gram[1][1]).item()
    assert kid(x, y) == pytest.approx(theirs)
    assert kid(x, y) == pytest.approx(poly_mmd(scaled[0], scaled[1]).item())


def test_kid_is_unbiased_and_sees_a_shift():
    same = [kid(unit(12, 8, seed=s), unit(20, 8, seed=100 + s)) for s in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / len(same) ** 0.5
    shifted = unit(20, 8, seed=5) + 0.5
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    assert kid(unit(12, 8), shifted) > null_band(unit(12, 8), shifted, np.random.default_rng(0))


def test_the_null_band_holds_what_it_says():
    inside = [
        kid(x := unit(10, 8, seed=s), y := unit(14, 8, seed=500 + s)) < null_band(x, y, np.random.default_rng(s))
        for s in range(100)
    ]
    assert 0.88 <= np.mean(inside) <= 0.99


def prompted(n, seed, spread=0.3):
    """(8·n, 16) features of n pictures for each of 8 prompts, alike within a prompt, and the prompts."""
    x = np.repeat(unit(8, 16, seed=99), n, axis=0) + spread * unit(8 * n, 16, seed=seed)
    return x / np.linalg.norm(x, axis=1, keepdims=True), np.repeat(np.arange(8), n)


def test_kid_of_prompted_sets_is_unbiased_only_by_groups():
    grouped, loose, inside = [], [], []
    for s in range(100):
        (x, gx), (y, gy) = prompted(1, s), prompted(2, 1000 + s)
        groups = np.concatenate([gx, gy])
        grouped.append(kid(x, y, groups))
        loose.append(kid(x, y))
        inside.append(grouped[-1] < null_band(x, y, np.random.default_rng(s), groups, draws=100))
    assert abs(np.mean(grouped)) < 3 * np.std(grouped) / len(grouped) ** 0.5
    assert np.mean(loose) < -10 * np.std(loose) / len(loose) ** 0.5
    assert 0.88 <= np.mean(inside) <= 0.99


def test_kid_by_groups_is_the_mean_over_pairs_of_prompts():
    (x, gx), (y, gy) = prompted(2, 0), prompted(2, 1)
    terms = []
    for a, ga, b, gb in ((x, gx, x, gx), (y, gy, y, gy), (x, gx, y, gy)):
        terms.append(np.mean([(a[i] @ b[j] + 1) ** 3 for i in range(16) for j in range(16) if ga[i] != gb[j]]))
    assert kid(x, y, np.concatenate([gx, gy])) == pytest.approx(terms[0] + terms[1] - 2 * terms[2])


def test_vendi_is_the_effective_number():
    from scipy.stats import entropy

    eye = np.eye(6)
    assert vendi(eye) == pytest.approx(6)
    assert vendi(eye[[0, 0, 0]]) == pytest.approx(1)
    assert vendi(eye[[0, 0, 1, 1]]) == pytest.approx(2)
    x = unit(7, 5)
    values = np.linalg.eigvals(x @ x.T / 7).real.clip(1e-15)
    assert vendi(x) == pytest.approx(np.exp(entropy(values)), rel=1e-6)


def test_pairwise_distance_is_scipys():
    from scipy.spatial.distance import pdist

    x = unit(6, 8)
    assert pairwise_distance(x) == pytest.approx(pdist(x, "cosine").mean())


def views(*shape, seed, seen=None):
    return Views(unit(*shape, 8, seed=seed), unit(*shape, 8, seed=seed + 1), unit(*shape, 8, seed=seed + 2), seen or {})


@pytest.fixture
def cell():
    """3 prompts × 2 pictures, with all that a metric may ask for."""
    seen = {
        "class": np.array([["robot", "robot"], ["robot", "dog"], ["dog", "dog"]]),
        "scene": np.array([["forest", "snow"], ["snow", "snow"], ["city", "snow"]]),
    }
    return Features(
        kind="subject",
        plain=("a robot in the forest", "a robot in the snow", "a robot"),
        asks=({"class": "robot", "scene": "forest"}, {"class": "robot", "scene": "snow"}, {"class": "robot"}),
        texts=unit(3, 8, seed=50),
        cell=views(3, 2, seed=0, seen=seen),
        prior=views(2, 2, seed=10),
        drift=views(2, 2, seed=20),
        train=views(4, seed=30),
        heldout=views(2, seed=40),
        truth=views(3, 3, seed=60),
        base_cell=views(3, 2, seed=70),
        base_prior=views(2, 2, seed=80),
        base_drift=views(2, 2, seed=90),
        loss_train=0.2,
        loss_heldout=0.5,
    )


def test_subject_scores(cell):
    values, per_prompt = measure(cell)
    refs, held = cell.train.identity, cell.heldout.identity
    by_hand = [[np.mean([g @ r for r in refs]) for g in prompt] for prompt in cell.cell.identity]
    assert values["identity"] == values["concept"] == pytest.approx(np.mean(by_hand))
    assert per_prompt["identity"] == pytest.approx(list(np.mean(by_hand, axis=1)))
    to_held = np.mean([[g @ r for r in held] for prompt in cell.cell.identity for g in prompt])
    assert values["identity_heldout"] == pytest.approx(to_held)
    assert values["memorisation_gap"] == pytest.approx(values["identity"] - to_held)
    assert values["text"] == pytest.approx(
        np.mean([g @ t for p, t in zip(cell.cell.image, cell.texts, strict=True) for g in p])
    )
    assert not {"style", "style_heldout", "content_leak"} & values.keys()


def test_text_mismatch_leaves_out_the_prompts_own_words(cell):
    one = measure(cell)[0]["text_mismatch"]
    table = np.einsum("pnd,qd->pq", cell.cell.image, cell.texts) / 2
    assert one == pytest.approx((table.sum() - np.trace(table)) / 6)
    twins = replace(cell, plain=("a robot", "a robot", "a dog"))
    assert measure(twins)[0]["text_mismatch"] == pytest.approx(
        np.mean([table[0, 2], table[1, 2], (table[2, 0] + table[2, 1]) / 2])
    )
    assert "text_mismatch" not in measure(replace(cell, plain=("a robot",) * 3))[0]


def test_attributes_count_what_was_asked(cell):
    values, per_prompt = measure(cell)
    assert per_prompt["attribute_class"] == [1.0, 0.5, 0.0]
    assert per_prompt["attribute_scene"] == [0.5, 1.0, None]  # the last prompt asks for no scene
    assert values["attribute_scene"] == 0.75
    assert per_prompt["attributes"] == [0.75, 0.75, 0.0]
    nothing = replace(cell, asks=({}, {}, {}))
    assert not [name for name in measure(nothing)[0] if name.startswith("attribute")]
    unknown = replace(cell, asks=({"mood": "sad"}, {}, {}))  # asked, but no classifier knows it
    assert not [name for name in measure(unknown)[0] if name.startswith("attribute")]


def test_an_attribute_of_some_prompts_only(cell):
    some = replace(cell, asks=({"class": "robot"}, {}, {}))
    values, per_prompt = measure(some)
    assert per_prompt["attributes"] == [1.0, None, None]
    assert values["attributes"] == 1.0


def test_prior_and_drift_compare_with_the_base(cell):
    values, _ = measure(cell)
    refs = cell.train.identity.mean(0)
    assert values["prior_leak"] == pytest.approx((cell.prior.identity @ refs - cell.base_prior.identity @ refs).mean())
    assert values["prior_preservation"] == pytest.approx((cell.prior.image * cell.base_prior.image).sum(-1).mean())
    assert values["drift"] == pytest.approx(1 - (cell.drift.image * cell.base_drift.image).sum(-1).mean())
    still = measure(replace(cell, prior=cell.base_prior, drift=cell.base_drift, cell=cell.base_cell))[0]
    assert still["prior_leak"] == pytest.approx(0)
    assert still["prior_preservation"] == pytest.approx(1)
    assert still["drift"] == pytest.approx(0)


def test_style_scores(cell):
    style = replace(cell, kind="style")
    values, _ = measure(style)
    assert values["style"] == values["concept"] == pytest.approx((cell.cell.style @ cell.train.style.T).mean())
    leak = (cell.cell.identity @ cell.train.identity.T).max(-1) - (cell.base_cell.identity @ cell.train.identity.T).max(
        -1
    )
    assert values["content_leak"] == pytest.approx(leak.mean())
    assert values["prior_leak"] == pytest.approx(
        ((cell.prior.style - cell.base_prior.style) @ cell.train.style.mean(0)).mean()
    )
    assert "identity" not in values
    assert measure(replace(style, cell=cell.base_cell))[0]["content_leak"] == pytest.approx(0)


def test_what_is_not_there_is_left_out(cell):
    none = views(0, seed=0)
    bare = replace(
        cell, heldout=none, truth=None, prior=None, drift=None, base_prior=None, base_drift=None, loss_heldout=None,
        cell=views(3, 1, seed=0),
    )  # fmt: skip
    always = {"concept", "identity", "image_similarity", "text", "text_mismatch", "diversity", "loss_train"}
    assert set(measure(bare)[0]) == always


def test_diversity_of_a_prompt_and_of_the_cell(cell):
    values, per_prompt = measure(cell)
    assert per_prompt["diversity_prompt"] == pytest.approx([vendi(x) for x in cell.cell.image])
    assert values["distance_prompt"] == pytest.approx(np.mean([1 - x[0] @ x[1] for x in cell.cell.image]))
    assert values["diversity"] == pytest.approx(vendi(cell.cell.image.reshape(6, 8)))


def test_kid_of_truth_against_itself_is_left_out(cell):
    itself = replace(cell, truth=Views(*[cell.cell.image] * 3))
    assert "kid" not in measure(itself)[0]
    assert {"kid", "kid_null"} <= measure(cell)[0].keys()


def test_every_value_keeps_to_its_card(cell):
    for kind in ("subject", "style"):
        for name, value in measure(replace(cell, kind=kind))[0].items():
            card = metric(name)
            assert card.spec == name
            assert card.definition
            assert card.unit
            assert card.bounds[0] <= value <= card.bounds[1], name


def test_every_metric_is_measured_somewhere(cell):
    seen = measure(cell)[0].keys() | measure(replace(cell, kind="style"))[0].keys()
    assert {cls.name for cls in listed() if not cls.family and not cls.__module__.startswith("litmus_file_")} <= seen


def test_image_similarity_is_clip_i(cell):
    """DreamBooth's definition: all pairs of generated and real pictures."""
    pairs = [x @ y for x in cell.cell.image.reshape(-1, 8) for y in cell.train.image]
    assert measure(cell)[0]["image_similarity"] == pytest.approx(np.mean(pairs))


def test_losses(cell):
    values, _ = measure(cell)
    assert (values["loss_train"], values["loss_heldout"]) == (0.2, 0.5)
    assert values["loss_gap"] == pytest.approx(0.3)


def test_unknown_metrics_are_named():
    assert metric("attribute_scene").unit == "share"
    with pytest.raises(LitmusError, match="unknown metric 'identiy': did you mean 'identity'"):
        metric("identiy")
