"""BOFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import LINEAR_CONV, Shape, Tuner, divisor


@register
@dataclass(frozen=True)
class BOFT(Tuner):
    """A block-diagonal rotation of each layer's input, and a trained scale on each output.

    Liu, Qiu, Feng, Xiu, Xue, Yu, Feng, Liu, Heo, Peng, Wen, Black, Weller, Scholkopf, "Parameter-Efficient Orthogonal
    Finetuning via Butterfly Factorization", ICLR 2024, arXiv:2311.06243, section 4. One butterfly factor: peft does
    more only with its own CUDA extension, and bends the setting to one without it.
    block  size of a block; the largest divisor of the input not above it is taken
    """

    name = "boft"
    paper = "arXiv:2311.06243, section 4"
    config = "BOFTConfig"
    solid = True
    kinds = LINEAR_CONV
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "block": (2, 64, "log")}
    size_field = "block"
    formula = "W' = diag(s) W R^T, R = blockdiag((I - Q)(I + Q)^-1), Q = (P - P^T) / 2"

    block: int = 4

    def _block(self, shape: Shape) -> int:
        return divisor(self.block, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"boft_block_size": self._block(shape), "boft_block_num": 0, "boft_n_butterfly_factor": 1}

    def size(self, shape: Shape) -> int:
        return shape[1] * self._block(shape) + shape[0]
