"""(IA)^3, through Hugging Face's peft."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import Network, register
from bench.network.sites import sites
from methods._peft import Tuner, drawn_from, shape_of, wrap


@register
@dataclass(frozen=True)
class IA3(Tuner):
    """A trained scale, from 1, on each output of keys and values, and on each input of the feed-forward's last layer.

    Liu, Tam, Muqeeth, Mohta, Huang, Bansal, Raffel, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper
    than In-Context Learning", NeurIPS 2022, arXiv:2205.05638, section 3.3.
    inputs  the role among targets whose layers are scaled at the input
    """

    name = "ia3"
    paper = "arXiv:2205.05638, section 3.3"
    config = "IA3Config"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}
    formula = "W' = diag(l) W; at the inputs W' = W diag(l)"

    targets: str = "attn.to_k+attn.to_v+ff.down"
    inputs: str = "ff.down"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        before = self._at_input(net)
        after = [path for path in self.layers(net) if path not in before]
        with drawn_from(rng):
            # peft scales at the input what it takes for a feed-forward: here everything (".*") or nothing.
            for paths, feedforward in ((before, ".*"), (after, [])):
                if paths:
                    wrap(net.denoiser, self.config, paths, {"feedforward_modules": feedforward})

    def count(self, net: Network) -> int:
        before = self._at_input(net)
        return sum(shape_of(layer)[path in before] for path, layer in self.layers(net).items())

    def _at_input(self, net: Network) -> list[str]:
        known = sites(net.denoiser, self.inputs, optional=True)
        return [path for path in self.layers(net) if path in known]
