"""The commands of `litmus`, one file per command: `check_method.py` defines `check_method`, `litmus check-method`.

A command is a function with the name of its file, or a `typer.Typer` where it has subcommands. To add one, write the
file and put its name into `PANELS`. `options.py` has the options that several commands share, `shared.py` the helpers.
"""

from __future__ import annotations

from importlib import import_module

import typer
from typer.core import TyperGroup

# In the order of the help, which shows each topic in a panel of its own.
PANELS = {
    "Run boards": ("bench", "plan", "run", "sweep", "report", "plot", "rescore", "anova"),
    "Look": ("methods", "objectives", "tasks", "bases", "metrics", "protocols", "extractors"),
    "Real bases and costs": ("fetch", "params", "budgets", "fit", "cost"),
    "Adapters": ("adapter", "export", "merge", "score"),
    "Extend": ("check-method", "check-metric", "check-objective", "check-task", "check-base", "check-extractors"),
    "The world": ("world", "pocket"),
}


class InOrder(TyperGroup):
    """Lists its commands as `PANELS` does; typer by itself puts commands before groups."""

    def list_commands(self, ctx) -> list[str]:
        return [name for names in PANELS.values() for name in names]


def add_to(app: typer.Typer) -> None:
    """Put every command into `app`, whose class is `InOrder`."""
    for panel, names in PANELS.items():
        for name in names:
            file = name.replace("-", "_")
            command = getattr(import_module(f"bench.commands.{file}"), file)
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(command)
