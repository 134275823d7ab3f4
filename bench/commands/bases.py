"""The options of `litmus run` that belong to a base of diffusers: what it is loaded as, and where it works."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from bench.bases.spec import on_the_hub
from bench.commands.shared import say

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
    bool, typer.Option("--offline", help="fetch nothing: what is not here is said", rich_help_panel=_BASE)
]
ACCUMULATE = Annotated[int | None, typer.Option(help="batches to one step  [default: 1]", rich_help_panel=_TRAINING)]
CHECKPOINTING = Annotated[
    bool, typer.Option("--checkpointing", help="a third more time for far less memory", rich_help_panel=_TRAINING)
]
OPTIMIZER = Annotated[str | None, typer.Option(help="adamw, or adamw8bit (bitsandbytes)", rich_help_panel=_TRAINING)]
MIN_SNR = Annotated[
    float | None, typer.Option(help="gamma of min-SNR weighting, usually 5  [default: none]", rich_help_panel=_TRAINING)
]
EMA = Annotated[
    float | None, typer.Option(help="decay of a running mean, 0.99 say  [default: none]", rich_help_panel=_TRAINING)
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


def surroundings(base: str | None, offline: bool) -> None:
    """Keep the hub's library from fetching, here and in worker processes; else tell the user what may take long."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return
    elif base is not None and on_the_hub(base):
        say(f"fetching what is not here yet of {base.partition('?')[0]}: the first time this may take long")
