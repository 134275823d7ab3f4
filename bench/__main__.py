"""The command line, `litmus`: argument parsing and printing, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import bench


def _guard() -> None:
    """Say so when another package called `bench` lies in this one's place."""
    here = Path(__file__).resolve().parent
    found = Path(bench.__file__ or "nowhere").resolve().parent
    if found != here or not (here / "records" / "record.py").is_file() or not hasattr(bench, "__litmus__"):
        sys.exit(
            f"error: another package called 'bench' ({found}) is mixed up with Litmus ({here}): "
            "install peft-litmus in an environment of its own"
        )


_guard()

import typer  # noqa: E402  the guard speaks first

from bench import commands  # noqa: E402
from bench.commands import anova, bases  # noqa: E402
from bench.commands.shared import board_folder, board_names, method_names, print_table, say  # noqa: E402
from bench.commands.world import pocket, world  # noqa: E402
from bench.core.errors import LitmusError  # noqa: E402

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    help="Litmus: compare parameter-efficient fine-tuning methods for text-to-image diffusion models.\n\n"
    "Start with `litmus bench smoke` (a minute), then `litmus bench quick`. "
    "To try a method on your own pictures: "
    "`litmus run --task folder:PICTURES --class-word dog --method lora`.",
)
app.add_typer(world, name="world")
app.add_typer(pocket, name="pocket")


# --- names for shell completion: cheap, so without torch ----------------------------------------------------------


def _protocol_names() -> list[str]:
    from bench.protocol.models import protocol_names

    return protocol_names()


def _task_names() -> list[str]:
    from bench.tasks import list_tasks

    return list_tasks()


PROTOCOL = Annotated[
    str, typer.Argument(autocompletion=_protocol_names, help="a protocol's name, or the path of a TOML file")
]
RESULTS = Annotated[
    Path | None, typer.Option("--results", help="the board's folder  [default: results/<protocol>]", show_default=False)
]
WORKERS = Annotated[
    int | None, typer.Option("--workers", "-j", min=1, help="processes side by side  [default: one per core]")
]
BASE = Annotated[
    str | None,
    typer.Option(
        help="another base than the protocol's: a folder or owner/name; its records lie in results/<protocol>-<base>",
        show_default=False,
    ),
]
RETRY = Annotated[bool, typer.Option("--retry-failed", help="run again what ended in error, oom, timeout or crashed")]


def _version(asked: bool) -> None:
    if asked:
        print(f"litmus {bench.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    pass


# --- running ------------------------------------------------------------------------------------------------------


def _ruled(name: str, base: str | None) -> Any:
    """The protocol called `name`, on `base` where one is given: then under a name of its own."""
    from bench.protocol.models import load_protocol
    from bench.runner import single

    rules = load_protocol(name)
    if base is not None:
        rules = single.on(rules, base)
    bases.surroundings(rules.base, None, False)
    return rules


def _planned(protocol: Any, folder: Path | None, workers: int | None, retry: bool) -> Any:
    from bench.runner import board

    if protocol.anova:
        raise LitmusError(f"{protocol.name} is a study: litmus anova {protocol.name} plans and runs it")
    if workers:
        limits = protocol.limits.model_copy(update={"workers": workers})
        protocol = protocol.model_copy(update={"limits": limits})
    planned = board.plan(protocol, folder, retry)
    for note in planned.notes:
        say(f"note: {note}")
    say(planned.headline())
    return planned


def _finish(failed: list[str]) -> None:
    """Exit code 1 with one line per failed run."""
    for line in failed[:20]:
        say(line)
    if len(failed) > 20:
        say(f"... and {len(failed) - 20} more")
    if failed:
        raise typer.Exit(1)


@app.command("bench")
def bench_(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS = None,
    workers: WORKERS = None,
    retry_failed: RETRY = False,
) -> None:
    """Run a protocol's missing runs, then write its tables, figures and page.

    Stop it at any time: `litmus bench quick` again goes on where it was.

    Examples: `litmus bench smoke` · `litmus bench quick -j 4` · `litmus bench my.toml --results /data/mine` ·
    `litmus bench real --base models/sdxl`
    """
    from bench.runner import board

    planned = _planned(_ruled(protocol, base), results, workers, retry_failed)
    records = board.run(planned, say)
    say(board.summary(planned, records))
    faults = _write_report(planned.folder, anew=bool(planned.todo))
    _finish(board.failures(records) + faults)


def _write_report(folder: Path, anew: bool = True) -> list[str]:
    """Print the leaderboards, write the files, say where they are; returns the lines about what could not be read.

    Without `anew` files are left as they are if they still say what the records say.
    """
    from rich.console import Console

    from bench import report

    report.terminal(folder, Console())
    written = (None if anew else report.kept(folder)) or report.write(folder)
    for path in written.paths:
        if path.suffix in (".md", ".csv", ".tex", ".html"):
            print(path)
    print(folder / "figures")
    return written.problems


@app.command()
def plan(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS = None,
    every: Annotated[bool, typer.Option("--every", help="list each run with its key")] = False,
) -> None:
    """Show what a protocol would run, and how much of it is done. Runs nothing.

    Example: `litmus plan quick --every`
    """
    from bench.runner import board
    from bench.runner.progress import cell

    planned = _planned(_ruled(protocol, base), results, None, False)
    if every:
        rows = [[key, planned.status(key), cell(run)] for key, run in planned.plan.items()]
        print_table(["key", "status", "run"], rows)
    else:
        print_table(["method", "lr", "objective", "tasks", "seeds", "runs", "done"], board.by_row(planned))


@app.command()
def run(
    task: Annotated[
        list[str], typer.Option(help="folder:PATH, or a task's name (litmus tasks)", autocompletion=_task_names)
    ],
    method: Annotated[
        list[str], typer.Option("--method", "-m", help="lora, lora[rank=8], ...", autocompletion=method_names)
    ],
    identifier: Annotated[str | None, typer.Option(help="the rare word that names the concept in captions")] = None,
    class_word: Annotated[str | None, typer.Option(help="what the pictures show: dog, mug, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="subject or style")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate  [default: each method's own]")] = None,
    steps: Annotated[int | None, typer.Option(help="training steps  [default: 120]")] = None,
    batch: Annotated[int | None, typer.Option(help="pictures per step  [default: 4]")] = None,
    seeds: Annotated[str, typer.Option(help="0 or 0,1,2 or 0-4")] = "0",
    objective: Annotated[str | None, typer.Option(help="plain or prior")] = None,
    base: Annotated[
        str | None, typer.Option(help="pocket, toy, a folder in diffusers' layout, or owner/name[@revision] of the hub")
    ] = None,
    extractors: Annotated[
        str | None,
        typer.Option(help="pocket, dino-clip, ... (litmus extractors)  [default: dino-clip for a base of diffusers]"),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds per run")] = None,
    workers: WORKERS = None,
    dtype: bases.DTYPE = None,
    resolution: bases.RESOLUTION = None,
    quantise: bases.QUANTISE = None,
    device: bases.DEVICE = None,
    offline: bases.OFFLINE = False,
    accumulate: bases.ACCUMULATE = None,
    checkpointing: bases.CHECKPOINTING = False,
    optimizer: bases.OPTIMIZER = None,
    min_snr: bases.MIN_SNR = None,
    ema: bases.EMA = None,
    compile: bases.COMPILE = False,
    sample_steps: bases.SAMPLE_STEPS = None,
    guidance: bases.GUIDANCE = None,
    out: Annotated[Path | None, typer.Option(help="where results go  [default: results/mine]")] = None,
    retry_failed: RETRY = False,
    save: Annotated[bool, typer.Option("--save", help="keep each adapter, for litmus export, merge and score")] = False,
) -> None:
    """Fine-tune on your own pictures and see scores and sample pictures.

    A folder needs one word for what it shows and a rare word that will stand for it.

    Examples:

    `litmus run --task folder:photos/rex --identifier sks --class-word dog --method lora`

    `litmus run --task folder:inks --kind style --identifier sks -m lora[rank=8] -m bias --seeds 0-2`

    `litmus run --task pocket/subject-mug -m lora --lr 0.002 --steps 300`

    `litmus run --base owner/name --task folder:rex --identifier sks --class-word dog -m lora --checkpointing`
    """
    from bench.core.paths import results
    from bench.runner import board, single

    bases.surroundings(base, device, offline)
    folder = out or results() / "mine"
    protocol = single.protocol(
        name=folder.name,
        tasks=[single.task_name(one, identifier, class_word, kind) for one in task],
        methods=method,
        seeds=seeds,
        lr=lr,
        objective=objective,
        base=base,
        extractors=extractors,
        steps=steps,
        batch=batch,
        timeout=timeout,
        workers=workers,
        dtype=dtype,
        resolution=resolution,
        quantise=quantise,
        sampling=bases.given(steps=sample_steps, guidance=guidance),
        training=bases.given(
            accumulate=accumulate,
            checkpointing=checkpointing or None,
            optimizer=optimizer,
            min_snr=min_snr,
            ema=ema,
            compile=compile or None,
        ),
    )
    if save:
        board.keep_adapters()
    planned = _planned(protocol, folder, workers, retry_failed)
    if save:
        planned = board.saving(planned)
    records = board.run(planned, say)
    print_table(*single.scores(records))
    say(f"sample pictures and records: {folder / 'runs'}   tables and page: litmus report {folder}")
    _finish(board.failures(records))


@app.command()
def sweep(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS = None,
    workers: WORKERS = None,
    retry_failed: RETRY = False,
) -> None:
    """Try learning rates of a protocol's [sweep] table on tuning tasks, and print the best of each method.

    The table lists rates (`[sweep.lrs]`), or methods whose rate is searched around their own (`around = [...]`).

    Example: `litmus sweep tuning`
    """
    from bench.runner import board

    rules = _ruled(protocol, base)
    if rules.sweep is None:
        raise LitmusError(f"{rules.name} has no [sweep] table: litmus bench {protocol} runs it")
    planned = _planned(rules, results, workers, retry_failed)
    records = board.run(planned, say)
    # A search goes on for as long as its records make the plan grow.
    while rules.sweep.around and (further := board.plan(planned.protocol, planned.folder)).plan != planned.plan:
        say(further.headline())
        records = board.run(planned := further, say)
    say(board.summary(planned, records))
    header, rows, rule = board.choices(list(records.values()))
    print_table(header, rows)
    print(f"rule: {rule}")
    _finish(board.failures(records, tolerated=("diverged",)))  # a rate that is too high is what a sweep looks for


@app.command()
def report(
    board: Annotated[str, typer.Argument(autocompletion=board_names, help="a board's name, or its folder")],
) -> None:
    """Write a board's tables, figures and page again, from its records only.

    Examples: `litmus report quick` · `litmus report results/mine`
    """
    folder = board_folder(board)
    if (folder / "design.json").is_file():  # a study of `litmus anova`
        anova.write_report(folder)
        return
    _finish(_write_report(folder))


commands.add_to(app)


def main() -> None:
    """The `litmus` command: a LitmusError is one line and exit code 2."""
    from bench.core.files import no_space

    try:
        app(prog_name="litmus")
    except LitmusError as error:
        say(f"error: {error}")
        sys.exit(2)
    except OSError as error:
        if not no_space(error) and not isinstance(error, PermissionError):
            raise
        say(f"error: {(error.strerror or str(error)).lower()}: {error.filename or 'while writing'}")
        sys.exit(2)


if __name__ == "__main__":
    main()
