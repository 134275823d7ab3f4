"""`litmus pocket …`: train and judge the pocket base and its evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_folder

pocket = typer.Typer(no_args_is_help=True, help="The pocket base, a text-to-image model trained on a CPU.")


@pocket.command("train")
def train(
    work: Annotated[
        Path | None, output_folder("--work", help="where training keeps its state  [default: results/.pocket]")
    ] = None,
    samples: Annotated[int, typer.Option(help="pictures that the denoiser sees")] = 140_000,
    vae_minutes: Annotated[float, typer.Option(help="minutes for the autoencoder")] = 30,
    decoder_minutes: Annotated[float, typer.Option(help="extra minutes for its decoder, at the end")] = 0,
    stage: Annotated[list[str] | None, typer.Option(help="only these stages, in order (repeat the option)")] = None,
    threads: Annotated[int | None, typer.Option(help="torch threads  [default: torch's choice]")] = None,
    seed: Annotated[int, typer.Option(help="seed of data and weights")] = 0,
    scale: Annotated[float, typer.Option(help="share of all pictures, steps and minutes; 0.002: does it run?")] = 1.0,
    out: Annotated[
        Path | None, output_folder("--out", help="folder for the result  [default: the package itself]")
    ] = None,
) -> None:
    """Train base and evaluators from scratch.

    Stop it at any time: the same command resumes it. Stages: vae, latents, denoiser, evaluators, decoder,
    export. About two to three hours of two cores in all.
    """
    from bench.core.paths import results
    from bench.pretraining.pretrain import STAGES, main

    folder = work or results() / ".pocket"
    stages = tuple(stage) if stage else STAGES
    main(folder, vae_minutes, samples, decoder_minutes, stages, seed, threads, scale, out)


@pocket.command("card")
def card(
    out: Annotated[Path | None, output_folder("--out", help="folder to write  [default: docs of the clone]")] = None,
    n: Annotated[int, typer.Option(help="captions to sample for")] = 512,
    seed: Annotated[int, typer.Option(help="seed of captions and noise")] = 0,
) -> None:
    """Measure base and evaluators and write their card.

    The card is docs/pocket-base.md with its sample sheets; exit code 1 where one misses its target.
    """
    from bench.core.paths import root
    from bench.pretraining.card import main

    if not main(out or root() / "docs", n, seed, typer.echo):
        raise typer.Exit(1)
