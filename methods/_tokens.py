"""The identifier's tokens on the text side: which they are, and the table that holds their embeddings."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bench.method import LitmusError, Network


def text_of(net: Network, name: str) -> Any:
    """The text side of `net`. Raises LitmusError where there is none."""
    if net.text is None:
        raise LitmusError(f"{name} trains the text side, and this network has none: take a base with a text encoder")
    return net.text


def table_of(net: Network, name: str) -> nn.Embedding:
    """The embeddings of the text side's words (V, D)."""
    text = text_of(net, name)
    find = getattr(text, "get_input_embeddings", None)
    table = find() if find else None
    if not isinstance(table, nn.Embedding):
        raise LitmusError(f"{name}: a {type(text).__name__} shows no table of word embeddings (get_input_embeddings)")
    return table


def trigger_of(net: Network, table: nn.Embedding) -> tuple[int, ...]:
    """The tokens of the task's identifier; without a task the table's last, so that scalars can be counted."""
    return tuple(dict.fromkeys(getattr(net, "trigger", ()))) or (table.num_embeddings - 1,)


def free_rows(net: Network, name: str) -> None:
    """Make the identifier's rows trainable, starting from what they are, and no other row."""
    table: Any = table_of(net, name)
    table.tokens = trigger_of(net, table)
    rows = table.weight.detach()[list(table.tokens)].clone()  # (n, D)
    table.register_parameter("concept", nn.Parameter(rows))
    table.forward = MethodType(_look_up, table)


def rows_size(net: Network, name: str) -> int:
    table = table_of(net, name)
    return len(trigger_of(net, table)) * table.embedding_dim


@torch.no_grad()
def fold_rows(net: Network, name: str) -> None:
    table: Any = table_of(net, name)
    table.weight[list(table.tokens)] = table.concept.to(table.weight)
    del table.concept
    table.__dict__.pop("forward", None)


def _look_up(table: Any, ids: Tensor) -> Tensor:
    y = type(table).forward(table, ids)  # (B, L, D)
    for j, token in enumerate(table.tokens):
        y = torch.where((ids == token)[..., None], table.concept[j].to(y.dtype), y)
    return y
