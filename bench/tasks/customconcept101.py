"""The concepts of CustomConcept101, where their archive has been put.

Kumari et al., "Multi-Concept Customization of Text-to-Image Diffusion", CVPR 2023, arXiv:2212.04488.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.tasks import concepts
from bench.tasks.base import TaskSource, register
from bench.tasks.task import Task


@register
@dataclass(frozen=True)
class CustomConcept101(TaskSource):
    """The 101 concepts; all of them are test tasks."""

    name = "customconcept101"
    prefix = "customconcept101/"
    form = "customconcept101/plushie_cow"
    about = "a concept of CustomConcept101, where datasets/customconcept101 holds its archive (not fetched)"

    def names(self) -> list[str]:
        return [f"{self.prefix}{name}" for name in concepts.names()]

    def load(self, name: str) -> Task:
        task = concepts.load(concepts.home(), name.removeprefix(self.prefix))
        return replace(task, name=name, split="test")

    def split_of(self, name: str) -> str:
        return "test"
