"""OFT, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import register
from methods._peft import Shape, Tuner, divisor


@register
@dataclass(frozen=True)
class OFT(Tuner):
    """A block-diagonal rotation of each layer's input.

    Qiu, Liu, Feng, Xue, Feng, Liu, Zhang, Weller, Scholkopf, "Controlling Text-to-Image Diffusion by Orthogonal
    Finetuning", NeurIPS 2023, arXiv:2306.07280, section 3.3. The Cayley transform's inverse is a Neumann sum of five
    terms, peft's default (OFTv2, arXiv:2506.19847), so that R is orthogonal only near the start.
    block  size of a block; the largest divisor of the input not above it is taken
    """

    name = "oft"
    paper = "arXiv:2306.07280, section 3.3"
    config = "OFTConfig"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "block": (2, 256, "log")}
    size_field = "block"
    formula = "W' = W R^T, R = blockdiag((I + Q)(I - Q)^-1), Q skew-symmetric"
    packable = False  # peft fills Q's entries in place

    block: int = 8

    def _block(self, shape: Shape) -> int:
        return divisor(self.block, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": 0, "oft_block_size": self._block(shape)}

    def size(self, shape: Shape) -> int:
        return shape[1] * (self._block(shape) - 1) // 2
