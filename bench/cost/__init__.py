"""What a method costs: scalars, bytes, theoretical FLOPs, seconds. Nothing here looks at quality."""

from __future__ import annotations

from bench.cost.flops import flops
from bench.cost.measure import Example, TrainingStep, calls, measure
from bench.cost.memory import Peak, peak, process_peak
from bench.cost.scalars import Figures, bytes_disk, figures, training_bytes
from bench.cost.speed import Speed, interleaved, timed

__all__ = [
    "Example",
    "Figures",
    "Peak",
    "Speed",
    "TrainingStep",
    "bytes_disk",
    "calls",
    "figures",
    "flops",
    "interleaved",
    "measure",
    "peak",
    "process_peak",
    "timed",
    "training_bytes",
]
