"""`litmus objectives`: what training may minimise."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table


def objective_names() -> list[str]:
    """For the shell's completion: the registry needs no torch."""
    from bench.objectives import OBJECTIVES

    OBJECTIVES.load()
    return sorted(OBJECTIVES)


def objectives(
    name: Annotated[str | None, typer.Argument(autocompletion=objective_names, help="one objective")] = None,
) -> None:
    """List the objectives, or show one.

    A card says what is minimised, what is needed beside the batch, and the hyperparameters.

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
