"""Metrics: METRICS holds a class per score, with its card: what it means, which way is up, where it stands in tables.

Importing this loads no torch. A new metric is one file (docs/adding-a-metric.md); metrics of torchmetrics are there by
name: `torchmetrics.StructuralSimilarityIndexMeasure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.core.errors import LitmusError, nearest
from bench.metrics import _torchmetrics as outside
from bench.metrics.base import METRICS, Metric, Score, register
from bench.metrics.features import Features, Views
from bench.plugin.spec import parse_spec

__all__ = ["METRICS", "Features", "Metric", "Score", "Views", "known", "listed", "measure", "metric", "of", "register"]


def listed() -> list[type[Metric]]:
    """Every registered metric, in the order of their cards."""
    METRICS.load()
    return sorted(METRICS.values(), key=lambda cls: (cls.order, cls.name))


def metric(spec: str) -> Metric:
    """The metric that `spec` writes: `kid`, `kid_null[draws=500]`, `attribute_scene`, `torchmetrics.TotalVariation`.

    LitmusError for an unknown name or setting, with the nearest.
    """
    # parse_spec reads no colon, though people may well write one
    name, hyper = parse_spec(spec.replace(":", ".", 1) if spec.startswith("torchmetrics:") else spec)
    if name.startswith(outside.PREFIX):
        return outside.make(name, hyper)
    if (found := _registered(name)) is None:
        if theirs := outside.likely(name):
            raise LitmusError(f"unknown metric '{name}': did you mean '{theirs}'? ({outside.LISTING})")
        raise LitmusError(nearest(name, METRICS, "metric", METRICS.listing))
    return METRICS.make(found[0], **hyper, **found[1])


def _registered(name: str) -> tuple[str, dict[str, str]] | None:
    """Registered name and, of a member of a family, which it is: "attribute_scene" -> ("attribute", {"part": "scene"}).

    None for what is not registered.
    """
    METRICS.load()
    if name in METRICS:
        return name, {}
    for cls in METRICS.values():
        if cls.family and name.startswith(f"{cls.name}_") and len(name) > len(cls.name) + 1:
            return cls.name, {cls.family: name[len(cls.name) + 1 :]}
    return None


def known(name: str) -> Metric | None:
    """`metric(name)`, and None for whatever is no metric here: a column of another kind, a plug-in that is gone."""
    if not name.startswith(outside.PREFIX) and _registered(name.partition("[")[0]) is None:
        return None
    try:
        return metric(name)
    except LitmusError:
        return None


def of(names: Iterable[str], sees: str) -> list[str]:
    """Those of `names` that are computed from "features", or from "pictures" (bench.evaluation.pictures)."""
    return [name for name in names if metric(name).sees == sees]


def measure(
    f: Features, names: Sequence[str] | None = None, faults: list[str] | None = None
) -> tuple[dict[str, float], dict[str, list[float | None]]]:
    """What is defined for a cell: {metric: value} and, where it has them, {metric: value per prompt}.

    `names` are specs of metrics; None: every registered one, of families every member. A value is the mean over the
    prompts; prompts that ask nothing of an attribute have None and don't count. A metric that fails raises what it
    raises, or adds a line to `faults` where that is given. LitmusError for a metric that needs pictures.
    """
    values: dict[str, float] = {}
    per_prompt: dict[str, list[float | None]] = {}
    chosen = [cls() for cls in listed()] if names is None else [metric(name) for name in names]
    for one in (member for family in chosen for member in family.members(f)):
        if one.sees != "features":
            raise LitmusError(f"{one.spec} is computed from pictures, not from features: leave it out here")
        if f.kind not in one.kinds:
            continue
        try:
            found = one.score(f)
            if found is None:
                continue
            each = np.asarray(found, float)
            value = float(np.nanmean(each)) if each.ndim else float(each)
        except Exception as error:
            if faults is None:
                raise
            faults.append(f"{one.spec} was not computed: {type(error).__name__}: {' '.join(str(error).split())}")
            continue
        if each.ndim:
            per_prompt[one.spec] = [None if np.isnan(v) else float(v) for v in each]
        values[one.spec] = value
    return values, per_prompt
