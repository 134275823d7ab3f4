"""Bottleneck adapters in series: each sub-layer's output y becomes y + s up(relu(down(y))) before the residual sum.

Houlsby, Giurgiu, Jastrzebski, Morrone, de Laroussilhe, Gesmundo, Attariyan, Gelly, "Parameter-Efficient Transfer
Learning for NLP", ICML 2019, arXiv:1902.00751, section 2.1: one after each sub-layer. Pfeiffer, Kamath, Ruckle, Cho,
Gurevych, "AdapterFusion", EACL 2021, arXiv:2005.00247: only after the feed-forward. In the terms of He, Zhou, Ma,
Berg-Kirkpatrick, Neubig, "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022,
arXiv:2110.04366: form relu, sequential, at the attention and the feed-forward.

Pfeiffer's adapter stands behind the residual sum and its norm. The blocks of a denoiser have the norm first and none
at their end, so here it stands where Houlsby's second does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import LitmusError, Method, Network, register
from bench.method.bypass import Bottleneck, Series, bottleneck_size, insert
from bench.network.sites import sites

PLACEMENTS = {"houlsby": "attn.to_out+ff.down", "pfeiffer": "ff.down"}


@register
@dataclass(frozen=True)
class SeriesAdapter(Method):
    """An adapter after each sub-layer, before the residual sum.

    placement  houlsby: after every attention and feed-forward; pfeiffer: after the feed-forward alone
    width      of the bottleneck
    scale      fixed factor on the adapter's output
    init       zero: the up-projection starts at 0; paper: both weights normal with deviation 0.01 cut off at two
               deviations, biases 0 (Houlsby et al.), so that the start is only near the base
    """

    name = "series_adapter"
    paper = "arXiv:1902.00751, section 2.1"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    mergeable = False  # relu stands between the two layers
    packable = True
    formula = "h <- h + s relu(h W_down + b_down) W_up + b_up"

    placement: str = "houlsby"
    width: int = 32
    scale: float = 1.0
    init: str = "zero"

    def __post_init__(self) -> None:
        for field, known in (("placement", PLACEMENTS), ("init", ("zero", "paper"))):
            if getattr(self, field) not in known:
                raise LitmusError(f"{self.name}: {field} is one of {', '.join(known)}, not {getattr(self, field)!r}")
        if self.width < 1:
            raise LitmusError(f"{self.name}: width is at least 1, not {self.width}")

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.init == "zero"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for layer in sites(net, PLACEMENTS[self.placement]).values():
            out = len(layer.weight)
            adapter = Bottleneck(out, out, self.width, self.scale, layer.weight).draw(rng)
            if self.init == "paper":
                _near_zero(adapter, rng)
            insert(layer, "series_adapter", Series(adapter))

    def count(self, net: Network) -> int:
        layers = sites(net, PLACEMENTS[self.placement]).values()
        return sum(bottleneck_size(len(m.weight), len(m.weight), self.width) for m in layers)


@torch.no_grad()
def _near_zero(adapter: Bottleneck, rng: torch.Generator) -> None:
    for layer in (adapter.down, adapter.up):
        draw = torch.empty(layer.weight.shape, device="cpu")
        layer.weight.copy_(torch.nn.init.trunc_normal_(draw, 0.0, 0.01, -0.02, 0.02, generator=rng))
