"""Objectives: what a training step minimises, one file each. Importing this loads no torch.

bench.objectives   Objective, Needs, Batch, register, LitmusError: what the author of one uses
OBJECTIVES         the registry: OBJECTIVES.read("prior[weight=0.5]") is an instance
"""

from __future__ import annotations

from bench.core.errors import LitmusError
from bench.objectives.base import OBJECTIVES, Needs, Objective, register
from bench.objectives.batch import Batch

__all__ = ["OBJECTIVES", "Batch", "LitmusError", "Needs", "Objective", "register"]
