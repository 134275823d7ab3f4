"""`litmus score`: the scores of an adapter that somebody else trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ADAPTER_BASE, ANY_BASE, DEVICE, OFFLINE
from bench.commands.outputs import output_folder
from bench.commands.shared import adapted, base_of, print_table, say


def score(
    lora: Annotated[
        Path, typer.Option("--lora", help="the adapter: any file or folder that `litmus adapter` reads", metavar="FILE")
    ],
    task: Annotated[str, typer.Option(help="folder:PATH, or a task's name (litmus tasks)")],
    base: ADAPTER_BASE = None,
    identifier: Annotated[
        str | None, typer.Option(help="a folder's: the identifier, which is the adapter's trigger word")
    ] = None,
    class_word: Annotated[str | None, typer.Option(help="a folder's: what the pictures show: dog, mug, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="a folder's: subject or style")] = None,
    seeds: Annotated[str, typer.Option(help="0 or 0,1,2 or 0-4")] = "0",
    steps: Annotated[int, typer.Option(min=1, help="sampling steps")] = 20,
    guidance: Annotated[float, typer.Option(min=0.0, help="guidance scale, 1 for none")] = 4.0,
    device: DEVICE = None,
    offline: OFFLINE = False,
    extractors: Annotated[str, typer.Option(help="the evaluators that score")] = "pocket",
    out: Annotated[
        Path | None, output_folder("--out", help="where scores and pictures go  [default: results/scored/NAME]")
    ] = None,
    any_base: ANY_BASE = False,
) -> None:
    """Score an adapter that was trained elsewhere.

    It is scored as a board scores its rows, beside the frozen base and truth. The prompts are the task's, so its
    identifier must be the word that the adapter was trained with.

    Examples:

    `litmus score --lora downloads/rex.safetensors --base pocket --task folder:photos/rex --identifier sks
    --class-word dog`

    `litmus score --lora results/mine/runs/0123456789abcdef.json --task pocket/subject-mug --seeds 0-2`
    """
    from bench import tasks
    from bench.core.paths import results
    from bench.extractors import load_extractors
    from bench.interop import scoring
    from bench.protocol.models import Sample
    from bench.runner import single

    base = base_of(lora, base, offline)
    given = tasks.load(single.task_name(task, identifier, class_word, kind))
    tuned = adapted(lora, base, any_base, device)
    folder = out or results() / "scored" / f"{tuned.file.stem}-{given.name.replace('/', '-')}"
    sampling = Sample(steps=steps, guidance=guidance)
    scored = scoring.score(
        tuned, given, load_extractors(extractors, device or ""), sampling, single.numbers(seeds), folder, say
    )
    print_table(*scored.table())
    for note in scored.notes:
        say(f"note: {note}")
    for path in scored.files:
        print(path)
