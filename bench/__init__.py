"""Litmus: a litmus test for parameter-efficient fine-tuning of text-to-image diffusion models.

The public names; each is loaded when it is first asked for, so that importing `bench` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bench.core.version import VERSION as __version__

if TYPE_CHECKING:
    from bench import plot
    from bench.checks.bases import check_base
    from bench.checks.contract import check_method
    from bench.checks.extractors import check_extractors
    from bench.checks.metrics import check_metric
    from bench.checks.objectives import check_objective
    from bench.checks.tasks import check_task
    from bench.core.errors import LitmusError
    from bench.method import Method, Network, register
    from bench.protocol.models import Protocol, load_protocol
    from bench.records.record import Record
    from bench.report.results import leaderboard, load_records, tidy

__litmus__ = True  # bench.__main__ looks for it: other projects have a package called bench too

__all__ = [
    "LitmusError",
    "Method",
    "Network",
    "Protocol",
    "Record",
    "__version__",
    "check_base",
    "check_extractors",
    "check_method",
    "check_metric",
    "check_objective",
    "check_task",
    "leaderboard",
    "load_protocol",
    "load_records",
    "plot",
    "register",
    "tidy",
]

_HOMES = {
    "LitmusError": "bench.protocol.models",
    "Method": "bench.method",
    "Network": "bench.method",
    "Protocol": "bench.protocol.models",
    "Record": "bench.records.record",
    "check_base": "bench.checks.bases",
    "check_extractors": "bench.checks.extractors",
    "check_method": "bench.checks.contract",
    "check_metric": "bench.checks.metrics",
    "check_objective": "bench.checks.objectives",
    "check_task": "bench.checks.tasks",
    "leaderboard": "bench.report.results",
    "load_protocol": "bench.protocol.models",
    "load_records": "bench.report.results",
    "register": "bench.method",
    "tidy": "bench.report.results",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("bench.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
