"""How much of a task's training pictures the crop to a base's shape cuts off, and which shape keeps more."""

from __future__ import annotations

from math import floor
from statistics import median
from typing import TYPE_CHECKING

from bench.tasks.task import open_picture

if TYPE_CHECKING:
    from bench.tasks.task import Task

FIFTH = 0.2  # of a picture: what may be cut off without a word
STEP, SMALL = 64, 16  # px that a side is rounded to; below 512 px the second


def lost(size: tuple[int, int], shape: tuple[int, int]) -> float:
    """The share (0 to 1) of a picture of `size` (width, height) that filling `shape` (height, width) cuts off."""
    own, asked = size[0] / size[1], shape[1] / shape[0]
    return 1 - min(own, asked) / max(own, asked)


def cut_line(task: Task, shape: tuple[int, int]) -> str:
    """A note where training pictures lose more than a fifth at `shape` (height, width), with the remedy; else ""."""
    sizes = [open_picture(picture.file).size for picture in task.train]
    cut = [size for size in sizes if lost(size, shape) > FIFTH]
    if not cut:
        return ""
    least = floor(100 * min(lost(size, shape) for size in cut))
    line = f"{task.name}: {len(cut)} of {len(sizes)} pictures are cut by {least} % or more to fit {_said(shape)}"
    other = fitting(sizes, max(shape))
    if sum(lost(size, other) for size in sizes) < sum(lost(size, shape) for size in sizes):
        line += f": --resolution {other[1]}x{other[0]} keeps more"
    return line


def fitting(sizes: list[tuple[int, int]], longer: int) -> tuple[int, int]:
    """(height, width) with the pictures' median proportions and a longer side of `longer` px."""
    step = STEP if longer >= 512 else SMALL
    ratio = median(width / height for width, height in sizes)
    shorter = max(step, round(longer * min(ratio, 1 / ratio) / step) * step)
    return (longer, shorter) if ratio < 1 else (shorter, longer)


def _said(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"
