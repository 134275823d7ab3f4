"""The command line, `litmus`: collects the commands of bench.commands and turns errors into one line."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

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
from bench.commands.shared import say  # noqa: E402
from bench.core.errors import LitmusError  # noqa: E402

app = typer.Typer(
    cls=commands.InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    help="Litmus: compare parameter-efficient fine-tuning methods for text-to-image diffusion models.\n\n"
    "Start with `litmus bench smoke` (a minute), then `litmus bench quick`. "
    "To try a method on your own pictures: "
    "`litmus run --task folder:PICTURES --class-word dog --method lora`.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"litmus {bench.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Before any command."""
    from bench.core.paths import made_home

    if line := made_home():
        say(line)


commands.add_to(app)


UNWRITABLE = (PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def main() -> None:
    """The `litmus` command: a LitmusError is one line and exit code 2."""
    from bench.core.files import no_space

    try:
        app(prog_name="litmus")
    except LitmusError as error:
        say(f"error: {error}")
        sys.exit(2)
    except OSError as error:
        if not no_space(error) and not isinstance(error, UNWRITABLE) and error.errno != errno.EROFS:
            raise
        say(f"error: {(error.strerror or str(error)).lower()}: {error.filename or 'while writing'}")
        sys.exit(2)


if __name__ == "__main__":
    main()
