"""One training step under count: bytes that live at each moment and FLOPs, on real tensors or on shapes alone.

On the meta device nothing is computed and nothing allocated, yet every operation passes by with its shapes; so the
same count is a forecast there and a measurement on a CPU or a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.cost.measure import Example, TrainingStep
from bench.cost.memory import Live, module_tensors, steady
from bench.method import Method, Network


@dataclass(frozen=True)
class Step:
    """Bytes and theoretical FLOPs of one training step that is not the first (AdamW's moments are there).

    weights    all parameters and buffers, the trained ones included
    moments    what AdamW remembers
    resident   weights, moments and the batch: there before the step begins
    saved      what the backward pass needs of the forward pass: bytes alive between the two, resident not counted
    peak       the most that lived at one time, resident included
    """

    weights: int
    moments: int
    resident: int
    saved: int
    peak: int
    flops_forward: int
    flops_step: int


def counted(
    method: Method,
    net: Network,
    example: Example,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """Count one step of the attached `net`: forward in `autocast`, backward, clipping and AdamW, as the trainer does.

    `net` is left in training mode and without gradients. On the meta device the moments are two tensors for each
    trained one and AdamW itself, which fused needs nothing more, is left out.
    """
    step = TrainingStep(method, net.train(), example, autocast, fused=None if example.x.is_meta else True)
    if example.x.is_meta:
        moments = [torch.zeros_like(p) for p in step.trained for _ in range(2)]
    else:
        step()
        moments = step.moments()
    weights = module_tensors(net)
    with steady(tidy=not example.x.is_meta):
        live = Live([*weights, *moments, *example.tensors()])
        resident = live.now
        with live:
            loss = step.loss()
            saved, forward = live.now - resident, live.flops
            loss.backward()
            del loss
            step.penalise()
            if not example.x.is_meta:
                step.update()
    net.zero_grad(set_to_none=True)
    return Step(size(weights), size(moments), resident, saved, live.most, forward, live.flops)


def size(tensors: list[Tensor]) -> int:
    """Bytes of `tensors`, a storage that several share counted once."""
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}.values())
