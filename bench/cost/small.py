"""Small siblings of the published denoisers: the true class and every switch of its configuration, less of each size.

They have real tensors, so what is forecast for a class can be measured on any machine in seconds, and `litmus cost` has
something to time where the true size is too large.
"""

from __future__ import annotations

from torch import nn

from bench.bases.architectures import ARCHITECTURES, class_of
from bench.core.errors import LitmusError, nearest
from bench.families import Small
from bench.families.pieces import drawn, frozen
from bench.method import Network
from bench.network.family import models
from bench.plugin.view import View

SUFFIX = "-small"  # of the name by which `litmus cost --base` takes one


def _small() -> dict[str, Small]:
    return {name: one.small for name, one in models().items() if one.small is not None}


SMALL = View(_small)


def small(name: str) -> Network:
    """The small sibling of an architecture, random and frozen, in eval mode, x (B, C, 32, 32).

    Built on the default device, so that `with torch.device("meta")` gives its shapes alone. Raises LitmusError for a
    name that has none.
    """
    if name not in SMALL:
        raise LitmusError(nearest(name, SMALL, "small base"))
    one, published = SMALL[name], ARCHITECTURES[name]
    cls = class_of(published.cls)
    denoiser = drawn(lambda: cls(**{**published.config, **one.config}), f"small {name}", 0)
    return frozen(Network(denoiser, _text(one.text) if one.text else None))


def _text(width: int) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=1000,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=998,
        eos_token_id=999,
        pad_token_id=999,
    )
    return drawn(lambda: CLIPTextModel(config), "small text", 0)
