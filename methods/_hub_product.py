"""Tuners that add a product to each weight, or a product of it and the weight. Imported by methods/hub.py."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, Network, register
from methods._hub_lora import LowRank
from methods._peft import ADAPTER, LINEAR, LINEAR_CONV, Shape, Tuner, divisor, shape_of, wrapped


def one_of(method: Any, field: str, known: tuple[str, ...]) -> None:
    if getattr(method, field) not in known:
        raise LitmusError(f"{method.name}: {field} is one of {', '.join(known)}, not {getattr(method, field)!r}")


@dataclass(frozen=True)
class Lycoris(LowRank):
    """LoHa and LoKr; peft's forward draws a random number for each layer, even where nothing is dropped."""

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for _, layer in wrapped(net.denoiser):
            layer.forward = MethodType(_undropped, layer)


def _undropped(layer: Any, x: Tensor) -> Tensor:
    y = layer.base_layer(x)
    return y + layer._get_delta_activations(ADAPTER, x).to(y.dtype)


@register
@dataclass(frozen=True)
class LoHa(Lycoris):
    """The element-wise product of two low-rank products, of rank up to rank squared.

    Hyeon-Woo, Ye-Bin, Oh, "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", ICLR
    2022, arXiv:2108.06098, section 2.2; for diffusion in LyCORIS, arXiv:2309.14859. One of the four factors starts
    at 0.
    """

    name = "loha"
    paper = "arXiv:2108.06098, section 2.2"
    config = "LoHaConfig"
    kinds = LINEAR_CONV
    formula = "W' = W + (alpha / rank) (B1 A1) * (B2 A2), element by element"
    packable = False  # peft's own backward pass has no batched form

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "alpha": self.rank if self.alpha is None else self.alpha}

    def size(self, shape: Shape) -> int:
        return 2 * self.rank * sum(shape)


@register
@dataclass(frozen=True)
class LoKr(Lycoris):
    """The Kronecker product of a small matrix C (o1, i1) and a low-rank one B A (o2, i2), o1 o2 = out, i1 i2 = in.

    Yeh, Hsieh, Gao, Yang, Oh, Gong, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
    Evaluation", ICLR 2024, arXiv:2309.14859, section 3.2, equation 4. In peft C starts at 0. Where rank is half of
    max(o2, i2) or more, that matrix is trained whole.
    factor  the size of C: o1 and i1 are the largest divisors not above it; -1 makes both matrices as square as can be,
            which is peft's default and stops at few scalars
    """

    name = "lokr"
    paper = "arXiv:2309.14859, section 3.2"
    config = "LoKrConfig"
    formula = "W' = W + (alpha / rank) kron(C, B A)"

    rank: int = 2
    factor: int = 4

    def settings(self, shape: Shape) -> dict[str, Any]:
        alpha = self.rank if self.alpha is None else self.alpha
        return {"r": self.rank, "alpha": alpha, "decompose_factor": self.factor}

    def size(self, shape: Shape) -> int:
        from peft.tuners.lokr.layer import factorization

        (o1, o2), (i1, i2) = (factorization(side, self.factor) for side in shape)
        return o1 * i1 + (self.rank * (o2 + i2) if self.rank < max(o2, i2) / 2 else o2 * i2)


@register
@dataclass(frozen=True)
class HiRA(LowRank):
    """The weight times a low-rank product, element by element, so that the change has the weight's own rank.

    Huang, Ko, Zhuang, Tang, Zhang, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language
    Models", ICLR 2025 (OpenReview TwJrTz9cRS). There is no scale.
    """

    name = "hira"
    paper = "OpenReview TwJrTz9cRS"
    config = "HiraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "rank": (1, 64, "log")}
    formula = "W' = W + W * (B A), element by element"

    alpha: None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}


@register
@dataclass(frozen=True)
class GraLoRA(LowRank):
    """LoRA on each of blocks x blocks tiles of the weight, with rank / blocks for each tile.

    Jung, Ahn, Kim, Kim, Park, "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", NeurIPS
    2025, arXiv:2505.20355, section 3.1, equation 5. The rank is taken up to the next multiple of blocks, and blocks is
    the largest divisor of both sides not above the one given.
    """

    name = "gralora"
    paper = "arXiv:2505.20355, section 3.1"
    config = "GraloraConfig"
    formula = "W'[j, k] = W[j, k] + (alpha / rank) B[j, k] A[j, k] for each tile"
    packable = False  # peft adds in place to the base layer's output

    blocks: int = 2

    def _blocks(self, shape: Shape) -> int:
        return divisor(self.blocks, *shape)

    def fitting(self, shape: Shape) -> int:
        k = self._blocks(shape)
        return -(-self.rank // k) * k

    def settings(self, shape: Shape) -> dict[str, Any]:
        r = self.fitting(shape)
        return {"r": r, "alpha": r if self.alpha is None else self.alpha, "gralora_k": self._blocks(shape)}


@register
@dataclass(frozen=True)
class GLoRA(LowRank):
    """Low-rank factors that scale the weight and add to it, and, where there is a bias, that move the bias.

    Chavan, Liu, Gupta, Xing, Shen, "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", 2023,
    arXiv:2306.07967. A, B low-rank, C low-rank, D and E a number each, which are peft's defaults.
    """

    name = "glora"
    paper = "arXiv:2306.07967"
    config = "GloraConfig"
    formula = "W' = W + W * A + B, b' = b + D b + E + W C"

    rank: int = 2
    alpha: None = None

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank}

    def cost(self, layer: Any) -> int:
        out, in_ = shape_of(layer)
        bias = self.rank * (in_ + 1) + 2 if layer.bias is not None else 0
        return 2 * self.rank * (out + in_) + bias


@register
@dataclass(frozen=True)
class DeLoRA(LowRank):
    """LoRA whose rank-one parts all have the same size, a trained bound lambda over the rank.

    Bini, Girrbach, Akata, "Decoupling Angles and Strength in Low-rank Adaptation", ICLR 2025, arXiv:2503.18225. As peft
    does it, each input is weighted by the norm of its column of W.
    bound  lambda at the start
    """

    name = "delora"
    paper = "arXiv:2503.18225"
    config = "DeloraConfig"
    formula = "W' = W + (lambda / rank) B D A |W|, D = diag(1 / (|b_k| |a_k|))"
    packable = False  # peft adds up in place

    alpha: None = None
    bound: float = 15.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "delora_lambda": self.bound}

    def size(self, shape: Shape) -> int:
        return super().size(shape) + 1


@register
@dataclass(frozen=True)
class DEFT(LowRank):
    """Take a low-rank part of the weight's output away, and put a trained one in its place.

    Kumar, Anwer, Shahbaz Khan, Khan, Laptev, Cholakkal, "DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image
    Models", NeurIPS 2025; paper not read, as peft's tuner. Not the density-efficient fine-tuning of the same name. The
    rank stops at out.
    decomposition  relu: Q = P, V = relu(P); qr: both are the orthonormal factor of P
    para           only take away (no R), a start that is not the base: Chen, Pan, Cai, Phung, "PaRa: Personalizing
                   Text-to-Image Diffusion via Parameter Rank Reduction", ICLR 2025
    """

    name = "deft"
    paper = "NeurIPS 2025, Kumar et al."
    config = "DeftConfig"
    formula = "W' = W - Q V^T W + Q R"

    alpha: None = None
    decomposition: str = "qr"
    para: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "decomposition", ("relu", "qr"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return not self.para

    def fitting(self, shape: Shape) -> int:
        return min(self.rank, shape[0])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.fitting(shape), "decomposition_method": self.decomposition, "para": self.para}

    def size(self, shape: Shape) -> int:
        return self.fitting(shape) * (shape[0] if self.para else sum(shape))


@register
@dataclass(frozen=True)
class PEANuT(LowRank):
    """A small network that reads each input's column of the weight and gives what is added to it.

    Zhong, Jiang, Li, Nakada, Liu, Zhang, Yao, Wang, "PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural
    Tweakers", 2024, arXiv:2410.01870; paper not read, as peft's tuner.
    depth  pairs of (rank, rank) layers between A (rank, out) and B (out, rank); peft's and our default is none
    """

    name = "peanut"
    paper = "arXiv:2410.01870"
    config = "PeanutConfig"
    formula = "W' = W + scale B relu(A W)"

    alpha: None = None
    depth: int = 0
    scale: float = 1.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "depth": self.depth, "scaling": self.scale}

    def size(self, shape: Shape) -> int:
        return 2 * self.rank * shape[0] + 2 * self.depth * self.rank**2


@register
@dataclass(frozen=True)
class Lily(LowRank):
    """LoRA with an A of each layer's own and experts B that all layers of one name and shape share.

    Zhong, Zhao, Zhou, "Low-Rank Interconnected Adaptation across Layers", Findings of ACL 2025, arXiv:2407.09946; paper
    not read, as peft's tuner. A router weighs the experts by the mean over all tokens of the batch, as peft does it, so
    a sample's result hangs a little on its neighbours.
    experts  how many B
    """

    name = "lily"
    paper = "arXiv:2407.09946"
    config = "LilyConfig"
    formula = "y = W x + scale (sum_e p_e B_e) A x, p = softmax(R A x)"
    mergeable = False  # the router looks at the input

    alpha: None = None
    experts: int = 2
    scale: float = 1.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "num_B": self.experts, "scaling": self.scale}

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        shared: dict[tuple[str, Shape], nn.Parameter] = {}
        for path, layer in wrapped(net.denoiser):  # peft has shared one B, still 0, between all weights of one shape
            kin = _kin(path), shape_of(layer.get_base_layer())
            # Modules apart and the tensor shared: functional_call cannot put a shared module back as it was.
            layer.lily_B[ADAPTER] = own = copy.deepcopy(layer.lily_B[ADAPTER])
            own.weight = shared.setdefault(kin, own.weight)

    def count(self, net: Network) -> int:
        layers = self.layers(net)
        shared = {(_kin(path), shape_of(layer)) for path, layer in layers.items()}
        own = sum(self.rank * (shape_of(layer)[1] + self.experts) for layer in layers.values())
        return own + sum(self.experts * self.rank * out for _, (out, _) in shared)


def _kin(path: str) -> str:
    """The last name of a path with the numbers after it: to_q, to_out.0."""
    found = re.search(r"[^.]+(\.\d+)*$", path)
    return found.group() if found else path


@register
@dataclass(frozen=True)
class MiSS(Tuner):
    """One small matrix D that all pieces of the weight's input share; Bone and its block-affine form live here too.

    Kang, Yin, "MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure", 2024,
    arXiv:2409.15371 (title of version 12); earlier versions, by Kang alone, call it Bone, "Block-Affine Adaptation".
    rank  rows of D: the input is cut into pieces of that length
    form  plain: D (rank, out), peft's default and Bone's plain form; bat: D (out / rank, rank, rank) times each tile
          of W, the block-affine form, rank being the largest divisor of both sides not above the one given;
          mini: D (rank, mini) repeated along out
    mini  columns of D in the form mini; the largest divisor of out not above it
    """

    name = "miss"
    paper = "arXiv:2409.15371"
    config = "MissConfig"
    kinds = LINEAR
    space = {"lr": (1e-4, 1e-2, "log"), "rank": (1, 64, "log")}
    size_field = "rank"
    formula = "plain: W'[:, k] = W[:, k] + D^T; bat: W'[j, k] = W[j, k] + W[j, k] D_j + D_j"

    rank: int = 8
    form: str = "plain"
    mini: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "form", ("plain", "bat", "mini"))

    def _rank(self, shape: Shape) -> int:
        return divisor(self.rank, *shape) if self.form == "bat" else min(self.rank, shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        start = True if self.form == "plain" else self.form
        return {"r": self._rank(shape), "init_weights": start, "mini_r": divisor(self.mini, shape[0])}

    def size(self, shape: Shape) -> int:
        return self._rank(shape) * (divisor(self.mini, shape[0]) if self.form == "mini" else shape[0])
