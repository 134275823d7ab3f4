"""The commands of `litmus`, one file per topic; bench.__main__ has those that run boards."""

from __future__ import annotations

import typer

from bench.commands import anova, base_lists, budgets, cost, extractors, fetch, fit, interop, lists


def add_to(app: typer.Typer) -> None:
    """Put all of them into `app`, in the order of its help."""
    for topic in (lists, base_lists, budgets, fit, cost, anova, extractors, fetch, interop):
        topic.add_to(app)
