"""`litmus world …` and `litmus pocket …`: draw the world, write its tasks, train and judge the pocket base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

world = typer.Typer(no_args_is_help=True, help="The procedural world that the pocket base and its tasks come from.")
pocket = typer.Typer(no_args_is_help=True, help="The pocket base: a small text-to-image model that trains on a CPU.")


@world.command("show")
def show(
    out: Annotated[Path, typer.Option(help="PNG file to write")] = Path("world.png"),
    seed: Annotated[int, typer.Option(help="another seed, other positions and lights")] = 0,
) -> None:
    """Draw a contact sheet: classes, colours, patterns, scenes, styles, subjects and the styles never seen."""
    from bench.world.show import write

    typer.echo(f"wrote {write(out, seed)}")


@world.command("tasks")
def tasks(
    out: Annotated[Path | None, typer.Option(help="folder to write; default: datasets/pocket")] = None,
    seed: Annotated[int, typer.Option(help="0 is the committed set; another seed gives other pictures")] = 0,
) -> None:
    """Write the 24 subject tasks and 12 style tasks as folders, with their data card and checksums."""
    from bench.core.paths import datasets
    from bench.world.tasks import write

    folder = out or datasets() / "pocket"
    typer.echo(f"wrote {len(write(folder, seed))} tasks below {folder}")


@pocket.command("train")
def train(
    work: Annotated[Path | None, typer.Option(help="where training keeps its state; default: results/.pocket")] = None,
    samples: Annotated[int, typer.Option(help="pictures that the denoiser sees")] = 140_000,
    vae_minutes: Annotated[float, typer.Option(help="minutes for the autoencoder")] = 30,
    decoder_minutes: Annotated[float, typer.Option(help="extra minutes for its decoder, at the end")] = 0,
    stage: Annotated[list[str] | None, typer.Option(help="only these stages, in order (repeat the option)")] = None,
    threads: Annotated[int | None, typer.Option(help="torch threads; default: torch's choice")] = None,
    seed: Annotated[int, typer.Option(help="seed of data and weights")] = 0,
    scale: Annotated[float, typer.Option(help="share of all pictures, steps and minutes; 0.002: does it run?")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="folder for the result; default: the package itself")] = None,
) -> None:
    """Train base and evaluators from nothing; stop it at any time and call it again to go on.

    Stages: vae, latents, denoiser, evaluators, decoder, export. About two to three hours of two cores in all.
    """
    from bench.core.paths import results
    from bench.pretraining.pretrain import STAGES, main

    folder = work or results() / ".pocket"
    stages = tuple(stage) if stage else STAGES
    main(folder, vae_minutes, samples, decoder_minutes, stages, seed, threads, scale, out)


@pocket.command("card")
def card(
    out: Annotated[Path | None, typer.Option(help="folder to write; default: docs of the clone")] = None,
    n: Annotated[int, typer.Option(help="captions to sample for")] = 512,
    seed: Annotated[int, typer.Option(help="seed of captions and noise")] = 0,
) -> None:
    """Measure base and evaluators against their bars and write docs/pocket-base.md with sample sheets."""
    from bench.core.paths import root
    from bench.pretraining.card import main

    if not main(out or root() / "docs", n, seed, typer.echo):
        raise typer.Exit(1)
