"""`litmus extractors`: which evaluators there are, what they are made of, and whether they are the published ones."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bench.commands.options import DEVICE
from bench.commands.shared import print_table, say
from bench.core.errors import LitmusError

extractors = typer.Typer(invoke_without_command=True, help="List the evaluators; show one; check one.")


@extractors.callback()
def _listing(context: typer.Context) -> None:
    """List the evaluators by the names that protocols and `litmus run --extractors` use.

    Example: `litmus extractors`
    """
    if context.invoked_subcommand:
        return
    from bench.extractors import EXTRACTORS, extractors_names
    from bench.extractors.encoders import FAMILIES, SHORT

    rows = []
    for name in extractors_names():
        one = EXTRACTORS.make(name)
        roles = one.roles()
        rows.append([name, *(roles.get(role, "") for role in ("identity", "style", "image")), one.title])
    print_table(["extractors", "identity", "style", "image and text", "about"], rows)
    print("\nor your own: identity=ENCODER,style=ENCODER,image=ENCODER, where an encoder is")
    print(f"{', '.join(SHORT)}, or one of {', '.join(f'{family}:MODEL' for family in FAMILIES)}")


NAME = Annotated[str, typer.Argument(help="a suite's name, or roles and encoders")]


@extractors.command()
def show(name: NAME, device: DEVICE = None) -> None:
    """Load an evaluator and print its card.

    The card, which every record carries, has the checksums of weights and the preprocessing. Loading fetches weights
    that are not here yet, so this also prepares a machine for work without a network.

    Example: `litmus extractors show dino-clip`
    """
    from bench.extractors import load_extractors

    loaded = load_extractors(name, device or "")
    print(json.dumps({"name": loaded.name, "digest": loaded.digest, **loaded.card}, indent=1))


@extractors.command()
def check(name: NAME, device: DEVICE = None) -> None:
    """Check an evaluator against published values.

    The values are those of real pictures compared with each other in DreamBooth's table: DINO 0.774, CLIP-I 0.885.
    Exit code 1 when it differs by more than 0.01. What comes out is remembered, and every record made with this
    evaluator carries it. The pictures come from `litmus fetch dreambooth`.

    Example: `litmus extractors check dino-clip`
    """
    from bench.extractors import acceptance, extractors_source, load_extractors

    if not extractors_source(name).published:
        raise LitmusError(f"{name} has no published values: docs/pocket-base.md says how good it is")
    groups, doubts = acceptance.pictures()
    loaded = load_extractors(name, device or "")
    verdicts = acceptance.check(loaded, groups)
    acceptance.keep(loaded.digest, verdicts, doubts)
    for verdict in verdicts:
        print(verdict.line)
    for doubt in doubts:
        say(f"note: {doubt}; the published values are of the 30 subjects' original pictures")
    if any(verdict.same is False for verdict in verdicts):
        say("reported as different: its scores do not compare with papers'")
        raise typer.Exit(1)
