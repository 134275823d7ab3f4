"""Metrics of torchmetrics on a cell's pictures, also of finished runs: on the pictures cut back out of their grids.

What a metric is fed is said by the signature of its `update` (bench.metrics._torchmetrics):

    pairs (preds, target)    each picture of a prompt beside each truth picture of it, so that prompts may have
                             different numbers of them; one value per prompt, and their mean
    sets (imgs, real)        all pictures against all truth pictures, or the training pictures where there is no truth
    texts (image, text)      each picture and its prompt without the identifier; one value per prompt, and their mean
    alone (img)              all pictures at once

Pictures are rounded to the 8 bits of the grid first, so that a run and a later call on its grid give the same number.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.core.rng import seed_of
from bench.metrics import _torchmetrics as outside
from bench.metrics import metric, of
from bench.protocol.models import PSEUDO

if TYPE_CHECKING:
    from bench.extractors.base import Extractors
    from bench.tasks import Task

GAP = 2  # white pixels between the pictures of a grid (bench.evaluation.sampler.grid)
UNREACHED: dict[str, str] = {}  # metrics whose weights could not be received: not waited for again in this process
CHUNK = 16  # pictures a call: bounds the memory of the metrics' own networks


@dataclass
class PictureScores:
    """{spec: value}, {spec: value per prompt}, and a line for each metric that could not be computed."""

    values: dict[str, float] = field(default_factory=dict)
    per_prompt: dict[str, list[float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def picture_scores(names: Sequence[str], cell: Tensor, task: Task, extractors: Extractors) -> PictureScores:
    """The metrics `names` of the pictures `cell` (P, n, 3, H, W) in [0, 1], one row of them per prompt of `task`.

    Names of metrics that see features are passed over. A metric that fails (weights that cannot be received, too few
    pictures) is a line in `notes`; one that has no reference in this task too; nothing is raised for it.
    """
    found = PictureScores()
    wanted = of(names, "pictures")
    if not wanted:
        return found
    cell = _stored(cell.detach().float())
    height, width = cell.shape[-2:]
    task = task.at(height if height == width else (height, width))
    truth = [x.to(cell.device) for x in task.truth_images] if task.has_truth else None
    itself = truth is not None and _same(cell, truth)  # the row truth_raw: compared with itself it is always perfect
    for name in wanted:
        one = metric(name)
        assert isinstance(one, outside.TorchMetric)
        if one.fed in (outside.PAIRS, outside.SETS) and itself:
            continue
        if one.fed == outside.PAIRS and truth is None:
            found.notes.append(f"{name} was not computed: the task has no truth pictures to compare with")
            continue
        if one.spec in UNREACHED:
            found.notes.append(UNREACHED[one.spec])
            continue
        try:
            value = _value(one, cell, truth, task, extractors)
        except Exception as error:  # whatever a metric of somebody else's does, the run is kept
            line = f"{name} was not computed: {_reason(error)}{_remedy(one, error)}"
            found.notes.append(line)
            if isinstance(error, OSError):
                UNREACHED[one.spec] = line
            continue
        if isinstance(value, list):
            found.per_prompt[name] = list(value)
            value = sum(value) / len(value)
        found.values[name] = value
    return found


def score_grid(
    png: Path, task: Task, method: str, per_prompt: int, extractors: Extractors, names: Sequence[str]
) -> PictureScores:
    """`picture_scores` of a finished run from the grid beside its record.

    `task` at the base's resolution; `method` and `per_prompt` as in the record's run. LitmusError for a grid that is
    not theirs.
    """
    n = min(len(p.truth) for p in task.prompts) if method in PSEUDO else per_prompt
    cell = pictures_of(png, len(task.prompts) * n, task.resolution).unflatten(0, (len(task.prompts), n))
    return picture_scores(names, cell, task, extractors)


def pictures_of(grid_png: Path, n: int, resolution: int | tuple[int, int]) -> Tensor:
    """The `n` pictures (n, 3, H, W) in [0, 1] of a sample grid, exactly as they were stored (8 bits).

    `resolution`: pixels a side, or (height, width). LitmusError when the grid holds no n pictures of that size.
    """
    import numpy as np
    from PIL import Image

    height, width = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    try:
        with Image.open(grid_png) as picture:
            sheet = np.array(picture.convert("RGB"))
    except OSError:
        raise LitmusError(f"cannot read the sample grid {grid_png}: run again to make it anew") from None
    columns, odd = divmod(sheet.shape[1] + GAP, width + GAP)
    rows, uneven = divmod(sheet.shape[0] + GAP, height + GAP)
    if odd or uneven or n < 1 or not (rows - 1) * columns < n <= rows * columns:
        raise LitmusError(f"{grid_png} is no grid of {n} pictures of {width} x {height} px: run again to make it anew")
    places = [(i // columns * (height + GAP), i % columns * (width + GAP)) for i in range(n)]
    stack = np.stack([sheet[y : y + height, x : x + width] for y, x in places])  # (n, H, W, 3)
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def _stored(images: Tensor) -> Tensor:
    """`images` as a grid holds them: 8 bits."""
    return (images.clamp(0, 1) * 255).round() / 255


def _same(cell: Tensor, truth: list[Tensor]) -> bool:
    return all(len(x) >= len(mine) and mine.equal(_stored(x[: len(mine)])) for mine, x in zip(cell, truth, strict=True))


def _value(
    one: outside.TorchMetric, cell: Tensor, truth: list[Tensor] | None, task: Task, extractors: Extractors
) -> float | list[float]:
    """One number, or one per prompt; its chance comes from a stream of its own name."""
    if one.fed == outside.ALONE:
        calls = [[(x,) for x in cell.flatten(0, 1).split(CHUNK)]]
    elif one.fed == outside.SETS:
        other = torch.cat(truth) if truth else task.train_images.to(cell.device)
        calls = [[(x, real) for real, all_ in ((True, other), (False, cell.flatten(0, 1))) for x in all_.split(CHUNK)]]
    elif one.fed == outside.TEXTS:
        calls = [[(x, [p.plain] * len(x))] for x, p in zip(cell, task.prompts, strict=True)]
    else:
        assert truth is not None
        calls = [_pairs(x, y) for x, y in zip(cell, truth, strict=True)]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed_of("torchmetrics", one.name))
        theirs = _made(one, extractors).to(cell.device)
        found = []
        for part in calls:
            theirs.reset()
            for call in part:
                theirs.update(*call)
            found.append(_number(theirs.compute()))
    return found if one.fed in (outside.PAIRS, outside.TEXTS) else found[0]


def _pairs(mine: Tensor, other: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each of `mine` (n, 3, H, W) beside each of `other` (K, 3, H, W), in calls of bounded size."""
    a, b = mine.repeat_interleave(len(other), dim=0), other.repeat(len(mine), 1, 1, 1)
    return list(zip(a.split(CHUNK), b.split(CHUNK), strict=True))


def _made(one: outside.TorchMetric, extractors: Extractors) -> Any:
    """The metric of torchmetrics with its settings, on our extractors' network where a role is named for one."""
    try:
        cls = getattr(importlib.import_module(one.module), one.cls)
    except AttributeError:
        raise LitmusError("torchmetrics hides it here: pip install 'torchmetrics[image,multimodal]'") from None
    settings: dict[str, Any] = {**outside.ours(type(one)), **one.hyper()}
    for key, value in settings.items():
        if key in outside.NETWORKS and value in outside.ROLES:
            settings[key] = _clip(extractors) if one.fed == outside.TEXTS else _Network(extractors, str(value))
        elif isinstance(value, str) and isinstance(one.takes[key], tuple):
            settings[key] = (value,)  # a spec holds no tuples
    return cls(**settings)


class _Network(torch.nn.Module):
    """A network of the extractors as torchmetrics wants one: pictures (B, 3, H, W) -> features (B, D)."""

    def __init__(self, extractors: Extractors, role: str):
        super().__init__()
        self.look = getattr(extractors, role)
        self.num_features = int(self.look(torch.zeros(1, 3, 64, 64)).shape[-1])

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() if images.is_floating_point() else images.float() / 255
        return self.look(x).to(images.device)


def _clip(extractors: Extractors) -> Callable[[], tuple[Any, Any]]:
    """The extractors' image and text networks in the form of a CLIP model and its processor, for CLIPScore."""

    class Model(torch.nn.Module):
        config = None
        texts: list[str] = []

        def get_image_features(self, images: Tensor) -> Tensor:
            return extractors.image(images).to(images.device)

        def get_text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
            return extractors.text(self.texts).to(ids.device)

    model = Model()

    def processor(images: Any = None, text: Any = None, **_: Any) -> dict[str, Tensor]:
        if images is not None:
            return {"pixel_values": torch.stack(list(images))}
        model.texts = list(text)  # our text network reads words, so the ids only count them
        return {"input_ids": torch.arange(len(text))[:, None], "attention_mask": torch.ones(len(text), 1)}

    return lambda: (model, processor)


def _number(found: Any) -> float:
    """What `compute` gave as one number: of several (KID's mean and spread) the first, of one per picture the mean."""
    if isinstance(found, tuple):
        found = found[0]
    if isinstance(found, dict):
        raise LitmusError(f"it gives {len(found)} values ({', '.join(map(str, found))}): ask for one")
    return float(torch.as_tensor(found).float().mean())


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return text if isinstance(error, LitmusError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _remedy(one: outside.TorchMetric, error: Exception) -> str:
    """Where torchmetrics would have loaded weights: which network may stand in their place."""
    if one.fed not in (outside.SETS, outside.TEXTS) or not isinstance(error, OSError | ImportError):
        return ""
    free = [key for key in outside.NETWORKS if key in one.takes and one.hyper().get(key) not in outside.ROLES]
    return f" ({free[0]}=image takes the extractors' network instead)" if free else ""
