"""VL-PET: an adapter after each sub-layer, and a gate of chosen granularity on what comes out.

Hu, Li, Lyu, Wang, "VL-PET: Vision-and-Language Parameter-Efficient Tuning via Granularity Control", ICCV 2023,
arXiv:2308.09804. With x the sub-layer's input, y its output and y1 = y + up(gelu(down(y))), the result is
G * y1 before the residual sum. The gates are those of the authors' repository, HenryHZY/VL-PET at 3a15b2b,
src/my_transformers/modeling_bart.py:

  large    G (B, L, C) = sigma(up_g(gelu(down_g(x))))
  middlex  G (B, L, 1) = sigma(w (x + y1) + b)
  middley  G (C,)      = 1 + g, g normal with deviation 0.02 at the start
  small    G (B, 1, 1) = the mean over the tokens of sigma(w [x, y1] + b)

A sigmoid gate starts near one half and halves every sub-layer, which a language model under long training takes and a
denoiser in a few hundred steps does not. So by default the gate starts at exactly one, as 2 sigma(0) or 1 + 0; this is
ours, and start=paper is theirs. Their several down-projections side by side ("multi-head") are one wide Linear, and
are written so here. They also train the encoder's norms, and adapt the decoder's values alone: a denoiser has no such
two halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from bench.method.bypass import Bottleneck, Branch, bottleneck_size, draw_down, insert, linear, sublayers, zero

GATES = ("large", "middlex", "middley", "small")


@register
@dataclass(frozen=True)
class VLPET(Method):
    """An adapter of bottleneck `width` after each sub-layer, its sum with the sub-layer's output gated.

    gate        large, middlex, middley or small
    width       of the adapter's bottleneck; 96 on models of width 768 in the authors' scripts
    gate_width  of the large gate's bottleneck; none: the same, as there
    start       base: every gate starts at one; paper: at about one half, middley near one
    """

    name = "vlpet"
    paper = "arXiv:2308.09804"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    mergeable = False  # gelu stands between the adapter's two layers
    packable = True
    formula = "h <- G * (y + gelu(y W_down) W_up), G = 2 sigma(gate(x, y)) from one number up to one per element"

    gate: str = "large"
    width: int = 16
    gate_width: int | None = None
    start: str = "base"

    def __post_init__(self) -> None:
        for field, known in (("gate", GATES), ("start", ("base", "paper"))):
            if getattr(self, field) not in known:
                raise LitmusError(f"vlpet: {field} is one of {', '.join(known)}, not {getattr(self, field)!r}")
        for field, value in (("width", self.width), ("gate_width", self.gate_width)):
            if value is not None and value < 1:
                raise LitmusError(f"vlpet: {field} is at least 1, not {value}")

    @property
    def gate_rank(self) -> int:
        """Width of the large gate's bottleneck."""
        return self.gate_width or self.width

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.start == "base"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for _, first, last in sublayers(net, "both"):
            in_, out = first.in_features, last.out_features
            # FLUX.2's single blocks end attention and feed-forward in one layer: gated once
            if not hasattr(last, "vlpet"):
                side = Gated(self, in_, out, last.weight).draw(self, rng)
                insert(last, "vlpet", side, source=first)

    def count(self, net: Network) -> int:
        ends = {path: (first.in_features, last.out_features) for path, first, last in sublayers(net, "both")}
        return sum(bottleneck_size(out, out, self.width) + self._gate_size(in_, out) for in_, out in ends.values())

    def _gate_size(self, in_: int, out: int) -> int:
        return {
            "large": bottleneck_size(in_, out, self.gate_rank),
            "middlex": out + 1,
            "middley": out,
            "small": in_ + out + 1,
        }[self.gate]


class Gated(Branch):
    """y -> G * (y + adapter(y))."""

    listens = True

    def __init__(self, method: VLPET, in_: int, out: int, like: Tensor):
        super().__init__()
        self.kind, self.factor = method.gate, 2.0 if method.start == "base" else 1.0
        adapter = Bottleneck(out, out, method.width, 1.0, like)
        self.down, self.up = adapter.down, adapter.up
        match method.gate:
            case "large":
                self.gate_down, self.gate = linear(in_, method.gate_rank, like), linear(method.gate_rank, out, like)
            case "middley":
                self.scale = nn.Parameter(like.new_zeros(out))  # (C,)
            case _:
                self.gate = linear(out if method.gate == "middlex" else in_ + out, 1, like)

    def draw(self, method: VLPET, rng: torch.Generator) -> Gated:
        draw_down(self.down, rng)
        zero(self.up)
        paper = method.start == "paper"
        if self.kind == "middley":
            if paper:
                with torch.no_grad():
                    self.scale.copy_(torch.randn(self.scale.shape, generator=rng, device="cpu") * 0.02)
            return self
        if self.kind == "large":
            draw_down(self.gate_down, rng)
        draw_down(self.gate, rng) if paper else zero(self.gate)
        return self

    def forward(self, y: Tensor) -> Tensor:
        x = self.take()
        y = y + self.up(F.gelu(self.down(y), approximate="tanh"))
        match self.kind:
            case "large":
                g = self.gate(F.gelu(self.gate_down(x), approximate="tanh"))
            case "middlex":
                g = self.gate(x + y)
            case "small":
                g = self.gate(torch.cat([x.to(y.dtype), y], dim=-1))
            case _:
                return y * (1 + self.scale.to(y.dtype))
        g = self.factor * torch.sigmoid(g).to(y.dtype)
        return y * (g.mean(dim=1, keepdim=True) if self.kind == "small" else g)
