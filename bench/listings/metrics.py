"""`litmus metrics`: every score with its direction and range, and the whole card of one. Imports no torch."""

from __future__ import annotations

import math

from bench.metrics import Metric, listed, metric
from bench.metrics import _torchmetrics as outside
from bench.plugin.registry import shown
from bench.plugin.spec import label

DASH = "–"
BETTER = {True: "higher", False: "lower", None: DASH}
TABLES = {"main": "the leaderboard", "details": "the second table", "": "CSV and records only"}


def listing(of_torchmetrics: bool = False) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the registered metrics; or of those of torchmetrics."""
    cards = [outside.card(name) for name in outside.names()] if of_torchmetrics else listed()
    rows = [
        [cls.name + (f"_<{cls.family}>" if cls.family else ""), BETTER[cls.higher_is_better], span(cls), cls.definition]
        for cls in cards
    ]
    return ["metric", "better", "range", "what it measures"], rows


def card(name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one metric's whole card. LitmusError for an unknown one, with the nearest."""
    one = metric(name)
    theirs = isinstance(one, outside.TorchMetric)
    settings = {**one.takes, **outside.ours(type(one)), **one.hyper()} if theirs else one.hyper()
    rows = [
        ["title", one.heading],
        ["what it measures", one.definition],
        ["better", BETTER[one.higher_is_better] + (" (it describes)" if one.higher_is_better is None else "")],
        ["range", span(one) + (" (the axis of its plots)" if theirs else "")],
        ["unit", one.unit],
        ["version", str(one.version)],
        ["source", one.source or DASH],
        ["tasks", ", ".join(one.kinds)],
        ["table", TABLES[one.table]],
        ["computed from", one.sees],
        ["settings", _settings(settings) or DASH],
        ["file", one.module if theirs else shown(type(one))],
    ]
    return ["metric", one.spec], rows


def _settings(settings: dict) -> str:
    """As a spec has them; what a spec cannot say (tuples, what has no default) is left out."""
    plain = {k: v for k, v in settings.items() if v is None or isinstance(v, int | float | str)}
    return label("", plain)[1:-1].replace(",", ", ")


def span(one: Metric | type[Metric]) -> str:
    """The bounds in words: "-1 to 1", "0 or more", "any number"."""
    low, high = one.bounds
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"{low:g} or more"
    return f"up to {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"
