"""ConES: search the concept in the space of the text states that the denoiser reads, past the text encoder.

Yi, Qin, Xu, Guo, Wang, Zhang, Li, Lao, "ConES: Concept Embedding Search for Parameter Efficient Tuning Large Vision
Language Models", arXiv:2305.18993. The encoder's states of a first prompt become the free tensor
Z (L, D) that the cross-attention reads, and the encoder drops out of training: no gradient passes through it.

How the paper joins Z with the words of a new prompt was not found; here Z is kept as its difference from the encoded
prompt, E(prompt) + Z with Z = 0 at the start. On the training prompt that is the paper's search from the encoded
prompt, and on another prompt its own words stay. Prompts without the identifier are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from methods._tokens import table_of, text_of, trigger_of

POSITIONS = ("all", "trigger")


@register
@dataclass(frozen=True)
class ConES(Method):
    """Train Z, added to the text states (B, L, D) of each prompt that holds the identifier.

    positions  all: Z (L, D), one row for each place of the padded prompt; trigger: Z (n, D), one row for each of the
               identifier's tokens, added where that stands
    """

    name = "cones"
    paper = "arXiv:2305.18993"
    lr = 5e-3
    space = {"lr": (3e-4, 1e-1, "log")}
    mergeable = False  # the states are no weight of the base
    packable = True
    side = "text"
    formula = "c = E(prompt) + Z, Z (L, D) trained"

    positions: str = "all"

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise LitmusError(f"cones: positions is one of {', '.join(POSITIONS)}, not {self.positions!r}")

    def attach(self, net: Network, rng: torch.Generator) -> None:
        text, table = text_of(net, self.name), table_of(net, self.name)
        text.concept_tokens, text.concept_positions = trigger_of(net, table), self.positions
        text.register_parameter("concept", nn.Parameter(table.weight.new_zeros(*self._shape(net))))
        text.forward = MethodType(_forward, text)

    def count(self, net: Network) -> int:
        rows, wide = self._shape(net)
        return rows * wide

    def _shape(self, net: Network) -> tuple[int, int]:
        """(L or n, D)."""
        table, config = table_of(net, self.name), getattr(net.text, "config", None)
        wide = getattr(config, "hidden_size", table.embedding_dim)
        if self.positions == "trigger":
            return len(trigger_of(net, table)), wide
        length = getattr(config, "max_position_embeddings", None)
        if not length:
            raise LitmusError("cones: this text side has no greatest length: take cones[positions=trigger]")
        return length, wide


def _forward(text: Any, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The text side's own forward with Z added to the states, the first of what it returns."""
    out = type(text).forward(text, input_ids, *args, **kwargs)
    states = out[0]  # (B, L, D)
    z = text.concept.to(states.dtype)
    here = torch.stack([input_ids == token for token in text.concept_tokens], dim=-1)  # (B, L, n)
    if text.concept_positions == "all":
        states = states + here.any(dim=(1, 2))[:, None, None] * z[: states.shape[1]]
    else:
        states = states + here.to(z.dtype) @ z
    if isinstance(out, tuple):
        return (states, *out[1:])
    out.last_hidden_state = states
    return out
