"""dinov2-clip-csd: LyCORIS's encoders, and CSD for style."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors.registry import EXTRACTORS, SuiteSource


@EXTRACTORS.register
@dataclass(frozen=True)
class Dinov2ClipCSD(SuiteSource):
    """LyCORIS's encoders, and CSD for style."""

    name = "dinov2-clip-csd"
    title = "LyCORIS's DINOv2-L and CLIP-L; style by CSD"
    image = "openclip:ViT-L-14/openai"
    identity = "dinov2:vitl14"
    style = "csd"
