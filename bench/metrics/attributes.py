"""Of all that a prompt asks for, how much is there?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.metrics.attribute import attribute, attribute_names
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class Attributes(Metric):
    name = "attributes"
    title = "attributes"
    definition = "asked attributes (class, scene, colour, style) that a classifier sees"
    unit = "share"
    bounds = (0.0, 1.0)
    higher_is_better = True
    source = "this project"
    order = 90
    brief = True

    def score(self, f: Features) -> Score:
        names = attribute_names(f)
        if not names:
            return None
        table = np.stack([np.asarray(attribute(f, name)) for name in names])  # (A, P)
        known = ~np.isnan(table)
        with np.errstate(invalid="ignore"):
            return np.where(known, table, 0).sum(axis=0) / known.sum(axis=0)
