"""Encoders named one by one: identity=dino:vits16,style=csd,image=openclip:ViT-B-32/openai."""

from __future__ import annotations

from dataclasses import dataclass

from bench.extractors.base import Extractors
from bench.extractors.registry import EXTRACTORS, ExtractorsSource

ROLES = ("identity", "style", "image")


@EXTRACTORS.register
@dataclass(frozen=True)
class Roles(ExtractorsSource):
    """`text` is the name as it was written."""

    name = "roles"
    title = "encoders of your own choice, one for each role"
    named = False

    text: str = ""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return text.partition("=")[0] in ROLES

    @classmethod
    def of(cls, text: str) -> Roles:
        return cls(text)

    @property
    def spec(self) -> str:
        return self.text

    def load(self) -> Extractors:
        from bench.extractors.suites import load_roles

        return load_roles(self.text, self.roles())

    def roles(self) -> dict[str, str]:
        from bench.extractors.suites import parse

        return parse(self.text)
