"""Changes of one weight as other tools store them: LoRA, LoHa, LoKr, each with DoRA's magnitude where there is one.

LoRA (Hu et al., arXiv:2106.09685), LoHa and LoKr as in LyCORIS (Yeh et al., arXiv:2309.14859, section 3), the magnitude
of DoRA (Liu et al., arXiv:2402.09353, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import LitmusError


@dataclass(frozen=True)
class Change:
    """W (out, in) or (out, in, kh, kw) -> W'.

    size  (out,) DoRA's magnitude: each row of W + delta is brought to this norm; None: W' = W + delta
    """

    size: Tensor | None

    def delta(self, shape: torch.Size) -> Tensor:
        """What is added to a weight of this shape. Raises RuntimeError where the factors do not make one."""
        raise NotImplementedError

    def weight(self, w: Tensor) -> Tensor:
        """W' in W's precision, computed in float32 at least."""
        wide = torch.promote_types(w.dtype, torch.float32)
        new = w.to(wide) + self.delta(w.shape).to(w.device, wide)
        if self.size is not None:
            rows = new.flatten(1)
            new = (rows * (self.size.to(rows).view(-1, 1) / rows.norm(dim=1, keepdim=True))).view_as(w)
        return new.to(w.dtype)


@dataclass(frozen=True)
class LowRank(Change):
    """scale up down.

    down (r, in) or (r, in, kh, kw); up (out, r) or (out, r, 1, 1); mid (r, r, kh, kw) is Tucker's core.
    """

    down: Tensor
    up: Tensor
    scale: float
    mid: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self, shape: torch.Size) -> Tensor:
        down, up = self.down.float().flatten(1), self.up.float().flatten(1)
        if self.mid is None:
            return (self.scale * up @ down).view(shape)
        return (self.scale * torch.einsum("pi, i j h w, j r -> p r h w", up, self.mid.float(), down)).view(shape)


@dataclass(frozen=True)
class Hadamard(Change):
    """scale (a1 b1) * (a2 b2), element by element: a (out, r), b (r, in); with cores t (r, r, kh, kw) a is (r, out)."""

    factors: tuple[Tensor, Tensor, Tensor, Tensor]  # a1, b1, a2, b2
    scale: float
    cores: tuple[Tensor, Tensor] | None = None

    @property
    def rank(self) -> int:
        return self.factors[1].shape[0]

    def delta(self, shape: torch.Size) -> Tensor:
        a1, b1, a2, b2 = (x.float() for x in self.factors)
        if self.cores is None:
            return (self.scale * (a1 @ b1) * (a2 @ b2)).view(shape)
        t1, t2 = (t.float() for t in self.cores)
        core = "i j h w, j r, i p -> p r h w"
        return (self.scale * torch.einsum(core, t1, b1, a1) * torch.einsum(core, t2, b2, a2)).view(shape)


@dataclass(frozen=True)
class Kronecker(Change):
    """scale kron(left, right), each whole or a pair (a, b) whose product it is.

    left (o1, i1), right (o2, i2) or (o2, i2, kh, kw), with o1 o2 = out and i1 i2 = in; core (r, r, kh, kw) is Tucker's
    core of right.
    """

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]
    scale: float
    core: Tensor | None = None

    @property
    def rank(self) -> int | None:
        """None where both are whole, so that nothing has a rank."""
        pair = next((x for x in (self.right, self.left) if len(x) == 2), None)
        return None if pair is None else pair[1].shape[0]

    def delta(self, shape: torch.Size) -> Tensor:
        left = _product(self.left)
        if self.core is not None:
            a, b = (x.float() for x in self.right)
            right = torch.einsum("i j h w, i p, j r -> p r h w", self.core.float(), a, b)
        else:
            right = _product(self.right)
        o1, i1 = left.shape
        if len(shape) == 4:
            right = right.view(shape[0] // o1, shape[1] // i1, *shape[2:])
            left = left[:, :, None, None]
        return (self.scale * torch.kron(left, right)).view(shape)


def _product(factors: tuple[Tensor, ...]) -> Tensor:
    return factors[0].float() if len(factors) == 1 else factors[0].float() @ factors[1].float()


Changes = dict[str, Change]  # by the path of the layer inside its part


# --- taken from a network -----------------------------------------------------------------------------------------


def of_layers(part: nn.Module, frozen: nn.Module) -> Changes | None:
    """The changes in a `part` that peft's LoRA, AdaLoRA, LoHa and LoKr layers hold; None where there is anything else.

    `frozen` is the part as it was: where the start was cut out of the base's weight (PiSSA, OLoRA, CorDA, LoRA-GA),
    the rest of the weight is no longer the base's, and what was cut out joins the factors, twice the rank.
    """
    from peft.tuners.loha.layer import LoHaLayer
    from peft.tuners.lokr.layer import LoKrLayer
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    ways: dict[type, Callable[[Any, Tensor], Change | None]] = {
        LoraLayer: _of_lora, LoHaLayer: _of_loha, LoKrLayer: _of_lokr
    }  # fmt: skip
    changes: Changes = {}
    seen: set[int] = set()
    for path, layer in part.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        way = next((way for kind, way in ways.items() if isinstance(layer, kind)), None)
        change = way(layer, frozen.get_submodule(path).weight) if way else None  # type: ignore[arg-type]
        if change is None:
            return None
        changes[path] = change
        module: Any = layer  # peft's tuner layers are modules, too
        seen |= {id(p) for p in module.parameters()}
    alone = all(id(p) in seen for p in part.parameters() if p.requires_grad)
    return changes if alone else None


def _of_lora(layer: Any, frozen: Tensor) -> LowRank | None:
    (name,) = layer.lora_A.keys()
    if (variant := layer.lora_variant.get(name)) is not None and not type(variant).__name__.startswith("Dora"):
        return None
    a, b, scale = layer.lora_A[name], layer.lora_B[name], float(layer.scaling[name])
    if hasattr(layer, "lora_E"):  # AdaLoRA: A and B are tensors, E the values between them
        a, scale = a * layer.lora_E[name], scale / layer.r[name]
    else:
        if getattr(b, "bias", None) is not None:
            return None
        a, b = a.weight, b.weight
    a, b = a.detach(), b.detach()
    size = getattr(layer, "lora_magnitude_vector", {})
    size = size[name].weight.detach().flatten() if name in size else None
    left = layer.get_base_layer().weight.detach().float() - frozen.detach().float()
    if left.any():
        up, down = factored(left.flatten(1), layer.r[name])
        down, up = (x.to(a) for x in (down, up))
        down = torch.cat([a, down.view(-1, *a.shape[1:])])
        b = torch.cat([scale * b, up.view(len(b), -1, *b.shape[2:])], dim=1)
        return LowRank(size, down, b, 1.0)
    return LowRank(size, a, b, scale)


def _of_loha(layer: Any, frozen: Tensor) -> Hadamard:
    (name,) = layer.hada_w1_a.keys()
    a1, b1, a2, b2 = (getattr(layer, f"hada_{key}")[name].detach() for key in ("w1_a", "w1_b", "w2_a", "w2_b"))
    cores = (layer.hada_t1[name].detach(), layer.hada_t2[name].detach()) if name in layer.hada_t1 else None
    return Hadamard(None, (a1, b1, a2, b2), float(layer.scaling[name]), cores)


def _of_lokr(layer: Any, frozen: Tensor) -> Kronecker:
    (name,) = layer.scaling.keys()

    def side(key: str) -> tuple[Tensor, ...]:
        whole = getattr(layer, f"lokr_{key}")
        if name in whole:
            return (whole[name].detach(),)
        return tuple(getattr(layer, f"lokr_{key}_{half}")[name].detach() for half in "ab")

    core = layer.lokr_t2[name].detach() if name in layer.lokr_t2 else None
    return Kronecker(None, side("w1"), side("w2"), float(layer.scaling[name]), core)


def factored(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """up (out, r), down (r, in): the nearest product of that rank to `delta` (out, in), by its singular values."""
    u, s, vh = torch.linalg.svd(delta.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]


NOISE = 1e-9  # of the largest singular value, computed in float64: what lies below is rounding


def by_difference(merged: nn.Module, frozen: nn.Module, rank: int | None = None) -> tuple[Changes, float]:
    """(LoRA factors, error) of what tells a `merged` part, in float64, from the `frozen` one.

    Without `rank` each layer gets the rank that its change has, and a change of more than half the full rank is
    refused, as are changed biases and norms, which LoRA does not know. With `rank` the nearest factors of that rank are
    taken; error is the largest part of a layer's change (Frobenius norm) that they leave out.
    """
    after, changes, worst = dict(merged.named_parameters()), Changes(), 0.0
    for key, before in frozen.named_parameters():
        delta = after[key].detach() - before.detach().double()
        if not delta.any():
            continue
        path, _, kind = key.rpartition(".")
        if kind != "weight" or not isinstance(frozen.get_submodule(path), nn.Linear | nn.Conv2d):
            raise LitmusError(f"{key} is changed, which a LoRA file cannot say: save the whole pipeline (litmus merge)")
        s = torch.linalg.svdvals(delta.flatten(1))
        own = int((s > NOISE * s[0]).sum())
        if rank is None and own > len(s) // 2:
            raise LitmusError(
                f"the change of {path} has rank {own} of {len(s)} and is no LoRA: save the whole pipeline (litmus "
                "merge), or take the nearest of a rank (--rank 32)"
            )
        r = own if rank is None else min(rank, own)
        up, down = factored(delta.flatten(1), r)
        worst = worst if rank is None else max(worst, float(s[r:].norm() / s.norm()))
        down = down.view(r, *delta.shape[1:]).to(before)
        changes[path] = LowRank(None, down, up.view(len(delta), r, *(1 for _ in delta.shape[2:])).to(before), 1.0)
    return changes, worst
