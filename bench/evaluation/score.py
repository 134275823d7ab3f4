"""A cell's pictures and their scores; what a whole block shares is computed once (bench/evaluation/references.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.evaluation.pictures import picture_scores
from bench.evaluation.sampler import for_sampling, grid, sample
from bench.metrics import Features, Views, measure, of
from bench.training.loop import Curve, Diverged

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.evaluation.references import Block
    from bench.extractors.base import Extractors
    from bench.protocol.models import Sample
    from bench.tasks import Task

__all__ = ["Drawn", "Scores", "draw", "evaluate", "grid", "look", "sample", "truth"]


@dataclass(frozen=True)
class Drawn:
    """The pictures of one row, in [0, 1]: `cell` (P, n, 3, H, W), `prior` (Q, n, 3, H, W), `drift` (R, n, 3, H, W).

    Truth has neither prior nor drift.
    """

    cell: Tensor
    prior: Tensor | None = None
    drift: Tensor | None = None


@dataclass(frozen=True)
class Scores:
    """{metric: value} and {metric: value per prompt}; a metric that is not defined for the cell is not there.

    `notes`: a line for each metric that could not be computed.
    """

    values: dict[str, float]
    per_prompt: dict[str, list[float | None]]
    features: Features  # what they were computed from, but for metrics that see pictures
    notes: tuple[str, ...] = ()


def draw(base: Base, task: Task, seed: int, sampling: Sample) -> Drawn:
    """The pictures of a (tuned) base for all prompts of `task`; the noise is that of every row of the block.

    Raises Diverged when a picture is not finite.
    """
    base = for_sampling(base)
    parts = {
        name: sample(base, [p.text for p in prompts], sampling, task.name, name, seed)
        for name, prompts in (("cell", task.prompts), ("prior", task.prior), ("drift", task.drift))
        if prompts
    }
    if not all(torch.isfinite(x).all() for x in parts.values()):
        raise Diverged("diverged: the pictures are not finite")
    return Drawn(**parts)


def truth(base: Base, task: Task, raw: bool = False) -> Drawn:
    """The truth pictures as a row: through the base's own VAE, which is the ceiling, or `raw` as they were drawn.

    Prompts with more truth pictures than the fewest are cut to those. Raises ValueError for a task without truth.
    """
    if not task.has_truth:
        raise ValueError(f"task {task.name} has no truth pictures")
    each = task.at(base.resolution).truth_images
    images = torch.stack([x[: min(map(len, each))] for x in each])  # (P, K, 3, H, W)
    if not raw:
        images = base.decode(base.encode(images.flatten(0, 1))).unflatten(0, images.shape[:2])
    return Drawn(images)


def look(extractors: Extractors, images: Tensor) -> Views:
    """Features of `images` (..., 3, H, W), with the same leading axes."""
    lead = images.shape[:-3]
    flat = images.flatten(0, len(lead) - 1)

    def shaped(x: Tensor) -> np.ndarray:
        return x.cpu().double().numpy().reshape(*lead, x.shape[-1])

    seen = {}
    if len(flat):
        for name, logits in extractors.attributes(flat).items():
            seen[name] = np.array(extractors.labels[name])[logits.argmax(dim=1).cpu().numpy()].reshape(lead)
    return Views(
        shaped(extractors.identity(flat)), shaped(extractors.style(flat)), shaped(extractors.image(flat)), seen
    )


def evaluate(
    drawn: Drawn,
    block: Block,
    extractors: Extractors,
    curve: Curve | None = None,
    metrics: Sequence[str] = (),
    task: Task | None = None,
) -> Scores:
    """The scores of a row in its block; the losses come from the end of its `curve`.

    `metrics` are specs beside the registered ones; those of torchmetrics need the `task` whose pictures these are.
    """
    f = Features(
        kind=block.kind,
        plain=block.plain,
        asks=block.asks,
        texts=block.texts,
        cell=look(extractors, drawn.cell),
        prior=None if drawn.prior is None else look(extractors, drawn.prior),
        drift=None if drawn.drift is None else look(extractors, drawn.drift),
        train=block.train,
        heldout=block.heldout,
        truth=block.truth,
        base_cell=block.cell,
        base_prior=block.prior,
        base_drift=block.drift,
        loss_train=curve.train[-1] if curve and curve.train else None,
        loss_heldout=curve.heldout[-1] if curve and curve.heldout else None,
    )
    faults: list[str] = []
    values, per_prompt = measure(f, faults=faults)
    if more := of(metrics, "features"):
        also, each = measure(f, more, faults)
        values, per_prompt = values | also, per_prompt | each
    if task is not None and metrics:
        seen = picture_scores(metrics, drawn.cell, task, extractors)
        values, per_prompt, faults = values | seen.values, per_prompt | seen.per_prompt, faults + seen.notes
    return Scores(values, per_prompt, f, tuple(faults))
