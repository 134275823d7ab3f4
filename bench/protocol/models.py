"""Protocols as checked models, and how they are read. Imports no torch."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.core.errors import LitmusError, nearest
from bench.plugin.spec import label, parse_spec

PSEUDO = ("truth", "truth_raw")  # rows that are not methods: the truth pictures through the VAE, and as they are
UNTRAINED = ("base", *PSEUDO)  # rows with neither learning rate nor objective nor training budget


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Train(_Strict):
    """The training budget, the same for every method of a board."""

    steps: int = Field(default=120, ge=1)
    batch: int = Field(default=4, ge=1)
    dtype: Literal["fp32", "bf16"] = "fp32"
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    accumulate: int = Field(default=1, ge=1)  # batches to one step
    checkpointing: bool = False  # activations are computed again on the way back instead of kept
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    min_snr: float | None = Field(default=None, gt=0)  # gamma of min-SNR weighting
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay of the running mean that is evaluated
    compile: bool = False  # through torch.compile

    # Came after the first records: at their default they are no part of a run's key (bench.runner.plan.key).
    later: ClassVar = ("accumulate", "checkpointing", "optimizer", "min_snr", "ema", "compile")


class Sample(_Strict):
    """How pictures are drawn: denoising steps, guidance scale (1 for none), pictures per prompt."""

    steps: int = Field(default=20, ge=1)
    guidance: float = Field(default=4.0, ge=0)
    per_prompt: int = Field(default=1, ge=1)


class Limits(_Strict):
    """What one run may take. `timeout` in seconds per run; `workers` 0 means one per core."""

    timeout: float = Field(default=600, gt=0)
    workers: int = Field(default=0, ge=0)


def _canonical(spec: str) -> str:

    try:
        return label(*parse_spec(spec))
    except LitmusError as error:
        raise ValueError(str(error)) from None  # pydantic adds where


class Row(_Strict):
    """One competitor: a method spec with what differs from the board's defaults. `lr` None: the method's own."""

    spec: str
    lr: float | None = Field(default=None, gt=0)
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    objective: str | None = None

    @field_validator("spec")
    @classmethod
    def _readable(cls, spec: str) -> str:
        return _canonical(spec)


class Extra(_Strict):
    """More seeds, tasks or another objective for some of the rows above, named by their spec."""

    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    objective: str | None = None
    lr: float | None = Field(default=None, gt=0)


class Sweep(_Strict):
    """Learning rates to try per method spec (all on the protocol's tasks, which are tuning tasks).

    `lrs` lists them; for the specs in `around` they are searched around its own (bench.runner.rate_search).
    """

    lrs: dict[str, tuple[float, ...]] = {}
    around: tuple[str, ...] = ()

    @field_validator("around")
    @classmethod
    def _readable(cls, around: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_canonical(spec) for spec in around)

    @field_validator("lrs")
    @classmethod
    def _positive(cls, lrs: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for spec, values in lrs.items():
            if not values or min(values) <= 0:
                raise ValueError(f"'{spec}' needs at least one learning rate, all above 0")
        return {_canonical(spec): values for spec, values in lrs.items()}


class Anova(_Strict):
    """The factors of a study of adapters (bench.anova.design) and the plan's rules.

    `inputs`, `outputs` empty: every position that a legal pair has and the base knows. `sizes`: equal (each pair's
    width is the one whose count comes nearest to the published pair's at `widths`), same (`widths` for every pair),
    released (the widths of the authors' configurations). `budget`, `cell_seconds`: how much of the grid is run.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    activations: tuple[str, ...] = Field(default=("relu",), min_length=1)
    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    inits: tuple[str, ...] = Field(default=("zero",), min_length=1)
    widths: tuple[int, ...] = Field(default=(32,), min_length=1)
    lrs: tuple[float, ...] = Field(default=(1e-3,), min_length=1)
    bases: tuple[str, ...] = ()  # empty: the protocol's
    sizes: Literal["equal", "same", "released"] = "equal"
    budget: str = ""  # "2h"; empty: the whole grid
    cell_seconds: float = Field(default=14.0, gt=0)  # of the whole machine


class Protocol(_Strict):
    """One board: which methods meet which tasks under which budget. `protocol` is the rules' number: rows of
    different numbers never share a table."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    protocol: int = Field(default=1, ge=1)
    title: str = ""
    base: str = "pocket"
    extractors: str = ""  # empty: those that know the base's pictures (bench.runner.plan.scored_with)
    tasks: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    objective: str = "plain"
    metrics: tuple[str, ...] = ()  # beside the registered ones: `torchmetrics.TotalVariation`, `kid_null[draws=500]`
    train: Train = Train()
    sample: Sample = Sample()
    limits: Limits = Limits()
    methods: tuple[Row, ...] = ()
    extra: tuple[Extra, ...] = ()
    sweep: Sweep | None = None
    anova: Anova | None = None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a pydantic error as one line, with the nearest key for a misspelt one."""
    # A misspelt key first: "field required" would only be its echo.
    fault = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        owner: Any = model
        for part in fault["loc"][:-1]:
            if not isinstance(part, int):
                owner = _MODELS.get(part, owner)
        section = f" in [{'.'.join(p for p in where[:-1] if not p.isdigit())}]" if len(where) > 1 else ""
        return nearest(where[-1], owner.model_fields, "key") + section
    message = fault["msg"].removeprefix("Value error, ")
    got = fault.get("input")
    shown = f", not {got!r}" if isinstance(got, str | int | float) else ""
    return f"{'.'.join(where) or 'the file'}: {message[:1].lower()}{message[1:]}{shown}"


_MODELS: dict[Any, type[BaseModel]] = {
    "train": Train,
    "sample": Sample,
    "limits": Limits,
    "methods": Row,
    "extra": Extra,
    "sweep": Sweep,
    "anova": Anova,
}


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.toml"))


def make_protocol(table: dict[str, Any], source: str = "protocol") -> Protocol:
    """A checked protocol from a plain table; a fault is one line that names `source` and the key."""
    try:
        return Protocol.model_validate(table)
    except ValidationError as error:
        raise LitmusError(f"{source}: {_explain(error, Protocol)}") from None


def load_protocol(name: str | Path) -> Protocol:
    """A protocol by the name of one that comes with the package, or by the path of a TOML file."""
    path = Path(name)
    if path.suffix != ".toml":
        if str(name) not in protocol_names():
            raise LitmusError(nearest(str(name), protocol_names(), "protocol"))
        path = Path(__file__).parent / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LitmusError(f"cannot read the protocol {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LitmusError(f"{path} is not TOML: {error}") from None
    return make_protocol(table, path.name)
