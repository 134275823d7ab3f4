"""A family of denoisers: everything that is particular to it, in one class, and the registry of families.

What reads these facts is general: bench.network.calls calls a denoiser, .sites finds its layers, .forwards its
positions; bench.bases loads, shrinks and lists its models. A family is one file in bench/families/, or one elsewhere
that a package announces (entry points litmus.families) or that $LITMUS_PLUGINS names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bench.core.errors import LitmusError
from bench.plugin.registry import Part, Registry, shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.network.calls import Context
    from bench.network.forwards import Inside
    from bench.network.schedule import Schedule

Roles = dict[str, tuple[str, ...]]  # role -> paths inside a block


@dataclass(frozen=True)
class Small:
    """A small sibling: the published configuration with `config` in place of its sizes.

    tokens  of a prompt in its trials
    text    width of the text side that it gets; 0: none
    """

    config: dict[str, Any]
    tokens: int = 64
    text: int = 0


@dataclass(frozen=True)
class Architecture:
    """A published model's denoiser: the class in diffusers, and what of its configuration differs from the defaults.

    scalars  what the class must come to; None: not published
    text     configuration of a transformers CLIPTextModel, where the text side is a single CLIP
    source   the repository whose config.json it is
    tokens   of a padded prompt where the text side is not a single CLIP
    small    its small sibling, with every switch of its configuration
    """

    title: str
    cls: str
    scalars: int | None
    config: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] | None = None
    source: str = ""
    tokens: int = 0
    small: Small | None = None


@dataclass(frozen=True)
class Tiny:
    """A pipeline of true classes at a millionth of the size: its class, components from a seed, plain settings."""

    pipeline: str
    make: Callable[[int], dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family(Part):
    """What is particular to a family of denoisers; only `title`, `classes` and `toy` must be given.

    Every table may be empty: a family without `pipelines` has no bases of its own, one without `roles` has the sites
    that every network has (linear, conv, norm, bias), one without `insides` refuses bypasses.
    """

    title: ClassVar[str]
    published: ClassVar[str] = ""  # year-month-day of the first model: tables list families by it
    paper: ClassVar[str] = ""
    # the denoiser
    classes: ClassVar[tuple[str, ...]] = ()  # names of its classes
    packed: ClassVar[int] = 1  # it takes tokens of so many latents a side, with their channels one after another
    # its blocks, by the name of their class
    roles: ClassVar[dict[str, Roles]] = {}  # block -> role -> paths inside it; one that a block lacks is passed over
    insides: ClassVar[dict[str, tuple[Inside, ...]]] = {}  # block -> forwards with positions, the first that fits
    resblocks: ClassVar[tuple[str, ...]] = ()  # residual blocks
    # its pipelines
    pipelines: ClassVar[tuple[str, ...]] = ()  # names of their classes
    components: ClassVar[tuple[type, ...]] = ()  # classes of its own: ModelMixin for weights, DiffusionPipeline
    denoiser: ClassVar[str] = "transformer"  # the component that is trained
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer",)
    multiple: ClassVar[int] = 8  # picture sides are multiples of this many pixels
    adapter_pipeline: ClassVar[str] = ""  # pipeline of diffusers whose lora_state_dict reads adapters of the family
    # its models
    models: ClassVar[dict[str, Architecture]] = {}
    tiny: ClassVar[dict[str, Tiny]] = {}

    def fits(self, denoiser: Any) -> bool:
        """Whether `denoiser` is of this family."""
        return type(denoiser).__name__ in self.classes

    def call(self, denoiser: Any, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """The prediction (B, C, H, W) from latents x (B, C, H, W), times t (B,) from 0 to 1000, and what is told."""
        return denoiser(x, t, encoder_hidden_states=context.states).sample

    def toy(self) -> nn.Module:
        """A denoiser of the family in the smallest size, for x (B, 4, 8, 8) and text states (B, L, 16)."""
        raise LitmusError(f"the family {self.name} has no toy: write toy(self)")

    def encode(self, pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
        """`prompts` as `pipe`, with its text side on `device`, encodes them; "" as what its pipeline guides away from.

        `tokens` is the greatest length where the family leaves it open; 0: the pipeline's own.
        """
        raise LitmusError(f"the family {self.name} does not say how prompts are encoded: write encode(self, ...)")

    def schedule(self, scheduler: Any, tokens: int) -> Schedule:
        """The noise levels of training and sampling; a picture is of `tokens` squares of 2 x 2 latents."""
        from bench.network.schedule import from_scheduler

        return from_scheduler(scheduler)

    def guidance(self, denoiser: Any, settings: dict[str, Any]) -> str:
        """How a guidance scale is used: "cfg" (a second call), "embedded" (an input), "none" (distilled).

        `settings` are the pipeline's own, of model_index.json.
        """
        if getattr(denoiser.config, "guidance_embeds", False):
            return "embedded"
        return "none" if settings.get("is_distilled") else "cfg"

    def component(self, cls: str) -> type | None:
        """The class called `cls` among the family's own; None: it is one of diffusers or transformers."""
        return next((own for own in self.components if own.__name__ == cls), None)

    @property
    def parts(self) -> tuple[str, ...]:
        """The components of a pipeline that Litmus uses."""
        return (self.denoiser, "vae", "scheduler", *self.encoders, *self.tokenizers)


class Families(Registry[Family]):
    """The families; two of them may share a class of blocks if they say the same of it."""

    def register(self, cls: Any) -> Any:
        """As Registry.register. LitmusError too where another family says otherwise of a block, or has a pipeline."""
        for name, other in self.items():
            if name == cls.name:
                continue
            if odd := [block for block, roles in cls.roles.items() if other.roles.get(block, roles) != roles]:
                raise LitmusError(
                    f"{cls.__name__} in {shown(cls)} gives {odd[0]} other roles than {shown(other)}: "
                    "a class of blocks has its roles once"
                )
            if both := sorted({*cls.pipelines} & {*other.pipelines}):
                raise LitmusError(f"{both[0]} is a pipeline of {shown(other)}: leave it out of {cls.__name__}")
        return super().register(cls)

    def known(self) -> list[Family]:
        """One of each, the oldest first; the registry is filled when it is first asked."""
        if not self._loaded:
            self.load()
        return [_made(cls) for cls in sorted(self.values(), key=lambda cls: (cls.published or "9999", cls.name))]


FAMILIES = Families("family", "bench.families", ("name", "title"))


@functools.cache
def _made(cls: type[Family]) -> Family:
    return cls()


def family_of(pipeline: str) -> Family | None:
    """The family that has a pipeline's class."""
    return next((one for one in FAMILIES.known() if pipeline in one.pipelines), None)


def family_of_denoiser(denoiser: Any) -> Family | None:
    """The family of a denoiser; None for a class that none knows."""
    return next((one for one in FAMILIES.known() if one.fits(denoiser)), None)


def models() -> dict[str, Architecture]:
    """Every published model of every family."""
    return {name: model for one in FAMILIES.known() for name, model in one.models.items()}


def block_roles() -> dict[str, Roles]:
    """Class of a block -> role -> paths, of every family."""
    return {block: roles for one in FAMILIES.known() for block, roles in one.roles.items()}


def insides(block: str) -> list[Inside]:
    """What the families know of the inside of a class of blocks."""
    return [found for one in FAMILIES.known() for found in one.insides.get(block, ())]
