"""`litmus export`: an adapter for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ADAPTER, ADAPTER_BASE, ANY_BASE, DEVICE, OFFLINE
from bench.commands.outputs import output_path
from bench.commands.shared import adapted, base_of, say
from bench.core.errors import LitmusError, nearest

FORMATS = ("diffusers", "peft", "kohya")


def export(
    file: ADAPTER,
    out: Annotated[Path, output_path("--out", "-o", help="where to write: a folder, or kohya's file")],
    form: Annotated[str, typer.Option("--format", "-f", help="diffusers, peft or kohya")] = "diffusers",
    base: ADAPTER_BASE = None,
    rank: Annotated[int | None, typer.Option(min=1, help="approximate the adapter by a LoRA of this rank")] = None,
    any_base: ANY_BASE = False,
    device: DEVICE = None,
    offline: OFFLINE = False,
) -> None:
    """Write an adapter for other tools.

    Its provenance goes into the header of the file.

    **diffusers**: a folder for `pipe.load_lora_weights(folder)`; LoRA, DoRA, and every method whose change of each
    weight is of low rank (not for PixArt, whose pipeline loads none).

    **peft**: a folder for `PeftModel.from_pretrained(pipe.unet, folder)`; every tuner of peft.

    **kohya**: one file with the names of kohya-ss and LyCORIS, for ComfyUI and the web UIs; LoRA, LoHa, LoKr.

    A run's adapter is there if it was run with `litmus run ... --save`. Files of other tools can be given too.

    Examples:

    `litmus export results/mine/runs/0123456789abcdef.json --out rex-lora`

    `litmus export results/mine/runs/0123456789abcdef.json -f kohya -o rex.safetensors`

    `litmus export downloads/cat.safetensors --base pocket -f peft -o cat-peft`

    `litmus export rex.safetensors --base models/sdxl --offline --device cpu --out rex-lora`
    """
    from bench.interop import holds

    if form not in FORMATS:
        raise LitmusError(nearest(form, dict.fromkeys(FORMATS), "format"))
    holds.refuse(file, form)
    from bench.interop.adapters import export as written

    base = base_of(file, base, offline)
    where, what = written(adapted(file, base, any_base, device), form, out, rank)
    say(what)
    print(where)
