"""Suites of published encoders as extractors: one for what a thing is, one for style, one for pictures and prompts."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError, nearest
from bench.extractors.base import Extractors
from bench.extractors.encoders import Encoder, check_spec, load_encoder

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("identity", "style", "image")


def parse(name: str) -> dict[str, str]:
    """Role -> encoder of `identity=dino:vits16,style=csd,image=openclip:ViT-B-32/openai`.

    `image` must read text too; the other two are `image` where they are not named. LitmusError for an unknown role or
    encoder, and for one that is there twice.
    """
    found: dict[str, str] = {}
    for part in re.split(r",(?=\w+=)", name):
        role, _, spec = part.partition("=")
        if role not in ROLES:
            raise LitmusError(nearest(role, ROLES, "role of an encoder"))
        if role in found:
            raise LitmusError(f"extractors '{name}': {role} is there twice")
        check_spec(spec)
        found[role] = spec
    if "image" not in found:
        raise LitmusError(f"extractors '{name}': add image=openclip:MODEL/WEIGHTS, which reads the prompts")
    return {role: found.get(role) or found["image"] for role in ROLES}


class _Nets:
    """What Extractors calls: each role's encoder, and no attributes."""

    def __init__(self, encoders: dict[str, Encoder]):
        self.encoders = encoders

    def identity(self, images: Tensor) -> Tensor:
        return self.encoders["identity"].image(images)

    def style(self, images: Tensor) -> Tensor:
        return self.encoders["style"].image(images)

    def image(self, images: Tensor) -> Tensor:
        return self.encoders["image"].image(images)

    def text(self, prompts: list[str]) -> Tensor:
        return self.encoders["image"].text(prompts)

    def attributes(self, images: Tensor) -> dict[str, Tensor]:
        return {}


def load_roles(name: str, roles: dict[str, str]) -> Extractors:
    """Extractors of the encoder of each role, with their weights. LitmusError with the remedy for what is not there."""
    return together(name, {role: load_encoder(spec) for role, spec in roles.items()})


def together(name: str, encoders: dict[str, Encoder]) -> Extractors:
    """Extractors of the encoders by role; `image` must read text."""
    if encoders["image"].texts is None:
        raise LitmusError(f"the encoder {encoders['image'].spec} reads no text: use an openclip encoder for image=")
    digests = {role: encoder.digest for role, encoder in encoders.items()}
    digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    card: dict[str, Any] = {role: encoder.facts() for role, encoder in encoders.items()}
    return Extractors(name, digest, 0, {}, _Nets(encoders), card)
