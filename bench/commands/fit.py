"""`litmus fit`: what training would take, from shapes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_folder
from bench.commands.shared import counting, print_table, say
from bench.core.errors import LitmusError, nearest

FORMATS = ("table", "md", "csv", "json")


def fit(
    base: Annotated[str, typer.Option(help="bases, separated by commas, or all: sd15, sdxl, flux2-klein, ...")] = "all",
    methods: Annotated[str, typer.Option(help="methods, separated by commas, or all")] = "all",
    batch: Annotated[int, typer.Option(min=1, help="pictures per step")] = 1,
    resolution: Annotated[
        int | None, typer.Option(help="side of the pictures in pixels  [default: 512; pocket 64]", show_default=False)
    ] = None,
    dtype: Annotated[str, typer.Option(help="of the base's weights and its arithmetic: fp32 or bf16")] = "bf16",
    trained: Annotated[str, typer.Option(help="of what is trained: fp32 as `litmus run`, or bf16")] = "fp32",
    attention: Annotated[str, typer.Option(help="fused, or math: the whole matrix is written out")] = "fused",
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="count only with checkpointing")] = False,
    vram: Annotated[str, typer.Option(help="the card's memory: 12GB")] = "24GB",
    reserve: Annotated[str, typer.Option(help="of that, reserved for other than tensors")] = "1GB",
    form: Annotated[str, typer.Option("--format", help="table, md, csv or json")] = "table",
    json_: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
    write: Annotated[
        Path | None, output_folder("--write", help="folder for fit.md, .csv, .json and .svg; resumes from its rows")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="measure the forecast's error on small networks")] = False,
    device: Annotated[
        str | None, typer.Option(help="where --check measures: cpu, cuda, cuda:1  [default: cuda where there is one]")
    ] = None,
) -> None:
    """Forecast memory and FLOPs of a training step.

    Needs neither weights nor a GPU. Each method's step is run on shapes alone: trained scalars, stored bytes, AdamW's
    bytes, saved activations, peak memory, theoretical FLOPs, and whether that goes into a card's memory, with gradient
    checkpointing if needed.

    Examples:

    `litmus fit --base flux2-klein --vram 12GB`

    `litmus fit --write results/fit`

    `litmus fit --base sd15,sdxl --methods lora,lora[rank=64],full --batch 4 --resolution 1024`

    `litmus fit --check --write results/fit`
    """
    from bench.bases.architectures import ARCHITECTURES
    from bench.core.text import split
    from bench.cost import forecast
    from bench.cost import forecast_tables as tables

    form = "json" if json_ else form
    if form not in FORMATS:
        raise LitmusError(nearest(form, FORMATS, "format"))
    if check:
        _check(write, device, [] if base == "all" else split(base), [] if methods == "all" else split(methods))
        return
    room = forecast.gigabytes(vram), forecast.gigabytes(reserve)
    setting = forecast.Setting(batch, resolution, dtype, attention, checkpointing, *room, trained)
    bases = [] if base == "all" else split(base)
    rows = tables.read_rows(write, setting) if write else []
    done = {(row.base, row.method) for row in rows}
    if done:
        say(f"{len(done)} rows are already counted")
    todo = forecast.wanted(split(methods), bases, setting, skip=lambda *one: one in done)
    named = list(dict.fromkeys(name for name, _ in todo))
    steps = f"{len(todo)} training step{'s' * (len(todo) != 1)}"
    say(
        f"forecasting {steps} on {len(named)} of {len(ARCHITECTURES)} bases, from shapes alone: nothing is fetched or "
        "measured"
    )
    with counting([name for name, _ in todo]) as counted:
        for name, method in todo:
            counted(name)
            rows.append(forecast.row(name, method, setting))
            if write:
                tables.write_rows(write, rows, setting)
    if write:
        for path in tables.write(write, rows, setting):
            print(path)
        return
    if form == "table":
        print_table(*tables.table(rows, setting, many=len({row.base for row in rows}) > 1))
        for line in forecast.assumed(list(dict.fromkeys(row.base for row in rows)), setting):
            print(line)
    else:
        print(tables.written(rows, setting, form))
    for line in tables.refusals(rows):
        say(line)


def _check(folder: Path | None, device: str | None, bases: list[str], methods: list[str]) -> None:
    from bench.core.text import markdown
    from bench.cost import forecast_check as check
    from bench.cost.forecast import base_name
    from bench.cost.forecast_tables import save, versions
    from bench.cost.measure import measuring_device

    where = measuring_device(device)
    names = [base_name(b) for b in bases]
    with counting(check.planned(names, methods), "checking", "step") as counted:
        measured = list(check.checks(names, methods, device=str(where), before=counted))
    header, body = check.table(measured)
    print_table(header, body)
    print(check.worst(measured))
    if folder is not None and measured:
        releases = ", ".join(f"{name} {number}" for name, number in versions().items())
        print(
            save(folder / f"accuracy-{where.type}.md", check.page(measured, releases, markdown(header, body)).encode())
        )
