"""RandLoRA, through Hugging Face's peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.method import Network, register
from methods._peft import Shape, Tuner, shape_of


@register
@dataclass(frozen=True)
class RandLoRA(Tuner):
    """A sum of products of frozen random matrices that all layers share, of full rank, with trained scales.

    Albert, Zhang, Saratchandran, Rodriguez-Opazo, van den Hengel, Abbasnejad, "RandLoRA: Full-Rank Parameter-Efficient
    Fine-Tuning of Large Models", ICLR 2025, arXiv:2502.00987, section 4.2, equation 3. Lambda (rank, N) starts at 0,
    Gamma (N, min(out, in)) at a constant; N = ceil(min(out, in) / rank), so a smaller rank trains more.
    bases  N at the layer with the largest min(out, in); this sets the rank where that is none
    rank   of each random matrix; alpha is 20 times it, as in peft
    """

    name = "randlora"
    paper = "arXiv:2502.00987, section 4.2"
    config = "RandLoraConfig"
    lr = 1e-3
    space = {"lr": (1e-5, 1e-2, "log"), "bases": (2, 64, "log")}
    size_field = "bases"
    formula = "W' = W + 20 sum_n B_n diag(lambda_n) A diag(gamma_n)"
    packable = False  # peft's own backward pass has no batched form

    bases: int = 8
    rank: int | None = None
    projection_seed: int = 0

    def _rank(self, shapes: Sequence[Shape]) -> int:
        widest = max(min(shape) for shape in shapes)
        return self.rank or -(-widest // self.bases)

    def common(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        rank = self._rank(shapes)
        return {"r": rank, "randlora_alpha": 20 * rank, "projection_prng_key": self.projection_seed}

    def count(self, net: Network) -> int:
        shapes = [shape_of(layer) for layer in self.layers(net).values()]
        rank = self._rank(shapes)
        return sum(-(-min(shape) // rank) * (rank + min(shape)) for shape in shapes)
