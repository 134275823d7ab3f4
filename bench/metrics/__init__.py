"""Metrics: METRICS[name] says what a score means, which way is up, and computes it. Importing this loads no torch.

A new metric is a function of Features in scores.py and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics import scores
from bench.metrics.features import Features, Views
from bench.metrics.scores import Score

__all__ = ["METRICS", "Features", "Metric", "Views", "measure", "metric"]

INF = float("inf")


@dataclass(frozen=True)
class Metric:
    """One score and its card. `higher_is_better` None: it describes, nobody should be ranked by it."""

    name: str
    definition: str
    higher_is_better: bool | None
    bounds: tuple[float, float]
    unit: str
    fn: Callable[[Features], Score]


def _card(name: str, up: bool | None, bounds: tuple[float, float], unit: str, definition: str) -> Metric:
    return Metric(name, definition, up, bounds, unit, getattr(scores, name))


_COS, _DIFF, _SHARE, _LOSS = (-1.0, 1.0), (-2.0, 2.0), (0.0, 1.0), (0.0, INF)

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        _card("concept", True, _COS, "cosine", "identity for subject tasks, style for style tasks"),
        _card(
            "identity", True, _COS, "cosine", "mean cosine of the pictures to the training pictures, identity encoder"
        ),
        _card("identity_heldout", True, _COS, "cosine", "the same to pictures of the subject that were not trained on"),
        _card("style", True, _COS, "cosine", "mean cosine of the pictures to the training pictures, style encoder"),
        _card("style_heldout", True, _COS, "cosine", "the same to pictures in the style that were not trained on"),
        _card(
            "memorisation_gap",
            False,
            _DIFF,
            "cosine",
            "concept to the training minus concept to the held-out pictures; above 0: it learnt the pictures",
        ),
        _card(
            "image_similarity",
            True,
            _COS,
            "cosine",
            "mean cosine of the pictures to the training pictures in the space of the texts: CLIP-I where that is CLIP",
        ),
        _card("text", True, _COS, "cosine", "mean cosine of picture and prompt, identifier removed from the prompt"),
        _card(
            "text_mismatch",
            None,
            _COS,
            "cosine",
            "mean cosine of pictures and the task's other prompts: what following nothing scores",
        ),
        _card(
            "attributes", True, _SHARE, "share", "asked attributes (class, scene, colour, style) that a classifier sees"
        ),
        _card(
            "content_leak",
            False,
            _DIFF,
            "cosine",
            "style tasks: identity cosine to the nearest training picture, minus the frozen base's on the same prompts",
        ),
        _card(
            "diversity",
            None,
            (1.0, INF),
            "pictures",
            "Vendi score of all pictures of the cell: the effective number of different ones",
        ),
        _card(
            "diversity_prompt",
            None,
            (1.0, INF),
            "pictures",
            "Vendi score of the pictures of one prompt, mean over prompts",
        ),
        _card(
            "distance_prompt", None, (0.0, 2.0), "1 - cosine", "mean pairwise distance of the pictures of one prompt"
        ),
        _card(
            "prior_leak",
            False,
            _DIFF,
            "cosine",
            "concept score of plain class prompts, minus the frozen base's: how far the class became the concept",
        ),
        _card(
            "prior_preservation",
            True,
            _COS,
            "cosine",
            "cosine of plain class pictures to the frozen base's, same prompt and noise",
        ),
        _card(
            "drift",
            False,
            (0.0, 2.0),
            "1 - cosine",
            "distance of pictures of unrelated prompts from the frozen base's, same prompt and noise",
        ),
        _card(
            "kid",
            False,
            (-INF, INF),
            "squared MMD",
            "unbiased kernel distance to the truth pictures across prompts, kernel (cos + 1)³; may be below 0",
        ),
        _card(
            "kid_null", None, (-INF, INF), "squared MMD", "95 % of KIDs between two sets of one distribution stay below"
        ),
        _card(
            "loss_train", False, _LOSS, "mean square", "denoising loss on a fixed (x, t, eps) table, training pictures"
        ),
        _card("loss_heldout", False, _LOSS, "mean square", "the same on held-out pictures, same t and eps"),
        _card("loss_gap", False, (-INF, INF), "mean square", "loss_heldout minus loss_train"),
    )
}

_PART = "attribute_"  # attribute_scene, attribute_colour, ...: one per attribute that the world knows


def metric(name: str) -> Metric:
    """The metric called `name`, attribute_… included. LitmusError for an unknown one."""
    from bench.core.errors import LitmusError, nearest

    if name in METRICS:
        return METRICS[name]
    if part := name.removeprefix(_PART) if name.startswith(_PART) else "":
        definition = f"share of the pictures that show the {part} that their prompt asks for"
        return Metric(name, definition, True, _SHARE, "share", lambda f: scores.attribute(f, part))
    raise LitmusError(nearest(name, METRICS, "metric"))


def measure(f: Features, names: Sequence[str] | None = None) -> tuple[dict[str, float], dict[str, list[float | None]]]:
    """What is defined for a cell, of these `names` or of all: {metric: value} and {metric: value per prompt}.

    A value is the mean over the prompts; prompts that ask nothing of an attribute have None and don't count.
    """
    values: dict[str, float] = {}
    per_prompt: dict[str, list[float | None]] = {}
    for name in names or [*METRICS, *(_PART + part for part in scores.attribute_names(f))]:
        found = metric(name).fn(f)
        if found is None:
            continue
        if isinstance(found, np.ndarray):
            per_prompt[name] = [None if np.isnan(v) else float(v) for v in found]
            found = float(np.nanmean(found))
        values[name] = float(found)
    return values, per_prompt
