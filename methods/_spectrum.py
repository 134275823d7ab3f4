"""Tuners that train a few entries of the change's spectrum: FourierFT and WaveFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from methods._peft import Shape, Tuner


@dataclass(frozen=True)
class Spectrum(Tuner):
    """A few entries of the change's spectrum, at places drawn from projection_seed.

    frequencies  how many entries for each weight; all of them where the weight has fewer
    """

    size_field = "frequencies"
    packable = False  # peft fills the spectrum in place

    frequencies: int = 1000
    projection_seed: int = 777

    def size(self, shape: Shape) -> int:
        return min(self.frequencies, shape[0] * shape[1])

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"n_frequency": self.size(shape), "random_loc_seed": self.projection_seed}
