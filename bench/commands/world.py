"""`litmus world …`: draw the procedural world, write its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.outputs import output_file, output_folder

world = typer.Typer(no_args_is_help=True, help="The procedural world of the pocket base and its tasks.")


@world.command("show")
def show(
    out: Annotated[Path, output_file("--out", help="PNG file to write", endings=(".png",))] = Path("world.png"),
    seed: Annotated[int, typer.Option(help="another seed, other positions and lights")] = 0,
) -> None:
    """Draw a contact sheet of the world.

    Classes, colours, patterns, scenes, styles, the subjects and the held-out styles.
    """
    from bench.world.show import write

    typer.echo(f"wrote {write(out, seed)}")


@world.command("tasks")
def tasks(
    out: Annotated[Path | None, output_folder("--out", help="folder to write  [default: datasets/pocket]")] = None,
    seed: Annotated[int, typer.Option(help="0 is the committed set; another seed gives other pictures")] = 0,
) -> None:
    """Write the 24 subject tasks and 12 style tasks as folders.

    Their data card and checksums are written too.
    """
    from bench.core.paths import datasets
    from bench.world.tasks import write

    folder = out or datasets() / "pocket"
    typer.echo(f"wrote {len(write(folder, seed))} tasks below {folder}")
