"""C3A, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.method import register
from methods._peft import Shape, Tuner, divisor, one_of


@register
@dataclass(frozen=True)
class C3A(Tuner):
    """A change made of circulant blocks, each given by its first row.

    Chen, Cheng, Liu, Gao, Tsung, Li, Li, "Parameter-Efficient Fine-Tuning via Circular Convolution", ACL 2025,
    arXiv:2407.19342, section 3.4. Kernels start Xavier-uniform, peft's default, so the start is not the base, or with
    start = zero at 0.
    divide  a block's side is the largest divisor of both sides of the weight not above their gcd over this
    """

    name = "c3a"
    paper = "arXiv:2407.19342, section 3.4"
    config = "C3AConfig"
    lr = 3e-2
    space = {"lr": (1e-3, 1.0, "log"), "divide": (1, 64, "log")}
    size_field = "divide"
    formula = "W'[j, k] = W[j, k] + circulant(c[j, k]) / in for each block"
    packable = False  # peft adds in place to the base layer's output

    divide: int = 6
    start: str = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "start", ("xavier", "zero"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.start == "zero"

    def _block(self, shape: Shape) -> int:
        return divisor(int(np.gcd(*shape)) / self.divide, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"block_size": self._block(shape), "init_weights": self.start == "zero" or "xavier_uniform"}

    def size(self, shape: Shape) -> int:
        return shape[0] * shape[1] // self._block(shape)
