"""The scaled parallel adapter: a parallel adapter at the feed-forward whose output is multiplied by s, 4 in the paper.

He, Zhou, Ma, Berg-Kirkpatrick, Neubig, "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022,
arXiv:2110.04366 ("Scaled PA"). exps/run_xsum.sh of the authors' repository
(jxhe/unify-parameter-efficient-tuning at 8080aa6) has s = 4 and a bottleneck of 512, exps/run_glue.sh s = 2 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.method import register
from methods.parallel_adapter import ParallelAdapter


@register
@dataclass(frozen=True)
class ScaledParallelAdapter(ParallelAdapter):
    """An adapter beside the feed-forward, its output times `scale`.

    place  ffn, attn or both
    width  of the bottleneck
    scale  fixed factor on the adapter's output; with AdamW it acts as a higher rate on the up-projection
    """

    name = "scaled_parallel_adapter"
    paper = "arXiv:2110.04366"
    lr = 1e-3
    space = {"lr": (1e-4, 1e-2, "log"), "width": (1, 256, "log"), "scale": (1.0, 8.0, "log")}

    scale: float = 4.0
