"""The options that several commands share, as annotated types; and those of `litmus run` by topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.outputs import output_folder
from bench.commands.shared import protocol_names

# --- boards ---------------------------------------------------------------------------------------------------------

PROTOCOL = Annotated[
    str, typer.Argument(autocompletion=protocol_names, help="a protocol's name, or the path of a TOML file")
]
RESULTS = Annotated[
    Path | None,
    output_folder("--results", help="the board's folder  [default: results/PROTOCOL]", show_default=False),
]
RESULTS_READ = Annotated[
    Path | None,
    output_folder(
        "--results", written=False, help="the board's folder  [default: results/PROTOCOL]", show_default=False
    ),
]
WORKERS = Annotated[
    int | None, typer.Option("--workers", "-j", min=1, help="processes side by side  [default: one per core]")
]
BASE = Annotated[
    str | None,
    typer.Option(
        help="another base than the protocol's: a folder or owner/name; its records lie in results/PROTOCOL-BASE",
        show_default=False,
    ),
]
RETRY = Annotated[
    bool, typer.Option("--retry-failed", help="run again what ended in error, and what the machine ended thrice")
]

# --- adapters' files ------------------------------------------------------------------------------------------------

ADAPTER = Annotated[
    Path,
    typer.Argument(
        help="a .safetensors file, a folder that holds one, a peft checkpoint's folder, or a run's record",
        metavar="FILE",
    ),
]
ADAPTER_BASE = Annotated[
    str | None, typer.Option("--base", help="the base it is for  [default: the one that the file names, else pocket]")
]
ANY_BASE = Annotated[bool, typer.Option("--any-base", help="accept an adapter that was trained on another base")]

# --- a base of diffusers, training and sampling ---------------------------------------------------------------------

_BASE, _TRAINING, _SAMPLING = "Base", "Training", "Sample"

DTYPE = Annotated[
    str | None, typer.Option(help="bf16 or fp32  [default: bf16 for a base of diffusers]", rich_help_panel=_BASE)
]
RESOLUTION = Annotated[
    str | None, typer.Option(help="512, or width x height as 768x512  [default: the base's own]", rich_help_panel=_BASE)
]
QUANTISE = Annotated[
    str | None, typer.Option(help="nf4 or int8: the frozen base in 4 or 8 bits (bitsandbytes)", rich_help_panel=_BASE)
]
DEVICE = Annotated[
    str | None, typer.Option(help="cuda, cuda:1, mps, cpu  [default: a GPU where there is one]", rich_help_panel=_BASE)
]
OFFLINE = Annotated[
    bool, typer.Option("--offline", help="download nothing; a missing file is an error", rich_help_panel=_BASE)
]
ACCUMULATE = Annotated[
    int | None, typer.Option(help="batches per optimiser step  [default: 1]", rich_help_panel=_TRAINING)
]
CHECKPOINTING = Annotated[
    bool,
    typer.Option(
        "--checkpointing", help="gradient checkpointing: a third more time, far less memory", rich_help_panel=_TRAINING
    ),
]
OPTIMIZER = Annotated[str | None, typer.Option(help="adamw, or adamw8bit (bitsandbytes)", rich_help_panel=_TRAINING)]
MIN_SNR = Annotated[
    float | None, typer.Option(help="gamma of min-SNR weighting, usually 5  [default: none]", rich_help_panel=_TRAINING)
]
EMA = Annotated[
    float | None,
    typer.Option(
        help="decay of the exponential moving average, such as 0.99  [default: none]", rich_help_panel=_TRAINING
    ),
]
COMPILE = Annotated[bool, typer.Option("--compile", help="train through torch.compile", rich_help_panel=_TRAINING)]
SAMPLE_STEPS = Annotated[
    int | None, typer.Option(help="denoising steps of a picture  [default: 20]", rich_help_panel=_SAMPLING)
]
GUIDANCE = Annotated[
    float | None, typer.Option(help="guidance scale, 1 for none  [default: 4]", rich_help_panel=_SAMPLING)
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
