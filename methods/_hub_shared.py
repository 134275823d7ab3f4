"""Tuners that train few numbers against frozen random or shared tensors. Imported by methods/hub.py.

What is random and frozen comes from the hyperparameter `projection_seed`, never from the run's own stream, so that it
need not be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.method import Network, register
from methods._hub_product import one_of
from methods._peft import Shape, Tuner, divisor, part_holders, shape_of, wrapped


@register
@dataclass(frozen=True)
class VeRA(Tuner):
    """LoRA with frozen random A and B that all layers share; a layer trains a scale for each of their rows.

    Kopiczko, Blankevoort, Asano, "VeRA: Vector-based Random Matrix Adaptation", ICLR 2024, arXiv:2310.11454. d (rank,)
    starts at 0.1, b (out,) at 0. Mostly out counts, so rank is a weak measure of size.
    """

    name = "vera"
    paper = "arXiv:2310.11454"
    config = "VeraConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log"), "rank": (16, 1024, "log")}
    size_field = "rank"
    formula = "W' = W + diag(b) B diag(d) A"

    rank: int = 256
    projection_seed: int = 0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"r": self.rank, "projection_prng_key": self.projection_seed}

    def size(self, shape: Shape) -> int:
        return shape[0] + self.rank


@register
@dataclass(frozen=True)
class PVeRA(VeRA):
    """VeRA whose inner vector is drawn, while training, from a normal with trained mean and variance.

    Fillioux, Ferrante, Cournede, Vakalopoulou, Christodoulidis, "PVeRA: Probabilistic Vector-Based Random Matrix
    Adaptation", WACV 2026, arXiv:2512.07703. Inference and merging take the mean. The draws follow projection_seed,
    layer and step, so that a gradient computed twice is the same.
    """

    name = "pvera"
    paper = "arXiv:2512.07703"
    config = "PveraConfig"
    formula = "y = W x + b * B z, z ~ N(mu, exp(v)), (mu, v) = d * A x"

    def size(self, shape: Shape) -> int:
        return shape[0] + 2 * self.rank

    def attach(self, net: Network, rng: torch.Generator) -> None:
        super().attach(net, rng)
        for i, (_, layer) in enumerate(wrapped(net.denoiser)):
            layer.draw = (self.projection_seed, i, 0)
            layer._reparametrize = MethodType(_drawn, layer)

    def step(self, net: Network, i: int, n: int) -> None:
        for k, (_, layer) in enumerate(wrapped(net.denoiser)):
            layer.draw = (self.projection_seed, k, i + 1)


def _drawn(layer: Any, mu: Tensor, logvar: Tensor, adapter: str) -> Tensor:
    if not layer.training:
        return mu
    # numpy, since vmap forbids torch's draws
    eps = torch.from_numpy(np.random.default_rng(layer.draw).standard_normal(mu.shape, dtype=np.float32))
    return mu + eps.to(mu) * torch.exp(0.5 * logvar)


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


@dataclass(frozen=True)
class Spectrum(Tuner):
    """A few entries of the change's spectrum, at places drawn from projection_seed.

    frequencies  how many entries for each weight; all of them where the weight has fewer
    """

    size_field = "frequencies"
    packable = False  # peft fills the spectrum in place

    frequencies: int = 1000
    projection_seed: int = 777

    def size(self, shape: Shape) -> int:
        return min(self.frequencies, shape[0] * shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"n_frequency": self.size(shape), "random_loc_seed": self.projection_seed}


@register
@dataclass(frozen=True)
class FourierFT(Spectrum):
    """A few real entries of the change's Fourier spectrum.

    Gao, Wang, Chen, Liu, Wu, Chen, Li, "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", ICML 2024,
    arXiv:2405.03003, section 3.1. They start at 0, or with start = normal as in the paper from a standard normal,
    which is not the base, and on small weights far from it: an entry moves each weight by scale / (out in).
    """

    name = "fourierft"
    paper = "arXiv:2405.03003, section 3.1"
    config = "FourierFTConfig"
    lr = 1e-2
    space = {"lr": (1e-3, 3e-1, "log"), "frequencies": (10, 100_000, "log")}
    formula = "W' = W + scale Re(F^-1(c)), c sparse"

    scale: float = 150.0
    start: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "start", ("normal", "zero"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.start == "zero"

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"scaling": self.scale, "init_weights": self.start == "zero"}


@register
@dataclass(frozen=True)
class WaveFT(Spectrum):
    """A few entries of the change's wavelet coefficients, from 0.

    Bilican, Yilmaz, Tekalp, Cinbis, "Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets", 2025,
    arXiv:2505.12532. Daubechies 1, as in peft, whose default is 2592 entries.
    """

    name = "waveft"
    paper = "arXiv:2505.12532"
    config = "WaveFTConfig"
    lr = 3e-3
    space = {"lr": (1e-4, 1e-1, "log"), "frequencies": (10, 100_000, "log")}
    formula = "W' = W + scale iDWT(c), c sparse"

    scale: float = 25.0

    def settings(self, shape: Shape) -> dict[str, Any]:
        return super().settings(shape) | {"scaling": self.scale}


@register
@dataclass(frozen=True)
class C3A(Tuner):
    """A change made of circulant blocks, each given by its first row.

    Chen, Cheng, Liu, Gao, Tsung, Li, Li, "Parameter-Efficient Fine-Tuning via Circular Convolution", ACL 2025,
    arXiv:2407.19342, section 3.4. Kernels start Xavier-uniform, peft's default, so the start is not the base, or with
    start = zero at 0.
    divide  a block's side is the largest divisor of both sides of the weight not above their gcd over this
    """

    name = "c3a"
    paper = "arXiv:2407.19342, section 3.4"
    config = "C3AConfig"
    lr = 3e-2
    space = {"lr": (1e-3, 1.0, "log"), "divide": (1, 64, "log")}
    size_field = "divide"
    formula = "W'[j, k] = W[j, k] + circulant(c[j, k]) / in for each block"
    packable = False  # peft adds in place to the base layer's output

    divide: int = 6
    start: str = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "start", ("xavier", "zero"))

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.start == "zero"

    def _block(self, shape: Shape) -> int:
        return divisor(int(np.gcd(*shape)) / self.divide, *shape)

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"block_size": self._block(shape), "init_weights": self.start == "zero" or "xavier_uniform"}

    def size(self, shape: Shape) -> int:
        return shape[0] * shape[1] // self._block(shape)
