"""Mix-And-Match adapter: a short prefix at the attentions and a scaled parallel adapter at the feed-forward.

He, Zhou, Ma, Berg-Kirkpatrick, Neubig, "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022,
arXiv:2110.04366 ("MAM Adapter"); prefix tuning is Li, Liang, arXiv:2101.00190. The defaults are the small setting of
the authors' repository, jxhe/unify-parameter-efficient-tuning at 8080aa6, exps/run_glue.sh: 16 prefix places,
bottleneck 16, s = 2 (exps/run_xsum.sh, the main table's: 30, 512, 4).

The prefix here is trained directly, normal with deviation 0.02 at the start (the repository's PrefixDirectInit), and
not through the small network of Li and Liang that is thrown away afterwards. A denoiser has no prompt of its own in
front of which a prefix could stand, so it stands in front of the keys and values of each attention, over the picture
as over the text. Where keys are turned by their place (FLUX), a prefix would need places of its own: there the
attention takes the parallel adapter, which the paper shows to be a prefix with another gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import LitmusError, Method, Network, register
from bench.method.bypass import Bottleneck, Branch, Parallel, bottleneck_size, insert, sublayers
from bench.network.sites import sites

STD = 0.02  # of the prefix at the start
LONGEST = 16  # the prefix of exps/run_glue.sh


@register
@dataclass(frozen=True)
class MAM(Method):
    """Prefix keys and values (length, C) at each attention, and a scaled parallel adapter at each feed-forward.

    attn    prefix, or parallel: a parallel adapter of bottleneck `length` there instead, which starts at the base
    length  of the prefix; none: as long as the bottleneck is wide, up to the 16 of the small setting, since a prefix of
            hundreds would outnumber the tokens of a denoiser's inner blocks
    width   of the adapter's bottleneck
    scale   fixed factor on the adapter's output
    """

    name = "mam"
    paper = "arXiv:2110.04366"
    lr = 2e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log")}
    size_field = "width"
    mergeable = False  # a prefix is no weight, and relu stands between the adapter's two layers
    packable = True
    formula = "attn(Q, [P_k; K], [P_v; V]);  h <- h + s relu(x W_down) W_up at the feed-forward"

    attn: str = "prefix"
    length: int | None = None
    width: int = 16
    scale: float = 2.0

    def __post_init__(self) -> None:
        if self.attn not in ("prefix", "parallel"):
            raise LitmusError(f"mam: attn is prefix or parallel, not {self.attn!r}")
        for field, value in (("length", self.length), ("width", self.width)):
            if value is not None and value < 1:
                raise LitmusError(f"mam: {field} is at least 1, not {value}")

    @property
    def places(self) -> int:
        """Of the prefix, or of the bottleneck that stands for it."""
        return min(self.width, LONGEST) if self.length is None else self.length

    @property
    def exact_start(self) -> bool:  # type: ignore[override]
        return self.attn == "parallel"  # even a prefix of zeros takes its share of the softmax

    def attach(self, net: Network, rng: torch.Generator) -> None:
        for _, first, last in sublayers(net, "ffn"):
            adapter = Bottleneck(first.in_features, last.out_features, self.width, self.scale, last.weight).draw(rng)
            insert(last, "mam_ffn", Parallel(adapter), source=first)
        if self.attn == "parallel":
            for _, first, last in sublayers(net, "attn"):
                adapter = Bottleneck(first.in_features, last.out_features, self.places, 1.0, last.weight).draw(rng)
                insert(last, "mam_attn", Parallel(adapter), source=first)
            return
        for attention, to_k, to_v in _attentions(net):
            for layer in (to_k, to_v):
                insert(layer, "mam_prefix", Prefix(self.places, layer.weight).draw(rng))
            if hasattr(attention, "prepare_attention_mask"):
                attention.prefix_length = self.places
                attention.prepare_attention_mask = MethodType(_widened, attention)

    def count(self, net: Network) -> int:
        ffn = sum(bottleneck_size(a.in_features, b.out_features, self.width) for _, a, b in sublayers(net, "ffn"))
        if self.attn == "parallel":
            ends = [(a.in_features, b.out_features) for _, a, b in sublayers(net, "attn")]
            return ffn + sum(bottleneck_size(in_, out, self.places) for in_, out in ends)
        return ffn + sum(self.places * (k.out_features + v.out_features) for _, k, v in _attentions(net))


class Prefix(Branch):
    """y (B, L, C) -> (B, length + L, C): the same rows in front of every sample's keys or values."""

    def __init__(self, length: int, like: Tensor):
        super().__init__()
        self.rows = nn.Parameter(like.new_empty(length, len(like)))  # (length, C)

    @torch.no_grad()
    def draw(self, rng: torch.Generator) -> Prefix:
        self.rows.copy_(torch.randn(self.rows.shape, generator=rng, device="cpu") * STD)
        return self

    def forward(self, y: Tensor) -> Tensor:
        return torch.cat([self.rows.to(y.dtype).expand(len(y), -1, -1), y], dim=1)


def _attentions(net: Network) -> Iterator[tuple[Any, Any, Any]]:
    """(attention, its to_k, its to_v), each attention once: a joint one has keys of two streams and takes one prefix.

    Raises LitmusError where keys and values are no layers of their own, or keys are turned by their place.
    """
    if getattr(getattr(net.denoiser, "config", None), "axes_dims_rope", None):
        what = f"{type(net.denoiser).__name__} turns its keys by their place, and a prefix has none"
        raise LitmusError(f"mam: {what}: take mam[attn=parallel]")
    keys, values = sites(net, "attn.to_k"), sites(net, "attn.to_v")
    seen = set()
    for (path, to_k), to_v in zip(keys.items(), values.values(), strict=True):
        parent = path.rpartition(".")[0]
        if to_k is to_v:
            raise LitmusError(f"mam: keys and values of {path} are one layer: take mam[attn=parallel]")
        if parent not in seen:
            seen.add(parent)
            yield net.get_submodule(parent), to_k, to_v


def _widened(attention: Any, attention_mask: Tensor | None, *args: Any, **kwargs: Any) -> Tensor | None:
    """The mask with the prefix's places in front, all of them seen: 0 is added to their scores."""
    mask = type(attention).prepare_attention_mask(attention, attention_mask, *args, **kwargs)
    return mask if mask is None else F.pad(mask, (attention.prefix_length, 0))
