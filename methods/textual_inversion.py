"""Textual inversion: train the embedding of the identifier's tokens, freeze everything else.

Gal, Alaluf, Atzmon, Patashnik, Bermano, Chechik, Cohen-Or, "An Image is Worth One Word: Personalizing Text-to-Image
Generation using Textual Inversion", ICLR 2023, arXiv:2208.01618. The paper starts the new word from that of
a coarse class; here it starts from what the identifier's own row is, since a method does not know the task, so the
start is the base.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.method import Method, Network, register
from methods._tokens import fold_rows, free_rows, rows_size


@register
@dataclass(frozen=True)
class TextualInversion(Method):
    """Train v (n, D), the rows of the n tokens of the identifier in the text side's table of embeddings."""

    name = "textual_inversion"
    paper = "arXiv:2208.01618"
    lr = 5e-3
    space = {"lr": (3e-4, 1e-1, "log")}
    packable = True
    side = "text"
    formula = "v* = argmin_v E |eps - eps_theta(z_t, t, c_v(y))|^2, v the identifier's word embedding"

    def attach(self, net: Network, rng: torch.Generator) -> None:
        free_rows(net, self.name)

    def count(self, net: Network) -> int:
        return rows_size(net, self.name)

    def merge(self, net: Network) -> None:
        fold_rows(net, self.name)
