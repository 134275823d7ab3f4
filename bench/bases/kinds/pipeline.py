"""A pipeline of diffusers, from a folder or the hub: PATH, owner/name[@revision][?options] (bench.bases.spec)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bases.base import Base
from bench.bases.registry import BASES, BaseSource, Facts
from bench.bases.spec import HUB_ID, is_spec, parse, with_options

if TYPE_CHECKING:
    from bench.bases.source import Source


@BASES.register
@dataclass(frozen=True)
class Pipeline(BaseSource):
    """`text` is the name as it was written. Its family is known by the pipeline's class (bench.families)."""

    name = "pipeline"
    title = "a pipeline of diffusers, from a folder or the Hugging Face hub"
    named = False
    large = True

    text: str = ""
    device: str = ""  # that copies run on; no part of the name, since it decides no picture

    @classmethod
    def recognises(cls, text: str) -> bool:
        return is_spec(text)

    @classmethod
    def of(cls, text: str) -> Pipeline:
        return cls(text)

    @property
    def spec(self) -> str:
        return self.text

    def on(self, device: str) -> Pipeline:
        return replace(self, device=device)

    @property
    def there(self) -> bool:
        """Whether it is a folder that is there, or has the form of a hub id."""
        where = self.text.partition("?")[0]
        return Path(where).is_dir() or HUB_ID.fullmatch(where.partition("@")[0]) is not None

    @property
    def dtype(self) -> str:
        """ "bf16" or "fp32", as its name says."""
        return parse(self.text).dtype

    def load(self) -> Base:
        from bench.bases.hub import load

        return load(self.text, self.device)

    def files(self) -> Source:
        from bench.bases.source import locate

        return locate(parse(self.text))

    def digest(self) -> str:
        return self.facts()[1]

    def facts(self) -> Facts:
        """Downloads what is not there yet. LitmusError for weights that are not those of their component."""
        from bench.bases.hub import can_quantise
        from bench.bases.weights import check
        from bench.core.device import working_device

        source = self.files()
        if source.spec.quantise:
            can_quantise(source.spec, working_device(self.device))
        check(source)
        said = source.licence or "none said: look at where it comes from"
        return str(source.spec), source.digest, (f"base {source.spec} ({source.family.title}), licence: {said}",)

    def card(self) -> dict[str, str]:
        source = self.files()
        height, width = source.spec.resolution or (0, 0)
        return {
            "title": f"{source.family.title}, {source.pipeline}",
            "resolution": str(width) if width == height else f"{width}x{height}",
            "denoiser": source.index[source.family.denoiser][1],
            "licence": source.licence,
            "digest": source.digest,
        }

    def with_options(self, **options: Any) -> Pipeline:
        return Pipeline(str(parse(with_options(self.text, **options))))
