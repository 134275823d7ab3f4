"""DSEE: a low-rank and a sparse correction together, and if asked a pruned base under them.

Chen, Chen, Chen, Awadallah, Wang, Cheng, "DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language
Models", ACL 2023, arXiv:2111.00160: W' = W * S_1 + U V + S_2. S_2 has a fixed support of few entries. Rank
16 and 64 entries are those of VITA-Group/DSEE (README at 61844c3), which adapts q and v alone.

The support: the authors split W into a low-rank part and a rest (GreBsmo, random at its start) and take the largest
entries of the rest. Here the low-rank part is the best one of rank `rank`, from the singular value decomposition, so
that the support can be found again from W alone; "magnitude" takes the largest entries of W itself, their variant
"omp". The authors prune after a first round of training and then train on; here W is pruned from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, register
from bench.method.reparam import LowRank, apply, flat, svd

SUPPORTS = ("residual", "magnitude")


@register
@dataclass(frozen=True)
class DSEE(LowRank):
    """LoRA of rank `rank` and `sparse` single entries for each weight at `targets`.

    support  where the entries are: residual (of W's best approximation of that rank) or magnitude (of W)
    prune    share of W's smallest entries set to 0, from 0 to below 1; above 0 the start is not the base
    """

    name = "dsee"
    paper = "arXiv:2111.00160"
    formula = "W' = W * S_1 + (alpha / rank) B A + S_2, S_2 of few entries"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log"), "sparse": (16, 4096, "log")}
    size_field = "rank"

    rank: int = 16
    sparse: int = 64
    support: str = "residual"
    prune: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparse < 1:
            raise LitmusError(f"dsee: sparse is at least 1, not {self.sparse}: without it, it is lora")
        if self.support not in SUPPORTS:
            raise LitmusError(f"dsee: support is one of {', '.join(SUPPORTS)}, not {self.support!r}")
        if not 0 <= self.prune < 1:
            raise LitmusError(f"dsee: prune is a share from 0 to below 1, not {self.prune}")

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.prune == 0

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return super().init(w, rng) | {"s": w.new_zeros(min(self.sparse, w.numel()))}  # (nnz,)

    def fixed(self, w: Tensor) -> dict[str, Tensor]:
        n = min(self.sparse, w.numel())
        if w.is_meta:
            place = torch.empty(n, dtype=torch.long, device=w.device)
        else:
            rest = w
            if self.support == "residual":
                u, s, v = svd(w)
                rest = w - (u[:, : self.rank] * s[: self.rank]) @ v[: self.rank]
            # The rank may be the whole of W: then the rest is rounding, and any support is as good.
            place = rest.abs().flatten().topk(n).indices.sort().values  # (nnz,) in W read row by row
        pruned = int(self.prune * w.numel())
        floor = w.abs().flatten().kthvalue(pruned).values if pruned and not w.is_meta else w.new_zeros(())
        return {"place": place, "floor": floor.reshape(1)} if self.prune else {"place": place}

    def base(self, w: Tensor, theta: Any) -> Tensor:
        return w * (w.abs() > theta.floor) if self.prune else w

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        return super().weight(self.base(w, theta), theta) + self.scale * self._entries(w, theta)

    def _entries(self, w: Tensor, theta: Any) -> Tensor:
        zeros = torch.zeros(w.numel(), dtype=theta.s.dtype, device=w.device)
        return zeros.scatter(0, theta.place, theta.s).view_as(w)

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        # The weight form: without sparse kernels, adding few entries to W costs less than a second full product.
        return apply(layer, x, self.weight(flat(layer.weight), theta), layer.bias)

    def size(self, out: int, in_: int) -> int:
        return super().size(out, in_) + min(self.sparse, out * in_)
