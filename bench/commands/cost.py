"""`litmus cost`: seconds and bytes of methods on this machine, as multiples of a reference's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import DEVICE
from bench.commands.outputs import output_folder
from bench.commands.shared import counting, print_table, say
from bench.core.errors import LitmusError, nearest

if TYPE_CHECKING:
    import torch

FORMATS = ("table", "json")


def cost(
    base: Annotated[
        str, typer.Option(help="bases, separated by commas: pocket, sd15-small, sdxl, a folder, ...")
    ] = "pocket",
    methods: Annotated[
        str | None,
        typer.Option(help="methods, separated by commas, or all  [default: eight kinds]", show_default=False),
    ] = None,
    weights: Annotated[str, typer.Option(help="real, or random: of that size, without any file")] = "real",
    reference: Annotated[str, typer.Option(help="the method that all others are compared with")] = "lora",
    batch: Annotated[int, typer.Option(min=1, help="pictures per step")] = 4,
    resolution: Annotated[int | None, typer.Option(help="of random weights, in pixels  [default: 512]")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="fp32 or bf16  [default: a folder's own, else fp32]", show_default=False)
    ] = None,
    device: DEVICE = None,
    blocks: Annotated[int, typer.Option(min=2, help="paired blocks, over which the interval is taken")] = 8,
    calls: Annotated[int, typer.Option(min=1, help="calls per block")] = 2,
    form: Annotated[str, typer.Option("--format", help="table or json")] = "table",
    json_: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
    write: Annotated[
        str | None,
        output_folder("--write", help="folder for cost.md, .csv and .json; {card} in it becomes the device's name"),
    ] = None,
) -> None:
    """Measure each method's time and memory beside a reference.

    Training, inference, attaching, loading and merging are timed. Every figure of time is taken call by call in turns
    with the reference and given as a multiple of it, with a 95 % interval over paired blocks. The reference's own row
    compares two copies of it, which shows the machine's noise. Leave the machine idle meanwhile.

    Examples:

    `litmus cost`

    `litmus cost --base pocket,sd15-small,flux2-klein-4b-small --write results/cost-{card}`

    `litmus cost --base sd15,sdxl --weights random --dtype bf16 --device cuda --write results/cost-{card}`
    """
    from bench.core.busy import warning
    from bench.core.text import split
    from bench.cost import race, race_tables
    from bench.cost.forecast import Setting
    from bench.cost.measure import measuring_device
    from bench.records.provenance import now

    form = "json" if json_ else form
    if form not in FORMATS:
        raise LitmusError(nearest(form, FORMATS, "format"))
    chosen = measuring_device(device)
    setting = Setting(batch=batch, resolution=resolution, dtype=dtype or "fp32")
    results: list[race.Result] = []
    about = _about(chosen) | {"batch": batch, "reference": reference, "resolution": resolution}
    about |= {"blocks": blocks, "calls": calls}
    folder = Path(write.replace("{card}", race_tables.slug(about["device"]))) if write else None
    paths: list[Path] = []
    weighed: dict[str, None] = {}
    dtypes: dict[str, None] = {}
    bases, runners = split(base), split(methods) or race.METHODS
    each = race.runners(runners, reference)
    if line := warning():  # before torch's own threads are at work
        say(line)
        about["busy"] = line
    with counting([name for name in bases for _ in range(each)], "racing") as counted:
        for name in bases:
            setup = race.set_up(name, weights, setting, chosen, dtype)
            weighed[setup.weights] = None
            dtypes[setup.dtype] = None
            about |= {"dtype": " and ".join(dtypes), "weights": " and ".join(weighed)}
            for one in race.race(setup, runners, reference, blocks, calls, before=partial(counted, name)):
                results.append(one)
                about["finished"] = now()
                if one.note:
                    say(f"{one.method} on {one.base}: {one.note}")
                if folder:  # a race takes minutes: what is stopped keeps what it has
                    paths = race_tables.write(folder, results, about)
    if form == "json":
        print(race_tables.as_json(results, about))
    else:
        print_table(*race_tables.table(results, many=len(split(base)) > 1))
    for path in paths:
        say(str(path))


def _about(device: torch.device) -> dict:
    """The machine as records describe it, with the device's name and torch's threads."""
    import torch

    from bench.core.device import described
    from bench.records.provenance import now, provenance

    machine = provenance(now(), threads=torch.get_num_threads(), device=described(device)).model_dump()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine["machine"]["cpu"]
    return {"device": name, **machine}
