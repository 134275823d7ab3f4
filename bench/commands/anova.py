"""`litmus anova`: the study of adapter positions, planned, run, analysed and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import DEVICE, WORKERS
from bench.commands.outputs import output_folder
from bench.commands.shared import finish, parts, print_table, say, surroundings
from bench.core.errors import LitmusError


def _protocols() -> list[str]:
    from bench.protocol.models import load_protocol, protocol_names

    return [name for name in protocol_names() if load_protocol(name).anova]


def anova(
    protocol: Annotated[
        str, typer.Argument(autocompletion=_protocols, help="a protocol with an [anova] table, or a TOML file")
    ] = "anova",
    budget: Annotated[str | None, typer.Option(help="how long it may run: 2h, 40m  [default: the protocol's]")] = None,
    full: Annotated[bool, typer.Option("--full", help="the whole grid")] = False,
    base: Annotated[str | None, typer.Option(help="another base than the protocol's")] = None,
    sizes: Annotated[
        str | None, typer.Option(help="equal: as many scalars for every pair; same width; or the released widths")
    ] = None,
    cell_seconds: Annotated[
        float | None, typer.Option(min=0.01, help="seconds per cell on this machine  [default: the protocol's]")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="show what would run and the aliasing of a fraction; run nothing")
    ] = False,
    positions: Annotated[
        bool, typer.Option("--positions", help="list the pairs that the base has, with their sizes; run nothing")
    ] = False,
    results: Annotated[
        Path | None,
        output_folder(
            "--results", written=False, help="the study's folder  [default: results/PROTOCOL]", show_default=False
        ),
    ] = None,
    workers: WORKERS = None,
    device: DEVICE = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run again what failed")] = False,
    report: Annotated[bool, typer.Option("--report", help="write the report from the records; run nothing")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="measure how far the identifier moves the noise, pair by pair; then report")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="make the study's winner the default of the method `adapter`")
    ] = False,
) -> None:
    """Search an adapter's positions as "A Closer Look" did.

    The paper is "A Closer Look at Parameter-Efficient Tuning in Diffusion Models" (arXiv 2303.18181).
    Every legal way between two positions of a block meets the activations and scales of the protocol on tuning tasks;
    an analysis of variance says which factor decides. Cells run replicate by replicate, so it may be stopped at any
    time and resumed. ANOVA.md, figures and winner.json come from the records alone.

    Examples:

    `litmus anova --plan`

    `litmus anova --budget 2h`

    `litmus anova --full`

    `litmus anova anova-small`

    `litmus anova --report`

    `litmus anova --publish`

    `litmus anova --base sd35-medium --positions`
    """
    from bench.anova import study
    from bench.core import paths
    from bench.protocol.models import load_protocol, make_protocol
    from bench.runner import board

    rules = load_protocol(protocol)
    if rules.anova is None:
        raise LitmusError(f"{rules.name} has no [anova] table: litmus bench {protocol} runs it")
    if full and budget:
        raise LitmusError("--full is the whole grid and --budget a part of it: give one of them")
    table = rules.model_dump(exclude_none=True)
    given = {"budget": "" if full else budget, "sizes": sizes, "bases": (base,) if base else None}
    table["anova"] |= {name: value for name, value in given.items() if value is not None}
    table |= {"base": base} if base else {}
    table["limits"] |= {"workers": workers} if workers else {}
    rules = make_protocol(table, rules.name)
    if not (publish or report):
        surroundings(rules.base, False)  # a design is made on the base's own network, also for --plan
    assert rules.anova is not None
    if positions:
        _positions(rules.base, rules.anova)
        return
    folder = results or paths.results() / rules.name
    if publish:
        _publish(folder)
        return
    if probe:
        _probe(folder, device or "")
    if probe or report:
        write_report(folder)
        return
    planned = study.plan(rules, folder, retry_failed, cell_seconds or 0.0, device=device or "")
    for line in (*planned.board.notes, *planned.lines()):
        say(line)
    say(planned.board.headline())
    if plan:
        if rows := study.alias_rows(planned):
            print_table(["term", "share of it that lies in other terms (1: fully confounded)"], rows)
        return
    records = study.run(planned, say)
    say(board.summary(planned.board, records))
    write_report(folder)
    finish(board.failures(records) + planned.board.unread)


def _positions(base: str, factors: object) -> None:
    from bench.anova.places import ask
    from bench.protocol.models import Anova

    assert isinstance(factors, Anova)
    answer = ask(base, factors.inputs, factors.outputs, factors.sizes, factors.widths)
    rows = [[w.source, w.target, str(w.width), f"{w.scalars:,}"] for w in answer.ways]
    print_table(["input", "output", "width", "scalars"], rows)
    for name, why in answer.refused.items():
        say(f"{name}: {why}")


def write_report(folder: Path) -> None:
    """Write a study's report and say where it is."""
    say(
        f"the report of {folder}, from its records, which may take half a minute"
    )  # before pandas and matplotlib are loaded
    from bench.report import anova as pages

    with parts() as tell:
        paths = pages.write(folder, tell)
    for path in paths:
        if path.suffix in (".md", ".json"):
            print(path)
    print(folder / "figures")


def _probe(folder: Path, device: str) -> None:
    """In a process of its own, since this one stays without torch."""
    import subprocess
    import sys

    if not (folder / "design.json").is_file():
        raise LitmusError(f"{folder} contains no study (no design.json): litmus anova makes one")
    if subprocess.run([sys.executable, "-m", "bench.anova.probe", str(folder), device]).returncode:
        raise LitmusError("the probe failed, see its output above: the same command resumes it")


def _publish(folder: Path) -> None:
    """Put the study's winner beside the method, where `adapter` reads its defaults."""
    from importlib.util import find_spec

    from bench.core.files import write_bytes
    from bench.report.anova import published

    table = published(folder)
    spec = find_spec("methods")
    places = list((spec.submodule_search_locations if spec else None) or [])
    if not places:
        raise LitmusError("the package `methods` is not installed: pip install -e . in the clone")
    path = Path(places[0]) / "adapter_winner.json"
    write_bytes(path, json.dumps(table, indent=1, ensure_ascii=False).encode() + b"\n")
    settings = ", ".join(f"{key}={value}" for key, value in table["hyper"].items())
    print(path)
    say(f"adapter now means adapter[{settings}]; adapter[paper] is the published form.")
    say("Records name all settings and stay valid; boards that list `adapter` run its cells again if this is a change.")
