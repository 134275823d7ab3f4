"""What a kind of extractors is, and the registry of them. Importing this loads no torch.

Extractors of one's own are one file with one class, announced as an entry point of the group litmus.extractors or named
in $LITMUS_PLUGINS: a suite of published encoders (SuiteSource) says which encoder plays which role, anything else
returns its Extractors from `load`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import LitmusError
from bench.extractors.base import Extractors
from bench.plugin.registry import Part, Registry
from bench.plugin.spec import SHAPE


@dataclass(frozen=True)
class ExtractorsSource(Part):
    """Extractors by their name, with settings of their own as fields. Only `load` must be written."""

    title: ClassVar[str]
    named: ClassVar[bool] = True  # False: it reads names that are not its own
    published: ClassVar[bool] = True  # of published encoders: `litmus extractors check` holds them against papers

    @classmethod
    def recognises(cls, text: str) -> bool:
        """Whether `text` is meant as extractors of this kind."""
        found = SHAPE.fullmatch(text)
        return found is not None and found.group(1) == cls.name

    @classmethod
    def of(cls, text: str) -> ExtractorsSource:
        """The extractors that `text` writes; LitmusError for a setting that they have not."""
        return EXTRACTORS.read(text)

    def load(self) -> Extractors:
        """The extractors with their weights. `name` and `digest` of those from outside are set by load_extractors."""
        raise LitmusError(f"the extractors {self.name} do not say how they are loaded: write load(self)")

    def digest(self) -> str:
        """Of weights and preprocessing. Written out it spares loading them for a plan."""
        return self.load().digest

    def roles(self) -> dict[str, str]:
        """Role -> encoder, for the listing; empty where the title says it."""
        return {}


@dataclass(frozen=True)
class SuiteSource(ExtractorsSource):
    """Published encoders by role (bench.extractors.encoders). `image` reads text too; the others are it where empty."""

    image: ClassVar[str]
    identity: ClassVar[str] = ""
    style: ClassVar[str] = ""

    def load(self) -> Extractors:
        from bench.extractors.suites import load_roles

        return load_roles(self.name, self.roles())

    def roles(self) -> dict[str, str]:
        return {role: getattr(self, role) or self.image for role in ("identity", "style", "image")}


EXTRACTORS: Registry[ExtractorsSource] = Registry(
    "extractors", "bench.extractors.kinds", ("name", "title"), "litmus extractors"
)
