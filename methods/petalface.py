"""PETALface: two LoRAs at each layer, blended by a weight q between 0 and 1.

Narayan, Nair, Xu, Chellappa, Patel, "PETALface: Parameter Efficient Transfer Learning for Low-resolution Face
Recognition", WACV 2025, arXiv:2412.07771. There q says how good the input picture is; who makes a picture
has none to look at. So q is either fixed ("constant", and then it merges) or follows the noise level ("timestep",
q = t / 1000: pair 1 learns the noisy end and pair 2 the clean one). The second is our reading of the idea and not the
paper's. Rank 4, scale 1 and the start N(0, 1 / rank^2) below, 0 above are those of Kartik-3004/PETALface (config.py,
lora_layers.py at c213e1d); its dropout of 0.1 is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.method import LitmusError, Network, register
from bench.method.reparam import Reparam, apply, flat, grouped, mix, normal, thetas

GATES = ("constant", "timestep")
LAST = 1000.0  # a Network's times run from 0 to 1000


@register
@dataclass(frozen=True)
class PETALface(Reparam):
    """Train two pairs B_1 A_1 and B_2 A_2 for each weight at `targets`.

    gate  constant: q is the field `q`; timestep: q = t / 1000, one for each sample
    """

    name = "petalface"
    paper = "arXiv:2412.07771"
    formula = "y = W x + s (q B_1 A_1 + (1 - q) B_2 A_2) x"
    lr = 5e-4  # a quarter of LoRA's here: A starts several times as large
    space = {"lr": (3e-5, 5e-3, "log"), "rank": (1, 64, "log")}
    size_field = "rank"

    rank: int = 4
    scale: float = 1.0
    gate: str = "timestep"
    q: float = 0.5

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LitmusError(f"petalface: rank is at least 1, not {self.rank}")
        if self.gate not in GATES:
            raise LitmusError(f"petalface: gate is constant or timestep, not {self.gate!r}")
        if not 0 <= self.q <= 1:
            raise LitmusError(f"petalface: q is from 0 to 1, not {self.q}")

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        return self.gate == "constant"

    def init(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        (out, in_), r = w.shape, self.rank
        theta: dict[str, Tensor] = {}
        for i in (1, 2):
            theta[f"a{i}"] = normal((r, in_), 1 / r, rng, w)
            theta[f"b{i}"] = w.new_zeros(out, r)
        return theta

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        if self.gate == "timestep":
            clock = Clock()
            net.register_forward_pre_hook(clock.read, with_kwargs=True)
            net.register_forward_hook(clock.keep)
            for _, theta in thetas(net):
                theta.clock = clock

    def weight(self, w: Tensor, theta: Any) -> Tensor:
        if self.gate == "timestep":
            raise LitmusError("petalface: a gate that follows the timestep has no one weight: say gate=constant")
        return w + self.scale * (self.q * (theta.b1 @ theta.a1) + (1 - self.q) * (theta.b2 @ theta.a2))

    def forward(self, layer: Any, x: Tensor, theta: Any) -> Tensor:
        if self.gate == "constant" and grouped(layer):
            return super().forward(layer, x, theta)
        y = apply(layer, x, flat(layer.weight), layer.bias)
        one, two = (
            mix(layer, apply(layer, x, a), b) for a, b in ((theta.a1, theta.b1), (theta.a2, theta.b2))
        )  # both (B, ...) as y
        q: Any = self.q
        if self.gate == "timestep":
            q = theta.clock.share(y)
        return y + self.scale * (q * one + (1 - q) * two)

    def size(self, out: int, in_: int) -> int:
        return 2 * self.rank * (out + in_)


class Clock:
    """The times of the forward that is under way, read from the network's own arguments.

    The layers and the hooks of one network share one; deepcopy gives the copy one of its own, which has not yet read
    anything.
    """

    t: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Clock:
        return Clock()

    def read(self, net: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.t = kwargs["t"] if "t" in kwargs else args[1]

    def keep(self, net: Any, args: tuple[Any, ...], out: Tensor) -> None:
        """Gradient checkpointing runs layers again while it goes back, when another forward may have been since."""
        t = self.t
        if out.requires_grad:
            out.register_hook(lambda _: setattr(self, "t", t))

    def share(self, y: Tensor) -> Tensor:
        """q (B, 1, ...) for the samples of `y` (B, ...)."""
        if self.t is None:
            raise LitmusError("petalface: no timestep seen: call the network itself, not its denoiser")
        q = (self.t.float() / LAST).clamp(0, 1)  # in bf16, 999 would be 1000
        return q.to(y.dtype).reshape(-1, *[1] * (y.ndim - 1))
