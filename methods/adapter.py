"""Bottleneck adapters between any two positions of a block: h_target += scale * up(activation(down(h_source))).

Xiang, Bao, Li, Su, Zhu, "A Closer Look at Parameter-Efficient Tuning in Diffusion Models", arXiv:2303.18181, section 3;
the code behind it is https://github.com/Xiang-cd/unet-finetune at e87962c. Positions, legal pairs: bench.network.sites.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, floating, register
from bench.network.sites import PAIRS, POSITIONS, bridge, features, ways

# The published best pair with an up-projection that starts at 0, and narrower: where the defaults come from.
PAPER: dict[str, Any] = {
    "source": "attn2o",
    "target": "ffni",
    "activation": "relu",
    "scale": 1.0,
    "width": 32,
    "init": "zero",
}
RELEASED = PAPER | {"width": 60, "init": "paper"}  # as the authors' code has it: 1,511,040 scalars on SD 1.5
WINNER = Path(__file__).with_name("adapter_winner.json")  # written by `litmus anova --publish`


def defaults(file: Path = WINNER) -> dict[str, Any]:
    """The settings of the last published study (`litmus anova`), or PAPER's where none has been published."""
    if not file.is_file():
        return PAPER
    try:
        return PAPER | {k: v for k, v in json.loads(file.read_text(encoding="utf-8"))["hyper"].items() if k in PAPER}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LitmusError(f"{file.name} is no study's winner ({error}): delete it, or litmus anova --publish") from None


_DEFAULT = defaults()
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "silu": nn.SiLU, "identity": nn.Identity}


@register
@dataclass(frozen=True)
class Adapter(Method):
    """One adapter in each transformer block, or in each residual block where the positions are resi and reso.

    source, target  positions; the paper's best pair is cross-attention's output, the feed-forward's input
    activation      relu, sigmoid, silu or identity
    scale           fixed factor on the adapter's output; the paper tries 0.5, 1, 2, 4
    width           of the bottleneck
    init            zero: the up-projection starts at 0, so that the start is the base; paper: both layers start as
                    torch's Linear does, so that it is not
    The defaults are the winner of the last published study of positions, else adapter[best_pair]: the paper's best
    positions, activation and scale with width 32 and a start at the base. adapter[released] is what the authors' code
    trains: width 60, with torch's own start. (adapter[paper], the older name of the first, is still understood.)
    """

    name = "adapter"
    paper = "arXiv:2303.18181, section 3"
    lr = 2e-3
    quantised = True
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    presets = {"best_pair": PAPER, "released": RELEASED, "paper": PAPER}
    size_field = "width"
    mergeable = False  # the target's position has no layer of its own that could take the adapter in
    packable = True
    formula = "h_target <- h_target + s W_up act(W_down h_source + b_down) + b_up"

    source: str = _DEFAULT["source"]
    target: str = _DEFAULT["target"]
    activation: str = _DEFAULT["activation"]
    scale: float = _DEFAULT["scale"]
    width: int = _DEFAULT["width"]
    init: str = _DEFAULT["init"]

    def __post_init__(self) -> None:
        if (self.source, self.target) not in PAIRS:
            legal = [b for a, b in PAIRS if a == self.source]
            hint = f"from {self.source} to {', '.join(legal)}" if legal else f"source is one of {', '.join(POSITIONS)}"
            raise LitmusError(f"adapter: no way from {self.source!r} to {self.target!r}: {hint}")
        for field, known in (("activation", ACTIVATIONS), ("init", ("zero", "paper"))):
            if getattr(self, field) not in known:
                raise LitmusError(f"adapter: {field} is one of {', '.join(known)}, not {getattr(self, field)!r}")
        if self.width < 1:
            raise LitmusError(f"adapter: width is at least 1, not {self.width}")

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.init == "zero"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for block in ways(net, self.source, self.target).values():
            like = floating(block)
            bypass = self._bypass(block).to(like.dtype).to_empty(device=like.device)
            bypass.draw(rng, zero_up=self.init == "zero")
            bridge(block, self.source, self.target, bypass, "adapter")

    def count(self, net: Network) -> int:
        total = 0
        for block in ways(net, self.source, self.target).values():
            c_in, c_out, m = features(block, self.source), features(block, self.target), self.width
            # Residual blocks: a norm's weight and bias, and 3 x 3 convolutions.
            taps, norm = (9, 2 * c_in) if POSITIONS[self.source].block == "resblock" else (1, 0)
            total += norm + taps * (c_in * m + m * c_out) + m + c_out
        return total

    def _bypass(self, block: Any) -> Bypass:
        """The adapter of one block in shapes alone: on the meta device, where torch draws no numbers."""
        c_in, c_out, m = features(block, self.source), features(block, self.target), self.width
        activation = ACTIVATIONS[self.activation]()
        with torch.device("meta"):
            if POSITIONS[self.source].block == "block":  # x (B, L, C)
                return Bypass(nn.Linear(c_in, m), activation, nn.Linear(m, c_out), self.scale)
            # x (B, C, H, W): openaimodel_inject.py puts a norm (of the block's own groups) and SiLU before the first
            norm = nn.GroupNorm(block.norm1.num_groups, c_in)
            down, up = nn.Conv2d(c_in, m, 3, padding=1), nn.Conv2d(m, c_out, 3, padding=1)
            return Bypass(down, activation, up, self.scale, norm)


class Bypass(nn.Module):
    """x -> scale * up(activation(down(x))), with SiLU(norm(x)) in place of x where there is a norm."""

    def __init__(self, down: nn.Module, activation: nn.Module, up: nn.Module, scale: float, norm: Any = None):
        super().__init__()
        self.norm, self.down, self.activation, self.up, self.scale = norm, down, activation, up, scale

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = F.silu(self.norm(x))
        return self.scale * self.up(self.activation(self.down(x)))

    @torch.no_grad()
    def draw(self, rng: torch.Generator, zero_up: bool) -> None:
        """Both layers as torch's own start: weight and bias uniform within 1 / sqrt(fan in)."""
        for layer in (self.down, self.up):
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            bound = weight[0].numel() ** -0.5
            for p in (weight, bias):
                p.copy_(torch.empty(p.shape, device="cpu").uniform_(-bound, bound, generator=rng))
                if zero_up and layer is self.up:
                    p.zero_()
        if self.norm is not None:
            self.norm.reset_parameters()  # 1 and 0
