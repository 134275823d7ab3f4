"""CLIP-I, where the extractors' image and text space is CLIP's."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics._cosine import mean_cosine, per_prompt
from bench.metrics.base import Metric, Score, register
from bench.metrics.features import Features


@register
@dataclass(frozen=True)
class ImageSimilarity(Metric):
    name = "image_similarity"
    title = "image similarity"
    definition = (
        "mean cosine of the pictures to the training pictures in the space of the texts: CLIP-I where that is CLIP"
    )
    unit = "cosine"
    bounds = (-1.0, 1.0)
    higher_is_better = True
    source = "arXiv:2208.12242 (DreamBooth), section 4.2"
    order = 60
    table = ""

    def score(self, f: Features) -> Score:
        return per_prompt(mean_cosine(f.cell.image, f.train.image))
