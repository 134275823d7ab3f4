"""VB-LoRA, through Hugging Face's peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from bench.method import Network, register
from methods._peft import Shape, Tuner, divisor, part_holders, shape_of, wrapped


@register
@dataclass(frozen=True)
class VBLoRA(Tuner):
    """LoRA whose factors are put together from a bank of vectors that all layers share.

    Li, Han, Ji, "VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks", NeurIPS 2024, arXiv:2405.15179,
    section 3.2. Bank and logits start at random, so the start is not the base. All logits are trained and stored; the
    paper stores the top two of each.
    length  of a vector; the largest divisor of every side of every layer not above it is taken
    """

    name = "vblora"
    paper = "arXiv:2405.15179, section 3.2"
    config = "VBLoRAConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "rank": (1, 32, "log")}
    size_field = "rank"
    formula = "W' = W + B A, each piece of A and B = sum_k softmax(top2(logits))_k v_k"
    exact_start = False

    rank: int = 4
    vectors: int = 256
    length: int = 256

    def _length(self, shapes: Sequence[Shape]) -> int:
        return divisor(self.length, *(side for shape in shapes for side in shape))

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        part_holders(net, "vblora_vector_bank")
        for _, layer in wrapped(net.denoiser):  # peft looks for infinite logits while training, which vmap forbids
            layer._get_lora_matrices = MethodType(_looked_up, layer)

    def common(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        return {"r": self.rank, "num_vectors": self.vectors, "vector_length": self._length(shapes)}

    def count(self, net: Network) -> int:
        shapes = [shape_of(layer) for layer in self.layers(net).values()]
        length = self._length(shapes)
        pieces = sum(self.rank * sum(shape) // length for shape in shapes)
        return self.vectors * (pieces + length)


def _looked_up(layer: Any, adapter: str, cast_to_fp32: bool = False) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank) from logits (rank, in / length, vectors), (out / length, rank, vectors)."""
    tensors = layer.vblora_logits_A[adapter], layer.vblora_logits_B[adapter], layer.vblora_vector_bank[adapter]
    a, b, bank = (t.float() if cast_to_fp32 else t for t in tensors)
    left, right = (layer._get_low_rank_matrix(logits, bank, layer.topk[adapter]) for logits in (a, b))
    return left.reshape(len(a), -1), right.transpose(1, 2).reshape(-1, b.shape[1])
