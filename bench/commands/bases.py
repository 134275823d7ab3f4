"""`litmus bases`: which bases there are, and what one is."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.shared import print_table

COLUMNS = ("resolution", "denoiser", "licence", "digest")


def bases(
    name: Annotated[
        str | None, typer.Argument(help="one base: a name, a folder in diffusers' layout, or owner/name of the hub")
    ] = None,
) -> None:
    """List the bases, or show one with its facts.

    A pipeline from the hub is downloaded if it is not there yet; no network is loaded.

    Examples: `litmus bases` · `litmus bases models/sdxl` · `litmus bases owner/name`
    """
    from bench.bases import BASES, base_names, source_of
    from bench.network.family import FAMILIES

    if name is not None:
        source = source_of(name)
        card = {"title": type(source).title, **source.card()}
        rows = [["name", source.spec], *([key, value] for key, value in card.items() if value)]
        rows += [["scored with", source.extractors], ["vocabulary", "open" if source.open_words else "its own words"]]
        print_table(["", ""], rows)
        return
    rows = []
    for one in base_names():
        card = source_of(one).card()
        rows.append([one, BASES[one].title, *(card.get(key, "")[:40] for key in COLUMNS)])
    print_table(["base", "what it is", *COLUMNS], rows)
    print("\nor a pipeline of diffusers: FOLDER, or owner/name[@revision] of the Hugging Face hub. Known families:")
    print_table(
        ["family", "pipelines", "published models"],
        [
            [one.title, ", ".join(one.pipelines), ", ".join(model.title for model in one.models.values())]
            for one in FAMILIES.known()
        ],
    )
