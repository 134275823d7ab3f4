"""What a runner tells its workers that is no part of a run: where to work and what to keep. It moves no score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How runs are done.

    device   where networks work: "cpu", "cuda:1", "mps"; "": as $LITMUS_DEVICE says, else a GPU where there is one
    save     keep each run's adapter beside its record
    workers  processes that share the machine's cores, >= 1
    """

    device: str = ""
    save: bool = False
    workers: int = 1


ALONE = Settings()  # one run in this process, where networks work anyway, nothing kept
