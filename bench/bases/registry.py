"""What a kind of base is, and the registry of them: how a name is recognised, and what a base declares of itself.

A base of one's own is one file with one class, announced as an entry point of the group litmus.bases or named in
$LITMUS_PLUGINS. Importing this loads no torch: the planner asks what a base declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.errors import LitmusError
from bench.plugin.registry import Part, Registry
from bench.plugin.spec import SHAPE

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.bases.source import Source

Facts = tuple[str, str, tuple[str, ...]]  # (name with everything filled in, digest, notes for the user)


@dataclass(frozen=True)
class BaseSource(Part):
    """A base by its name, with settings of its own as fields: `mine`, `mine[size=64]`. Only `load` must be written."""

    title: ClassVar[str]
    named: ClassVar[bool] = True  # False: it reads names that are not its own, such as paths
    extractors: ClassVar[str] = "dino-clip"  # what scores its pictures where a protocol names nothing
    open_words: ClassVar[bool] = True  # captions may use any word: nothing is to be asked of its vocabulary
    large: ClassVar[bool] = False  # a run takes all the cores that it may have, one worker, and hours

    @property
    def dtype(self) -> str | None:
        """ "fp32" or "bf16" where its name says it; None: loaded in float32, computing in what a run asks for."""
        return None

    @classmethod
    def recognises(cls, text: str) -> bool:
        """Whether `text` is meant as a base of this kind."""
        found = SHAPE.fullmatch(text)
        return found is not None and found.group(1) == cls.name

    @classmethod
    def of(cls, text: str) -> BaseSource:
        """The base that `text` writes; LitmusError for a setting that it has not."""
        return BASES.read(text)

    def on(self, device: str) -> BaseSource:
        """The same told beforehand where copies of it run ("cuda:1", "cpu"; "": as bench.core.device says).

        For kinds that must know when they load, such as quantised ones: any other base is moved by load_base.
        """
        return self

    @property
    def there(self) -> bool:
        """Whether it can be loaded from here, in so far as its name and the folders here tell."""
        return True

    def load(self) -> Base:
        """The base, on the CPU, in float32 unless it has a dtype of its own; a new one at each call.

        bench.bases.load_base sets `name` and `digest` of a base from outside, and the device of any.
        """
        raise LitmusError(f"the base {self.name} does not say how it is loaded: write load(self)")

    def digest(self) -> str:
        """sha256 over all that decides a picture. Written out it spares loading the base for a plan."""
        return self.load().digest

    def facts(self) -> Facts:
        """What a plan asks before anything is loaded."""
        return self.spec, self.digest(), ()

    def files(self) -> Source | None:
        """The files behind it, where it is a pipeline of diffusers."""
        return None

    def card(self) -> dict[str, str]:
        """What `litmus bases` shows: resolution, denoiser, licence, digest; "" for what only loading would tell."""
        return {}

    def with_options(self, **options: Any) -> BaseSource:
        """The same with dtype, resolution and quantise of `litmus run` in its name, those that are not None.

        For kinds whose names say a dtype.
        """
        raise LitmusError(f"the base {self.name} has no options: write with_options(self, **options)")


BASES: Registry[BaseSource] = Registry("base", "bench.bases.kinds", ("name", "title"), "litmus bases")
