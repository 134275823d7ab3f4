"""`litmus objectives`, `check-objective`: what training may minimise, and whether an objective of one's own holds."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_results, print_table


def add_to(app: typer.Typer) -> None:
    """Put these commands into `app`."""
    app.command("objectives")(objectives)
    app.command("check-objective")(check_objective)


def objective_names() -> list[str]:
    """For the shell's completion: the registry needs no torch."""
    from bench.objectives import OBJECTIVES

    OBJECTIVES.load()
    return sorted(OBJECTIVES)


def objectives(
    name: Annotated[str | None, typer.Argument(autocompletion=objective_names, help="one objective")] = None,
) -> None:
    """List the objectives, or one objective's card: what it minimises, what it needs, its hyperparameters.

    Examples: `litmus objectives` · `litmus objectives prior`
    """
    from bench.objectives import OBJECTIVES

    OBJECTIVES.load()
    if name is None:
        rows = [[key, cls.formula, cls().needs.said(), cls.paper] for key, cls in sorted(OBJECTIVES.items())]
        print_table(["objective", "formula", "needs", "paper"], rows)
        return
    cls = OBJECTIVES.find(name)
    one = cls()
    first = (cls.__doc__ or "").strip().partition("\n")[0]
    print(f"{name}: {first}\n{cls.paper}")
    if cls.formula:
        print(cls.formula)
    print(f"needs: {one.needs.said()}")
    if one.needs.prompts:
        print(f"memory pictures of: {'; '.join(one.needs.prompts)}")
    if values := one.hyper():
        print()
        print_table(["hyperparameter", "default"], [[key, str(value)] for key, value in values.items()])


def check_objective(
    file: Annotated[str, typer.Argument(help="a Python file with a registered objective, or an objective's spec")],
) -> None:
    """Examine your own objective: the same checks that every objective of Litmus must pass.

    Examples: `litmus check-objective my_objective.py` · `litmus check-objective "prior[weight=0.5]"`
    """
    from bench.checks.objectives import check_file, examine
    from bench.objectives import OBJECTIVES

    OBJECTIVES.load()
    named = file.partition("[")[0].strip() in OBJECTIVES
    print_results(examine(OBJECTIVES.read(file)) if named else check_file(file), "objective")
