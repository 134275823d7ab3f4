"""`litmus run`: one's own tasks, any methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.commands import options
from bench.commands.outputs import output_folder
from bench.commands.shared import finish, method_names, planned_board, print_table, say, surroundings, task_names


def run(
    task: Annotated[
        list[str], typer.Option(help="folder:PATH, or a task's name (litmus tasks)", autocompletion=task_names)
    ],
    method: Annotated[
        list[str],
        typer.Option("--method", "-m", help="lora, lora[rank=8], lora[lr=0.002], ...", autocompletion=method_names),
    ],
    identifier: Annotated[
        str | None, typer.Option(help="the rare word that stands for the concept in captions")
    ] = None,
    class_word: Annotated[str | None, typer.Option(help="what the pictures show: dog, mug, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="subject or style")] = None,
    lr: Annotated[
        float | None, typer.Option(help="learning rate  [default: as tuned on this base, else each method's own]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="training steps  [default: 120]")] = None,
    batch: Annotated[int | None, typer.Option(help="pictures per step  [default: 4]")] = None,
    seeds: Annotated[str, typer.Option(help="0 or 0,1,2 or 0-4")] = "0",
    objective: Annotated[str | None, typer.Option(help="plain, prior[weight=0.5], ... (litmus objectives)")] = None,
    base: Annotated[
        str | None, typer.Option(help="pocket, toy, a folder in diffusers' layout, or owner/name[@revision] of the hub")
    ] = None,
    extractors: Annotated[
        str | None,
        typer.Option(help="pocket, dino-clip, ... (litmus extractors)  [default: dino-clip for a base of diffusers]"),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds per run")] = None,
    workers: options.WORKERS = None,
    dtype: options.DTYPE = None,
    resolution: options.RESOLUTION = None,
    quantise: options.QUANTISE = None,
    device: options.DEVICE = None,
    offline: options.OFFLINE = False,
    accumulate: options.ACCUMULATE = None,
    checkpointing: options.CHECKPOINTING = False,
    optimizer: options.OPTIMIZER = None,
    min_snr: options.MIN_SNR = None,
    ema: options.EMA = None,
    compile: options.COMPILE = False,
    sample_steps: options.SAMPLE_STEPS = None,
    guidance: options.GUIDANCE = None,
    out: Annotated[Path | None, output_folder("--out", help="where results go  [default: results/mine]")] = None,
    retry_failed: options.RETRY = False,
    save: Annotated[bool, typer.Option("--save", help="keep each adapter, for litmus export, merge and score")] = False,
) -> None:
    """Fine-tune on your pictures; see scores and samples.

    A folder needs one word for what it shows and a rare word that will stand for it. Learning rates are those that
    sweeps in results found on the same base; which they are, and what is untuned, is said.

    Examples:

    `litmus run --task folder:photos/rex --identifier sks --class-word dog --method lora`

    `litmus run --task folder:inks --kind style --identifier sks -m lora[rank=8] -m bias --seeds 0-2`

    `litmus run --task pocket/subject-mug -m lora --lr 0.002 --steps 300`

    `litmus run --base owner/name --task folder:rex --identifier sks --class-word dog -m lora --checkpointing`
    """
    from bench.core.paths import results
    from bench.runner import board, single

    surroundings(base, offline)
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
        sampling=options.given(steps=sample_steps, guidance=guidance),
        training=options.given(
            accumulate=accumulate,
            checkpointing=checkpointing or None,
            optimizer=optimizer,
            min_snr=min_snr,
            ema=ema,
            compile=compile or None,
        ),
    )
    planned = planned_board(protocol, folder, workers, retry_failed, device, save, tuned=True)
    planned = replace(planned, limit="--timeout")
    if save:
        planned = board.saving(planned)
    records = board.run(planned, say)
    print_table(*single.scores(records))
    say(f"sample pictures and records: {folder / 'runs'}   tables and page: litmus report {folder}")
    finish(board.failures(records) + planned.unread)
