"""dino-clip: DreamBooth's encoders."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors.registry import EXTRACTORS, SuiteSource


@EXTRACTORS.register
@dataclass(frozen=True)
class DinoClip(SuiteSource):
    """DreamBooth's encoders."""

    name = "dino-clip"
    title = "DreamBooth's DINO, CLIP-I and CLIP-T; style by CLIP, as StyleDrop has it"
    image = "openclip:ViT-B-32/openai"
    identity = "dino:vits16"
