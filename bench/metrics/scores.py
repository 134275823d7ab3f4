"""The scores: pure functions of Features that give a value per prompt (P,), or one number, or None if not defined."""

from __future__ import annotations

import numpy as np

from bench.core.rng import numpy_rng
from bench.metrics.diversity import pairwise_distance, vendi
from bench.metrics.features import Features
from bench.metrics.kid import kid as _kid
from bench.metrics.kid import null_band
from bench.metrics.similarity import mean_cosine, nearest_cosine, paired_cosine

Score = np.ndarray | float | None


def _per_prompt(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=1)  # (P, n) -> (P,)


def concept(f: Features) -> Score:
    return _per_prompt(mean_cosine(f.cell.concept(f.kind), f.train.concept(f.kind)))


def concept_heldout(f: Features) -> Score:
    refs = f.heldout.concept(f.kind)
    return _per_prompt(mean_cosine(f.cell.concept(f.kind), refs)) if len(refs) else None


def memorisation_gap(f: Features) -> Score:
    heldout = concept_heldout(f)
    return None if heldout is None else concept(f) - heldout  # pyright: ignore[reportOptionalOperand]


def identity(f: Features) -> Score:
    return concept(f) if f.kind == "subject" else None


def identity_heldout(f: Features) -> Score:
    return concept_heldout(f) if f.kind == "subject" else None


def style(f: Features) -> Score:
    return concept(f) if f.kind == "style" else None


def style_heldout(f: Features) -> Score:
    return concept_heldout(f) if f.kind == "style" else None


def image_similarity(f: Features) -> Score:
    return _per_prompt(mean_cosine(f.cell.image, f.train.image))


def text(f: Features) -> Score:
    return _per_prompt(paired_cosine(f.cell.image, f.texts[:, None]))


def text_mismatch(f: Features) -> Score:
    other = np.array([[a != b for b in f.plain] for a in f.plain])  # (P, P): two prompts may be the same words
    if not other.any(axis=1).all():
        return None
    cosines = _per_prompt(f.cell.image @ f.texts.T)  # (P, n, P) -> (P, P)
    return (cosines * other).sum(axis=1) / other.sum(axis=1)


def attribute(f: Features, name: str) -> Score:
    """Share of the pictures that show what their prompt asks of the attribute `name`; nan where it asks nothing."""
    if name not in f.cell.seen:
        return None
    asked = [asks.get(name) for asks in f.asks]
    if not any(asked):
        return None
    hits = [np.mean(seen == word) if word else np.nan for seen, word in zip(f.cell.seen[name], asked, strict=True)]
    return np.array(hits)


def attribute_names(f: Features) -> list[str]:
    """Attributes that some prompt asks for and the classifiers know."""
    return sorted({name for asks in f.asks for name in asks} & f.cell.seen.keys())


def attributes(f: Features) -> Score:
    names = attribute_names(f)
    if not names:
        return None
    table = np.stack([np.asarray(attribute(f, name)) for name in names])  # (A, P)
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return np.where(known, table, 0).sum(axis=0) / known.sum(axis=0)


def content_leak(f: Features) -> Score:
    if f.kind != "style":
        return None
    refs = f.train.identity
    return _per_prompt(nearest_cosine(f.cell.identity, refs)) - _per_prompt(nearest_cosine(f.base_cell.identity, refs))


def diversity(f: Features) -> Score:
    return vendi(f.cell.image.reshape(-1, f.cell.image.shape[-1]))


def diversity_prompt(f: Features) -> Score:
    return np.array([vendi(x) for x in f.cell.image]) if f.cell.image.shape[1] > 1 else None


def distance_prompt(f: Features) -> Score:
    return np.array([pairwise_distance(x) for x in f.cell.image]) if f.cell.image.shape[1] > 1 else None


def prior_leak(f: Features) -> Score:
    if f.prior is None or f.base_prior is None:
        return None
    refs = f.train.concept(f.kind)
    tuned, base = (mean_cosine(v.concept(f.kind), refs) for v in (f.prior, f.base_prior))
    return _per_prompt(tuned - base)


def prior_preservation(f: Features) -> Score:
    if f.prior is None or f.base_prior is None:
        return None
    return _per_prompt(paired_cosine(f.prior.image, f.base_prior.image))


def drift(f: Features) -> Score:
    if f.drift is None or f.base_drift is None:
        return None
    return _per_prompt(1 - paired_cosine(f.drift.image, f.base_drift.image))


def _kid_sets(f: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Features of the cell and of the truth, and the prompt of each; None where there is nothing to compare."""
    if f.truth is None or len(f.plain) < 2:
        return None
    sets = f.cell.image, f.truth.image  # (P, n, D), (P, K, D)
    if sets[0].shape == sets[1].shape and np.array_equal(*sets):
        return None  # the row truth_raw: a set against itself says nothing
    groups = np.concatenate([np.repeat(np.arange(len(x)), x.shape[1]) for x in sets])
    return sets[0].reshape(-1, sets[0].shape[-1]), sets[1].reshape(-1, sets[1].shape[-1]), groups


def kid(f: Features) -> Score:
    sets = _kid_sets(f)
    return _kid(*sets) if sets else None


def kid_null(f: Features) -> Score:
    sets = _kid_sets(f)
    return null_band(sets[0], sets[1], numpy_rng("kid null"), sets[2]) if sets else None


def loss_train(f: Features) -> Score:
    return f.loss_train


def loss_heldout(f: Features) -> Score:
    return f.loss_heldout


def loss_gap(f: Features) -> Score:
    return None if f.loss_train is None or f.loss_heldout is None else f.loss_heldout - f.loss_train
