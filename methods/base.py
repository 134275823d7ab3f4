"""The frozen base as a row of its own: the floor of every score."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import Method, Network, register


@register
@dataclass(frozen=True)
class Base(Method):
    """Trains nothing."""

    name = "base"
    paper = "none: the base as it is"
    lr = 0.0
    trains = False
    quantised = True

    def attach(self, net: Network, rng: torch.Generator) -> None:
        pass

    def count(self, net: Network) -> int:
        return 0
