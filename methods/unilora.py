"""Uni-LoRA, through Hugging Face's peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.method import Network, register
from methods._peft import Shape, Tuner, part_holders, shape_of


@register
@dataclass(frozen=True)
class UniLoRA(Tuner):
    """One trained vector from which every entry of every layer's LoRA factors is looked up, at frozen random places.

    Li, Han, Su, Li, Cai, Ji, "Uni-LoRA: One Vector is All You Need", NeurIPS 2025, arXiv:2506.00799. The vector starts
    at random, so both factors do, and the start is not the base.
    length  of the vector; it stops at the number of entries that are looked up
    bound   the vector starts uniform within it; peft's is 0.02, from which a few layers hardly leave the base
    """

    name = "unilora"
    paper = "arXiv:2506.00799"
    config = "UniLoraConfig"
    solid = True
    lr = 5e-3
    space = {"lr": (1e-4, 1e-1, "log"), "length": (64, 1_000_000, "log")}
    size_field = "length"
    formula = "W' = W + B A, (A, B of all layers) = P theta, P random, one entry a row"
    exact_start = False

    length: int = 256
    rank: int = 4
    bound: float = 0.1
    projection_seed: int = 42

    def common(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        more = {"proj_seed": self.projection_seed, "init_theta_d_bound": self.bound}
        return {"r": self.rank, "theta_d_length": self._length(shapes)} | more

    def _length(self, shapes: Sequence[Shape]) -> int:
        return min(self.length, self.rank * sum(map(sum, shapes)))

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        part_holders(net, "unilora_theta_d")

    def count(self, net: Network) -> int:
        return self._length([shape_of(layer) for layer in self.layers(net).values()])
