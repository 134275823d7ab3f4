"""`litmus merge`: an adapter folded into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ADAPTER, ADAPTER_BASE, ANY_BASE, DEVICE, OFFLINE
from bench.commands.outputs import output_folder
from bench.commands.shared import adapted, base_of
from bench.core.errors import LitmusError, nearest


def merge(
    file: ADAPTER,
    out: Annotated[Path, output_folder("--out", "-o", help="the folder to write")],
    base: ADAPTER_BASE = None,
    dtype: Annotated[str, typer.Option(help="of the weights written: fp32, fp16 or bf16")] = "fp32",
    any_base: ANY_BASE = False,
    device: DEVICE = None,
    offline: OFFLINE = False,
) -> None:
    """Merge an adapter into its base: a whole pipeline.

    The folder has diffusers' layout. For every method that can be merged (`litmus methods`), and for files of other
    tools. The folder is a base like any other: `DiffusionPipeline.from_pretrained(folder)`, `litmus run --base folder`.

    Example: `litmus merge results/mine/runs/0123456789abcdef.json --out rex-pipeline --dtype fp16`
    """
    from bench.interop import holds, pipelines

    if dtype not in pipelines.DTYPES:
        raise LitmusError(nearest(dtype, dict.fromkeys(pipelines.DTYPES), "dtype"))
    holds.refuse(file, holds.MERGED)
    base = base_of(file, base, offline)
    print(pipelines.merge(adapted(file, base, any_base, device), out, dtype))
