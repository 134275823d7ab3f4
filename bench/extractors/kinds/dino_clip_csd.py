"""dino-clip-csd: DreamBooth's encoders, and CSD for style."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors.registry import EXTRACTORS, SuiteSource


@EXTRACTORS.register
@dataclass(frozen=True)
class DinoClipCSD(SuiteSource):
    """DreamBooth's encoders, and CSD for style."""

    name = "dino-clip-csd"
    title = "the same with style by contrastive style descriptors"
    image = "openclip:ViT-B-32/openai"
    identity = "dino:vits16"
    style = "csd"
