"""What all rows of a block (base, task, seed) share: the frozen base's pictures, the references, the truth.

It is computed once and kept below results/.cache, because every row needs it and the base's pictures alone cost as
much as a row. The cache may be deleted at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.core.cache import cache_path, cached
from bench.core.errors import LitmusError
from bench.evaluation.sampler import for_sampling, noise_for, sample_latents
from bench.evaluation.score import Drawn, draw, look, truth
from bench.metrics import Views
from bench.objectives import Needs
from bench.training.extras import Extras, Pictures

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.extractors.base import Extractors
    from bench.objectives import Objective
    from bench.protocol.models import Sample
    from bench.tasks import Task

# Raised whenever what is kept would come out differently from the same inputs.
VERSION = 1
CLASSES = Needs.drawn  # pictures of the plain class, where nobody says how many


@dataclass(frozen=True)
class Block:
    """References of one block, as in metrics.Features; cell, prior and drift are the frozen base's."""

    kind: str
    plain: tuple[str, ...]
    asks: tuple[Mapping[str, str], ...]
    texts: np.ndarray
    train: Views
    heldout: Views
    truth: Views | None
    cell: Views
    prior: Views | None
    drift: Views | None


def block(base: Base, task: Task, seed: int, sampling: Sample, extractors: Extractors) -> Block:
    """The references of a block; `base` is the frozen one. Costs the base's sampling once, then nothing."""
    return _block(_Key(base, task, seed, sampling, extractors))


def base_pictures(base: Base, task: Task, seed: int, sampling: Sample) -> Drawn:
    """The frozen base's own pictures: the row `base`, from the cache where they are there."""
    key = _Key(base, task, seed, sampling)

    def compute() -> dict[str, Tensor]:
        drawn = draw(base, task, seed, sampling)
        return {name: x for name in ("cell", "prior", "drift") if (x := getattr(drawn, name)) is not None}

    return Drawn(**cached("base", key.facts(), compute))


def kept(base: Base, task: Task, seed: int, sampling: Sample) -> bool:
    """Whether `base_pictures` has them from an earlier time."""
    return cache_path("base", _Key(base, task, seed, sampling).facts(), "safetensors").is_file()


def extras(base: Base, objective: Objective, task: Task, seed: int, sampling: Sample) -> Extras:
    """What `objective` needs beside the task's pictures, by the frozen `base`; drawn once per block, then kept.

    LitmusError where its prompts ask for a class word and the task, a style, has none.
    """
    needs = objective.needs
    classes = class_pictures(base, task, seed, sampling, needs.drawn) if needs.classes else None
    memory = memory_pictures(base, task, seed, sampling, memory_prompts(objective, task)) if needs.memory else None
    return Extras(classes, memory, base.working().net if needs.frozen else None)


def memory_prompts(objective: Objective, task: Task) -> list[str]:
    """The prompt of each memory picture of `objective`: its prompts in turn, {} filled with the task's class word."""
    needs = objective.needs
    if any("{}" in text for text in needs.prompts) and not task.class_word:
        raise LitmusError(
            f"the prompts of {objective.spec} need a class word, and the {task.kind} {task.name} has none"
        )
    texts = [text.replace("{}", task.class_word) for text in needs.prompts]
    return [texts[i % len(texts)] for i in range(needs.drawn if needs.memory else 0)]


def memory_pictures(base: Base, task: Task, seed: int, sampling: Sample, prompts: list[str]) -> Pictures:
    """A picture of each of `prompts` by the frozen base, as latents, from noise of their own stream."""
    key = _Key(base, task, seed, sampling)

    def compute() -> dict[str, Tensor]:
        noise = noise_for(base, len(prompts), task.name, "memory", seed)
        return {"latents": sample_latents(for_sampling(base), prompts, noise, sampling)}

    return Pictures(cached("memory", {**key.facts(), "prompts": prompts}, compute)["latents"], prompts)


def class_pictures(base: Base, task: Task, seed: int, sampling: Sample, n: int = CLASSES) -> Pictures:
    """`n` pictures of the plain class by the frozen base, as latents, for prior preservation.

    The prompts are the training captions without the identifier, as DreamBooth's "a dog" for "a sks dog". Where one of
    them is also an evaluation prompt of the prior, its noise there is another.
    """
    plain = list(dict.fromkeys(p.plain for p in task.train))
    prompts = [plain[i % len(plain)] for i in range(n)]
    key = _Key(base, task, seed, sampling)

    def compute() -> dict[str, Tensor]:
        noise = noise_for(base, n, task.name, "classes", seed)
        return {"latents": sample_latents(for_sampling(base), prompts, noise, sampling)}

    return Pictures(cached("classes", {**key.facts(), "n": n}, compute)["latents"], prompts)


class _Key:
    """A block's inputs, equal when the digests are."""

    def __init__(self, base: Base, task: Task, seed: int, sampling: Sample, extractors: Extractors | None = None):
        self.base, self.task, self.seed, self.sampling = base, task.at(base.resolution), seed, sampling
        self.extractors = extractors

    def facts(self) -> dict:
        return {
            "version": VERSION,
            "torch": torch.__version__,
            "base": self.base.digest,
            "compute": self.base.compute,
            "task": [self.task.name, self.task.digest],
            "seed": self.seed,
            "sampling": self.sampling.model_dump(),
        }

    def __str__(self) -> str:
        return json.dumps([self.facts(), self.extractors and self.extractors.digest], sort_keys=True)

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and str(self) == str(other)


@lru_cache(maxsize=4)
def _block(key: _Key) -> Block:
    base, task, extractors = key.base, key.task, key.extractors
    assert extractors is not None
    drawn = base_pictures(base, task, key.seed, key.sampling)
    raw = truth(base, task, raw=True).cell if task.has_truth else None
    plain = tuple(p.plain for p in task.prompts)
    return Block(
        kind=task.kind,
        plain=plain,
        asks=tuple(p.asks for p in task.prompts),
        texts=extractors.text(list(plain)).double().cpu().numpy(),
        train=look(extractors, task.train_images),
        heldout=look(extractors, task.heldout_images),
        truth=None if raw is None else look(extractors, raw),
        cell=look(extractors, drawn.cell),
        prior=None if drawn.prior is None else look(extractors, drawn.prior),
        drift=None if drawn.drift is None else look(extractors, drawn.drift),
    )
