"""BD-LoRA, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import LitmusError, Network, register
from bench.network.sites import sites
from methods._lowrank import LowRankTuner
from methods._peft import LINEAR, divisor, drawn_from, shape_of, wrap


@register
@dataclass(frozen=True)
class BDLoRA(LowRankTuner):
    """LoRA with one block-diagonal factor: B, but A in the layers that close a sub-layer.

    Wang, Kubler, Budhathoki, Wang, Kleindessner, "Block-Diagonal LoRA for Eliminating Communication Overhead in Tensor
    Parallel LoRA Serving", NeurIPS 2025, arXiv:2510.23346. So the layers of a sub-layer can be parted among devices
    without a word between them; here only what that costs in quality can be seen. The rank is taken up to the next
    multiple of blocks.
    blocks  of the factor; the largest divisor of its long side not above it is taken
    closing the role among targets whose A is block-diagonal, peft's advice for output and down projections
    """

    name = "bdlora"
    paper = "arXiv:2510.23346"
    formula = "W' = W + (alpha / rank) B A, with B = blockdiag(B_1 .. B_n), at closing layers A = blockdiag(A_1 .. A_n)"
    kinds = LINEAR
    packable = False  # peft adds in place to the base layer's output

    blocks: int = 2
    closing: str = "attn.to_out+ff.down"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise LitmusError(f"bdlora: blocks is at least 1, not {self.blocks}")

    def _plan(self, net: Network) -> dict[str, tuple[bool, int, int]]:
        """For each layer's path: whether its A is the one in blocks, how many, and the rank."""
        known = sites(net.denoiser, self.closing, optional=True)
        found = {}
        for path, layer in self.layers(net).items():
            blocks = divisor(self.blocks, shape_of(layer)[path in known])
            found[path] = path in known, blocks, -(-self.rank // blocks) * blocks
        return found

    def attach(self, net: Network, rng: torch.Generator) -> None:
        groups: dict[tuple[bool, int, int], list[str]] = {}
        for path, way in self._plan(net).items():
            groups.setdefault(way, []).append(path)
        with drawn_from(rng):
            for (closing, blocks, rank), paths in groups.items():
                # "" is in every name: all of these layers, and only these, are wrapped now.
                config = {"nblocks": blocks, "target_modules_bd_a" if closing else "target_modules_bd_b": [""]}
                alpha = rank if self.alpha is None else self.alpha
                wrap(net.denoiser, self.config, paths, {"r": rank, "lora_alpha": alpha, "use_bdlora": config})

    def count(self, net: Network) -> int:
        layers, total = self.layers(net), 0
        for path, (closing, blocks, rank) in self._plan(net).items():
            out, in_ = shape_of(layers[path])
            total += rank * (out + in_ // blocks if closing else out // blocks + in_)
        return total
