"""The report of a study of adapters: ANOVA.md, its figures and winner.json, from records alone; imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.core import style
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.report import anova_figure as draw
from bench.report import anova_words as words
from bench.report import sheet
from bench.report.value import number
from bench.study.anova_answer import RULE, Answer, answer, winner
from bench.study.anova_frame import Grid, read

COLUMNS = ("headline", "concept_norm", "concept")  # the first that varies is what the page is about
PAGE, WINNER = "ANOVA.md", "winner.json"
TYPE_3 = (
    "input × output is left out, since not all pairs are legal; a term without F cannot be told apart from the others "
    "in this coding"
)
CAPTIONS = {
    "heat": "Inputs down, outputs across, as in the paper's figure. Boxed: the best; star: the published pair.",
    "effects": "What each factor does: F alone as in the paper, F in the factorial model, share of variance.",
    "main": "Least-squares means of each factor's levels.",
    "interactions": "Does one factor's effect hang on another?",
    "residuals": "Residuals of the factorial model.",
    "probe": "How far the identifier moves tensors and predictions, and whether that tells the score.",
}


Tell = Callable[[str, int, int], None]  # tell(what is done now, how many of these parts are done, of how many)


def write(board: Path, tell: Tell = lambda doing, done, of: None) -> list[Path]:
    """Write the report of the study in `board`; returns the paths. LitmusError where there is nothing to report.

    It takes half a minute: `tell` is called before each part of the work.
    """

    def each(items: Sequence[str], doing: str) -> Iterator[str]:
        for done, item in enumerate(items):
            tell(doing, done, len(items))
            yield item

    tell("reading the records", 0, 1)
    grid = read(board)
    tell("looking for a score that varies", 0, 1)
    column = next((c for c in COLUMNS if answer(grid, c, light=True)), COLUMNS[0])
    found = [
        a
        for kind in each(("all", "subject", "style"), f"analysing {column}, all tasks and by kind of task")
        if (a := answer(grid, column, kind)) and "pair" in a.means
    ]
    if not found:
        raise LitmusError(f"{board}: too few finished cells for an analysis: run litmus anova longer")
    if len(found) == 2:  # one kind only: `all` is the same
        found = found[:1]
    main = found[0]
    scores = {
        c: a
        for c in each(grid.responses, "analysing every score")
        if (a := answer(grid, c, light=True)) and "pair" in a.means
    }
    draws = {
        "heat": lambda: draw.heat(found),
        "effects": lambda: draw.effects(main),
        "main": lambda: draw.main_effects(main),
        "interactions": lambda: draw.interactions(main),
        "residuals": lambda: draw.residuals(main),
        "probe": lambda: draw.probe(grid.probe, _probed(grid, found)),
    }
    drawn = {name: draws[name]() for name in each(tuple(draws), "drawing the figures")}
    files = {PAGE: page(grid, found, scores, [name for name, fig in drawn.items() if fig]).encode()}
    for name in each(tuple(drawn), "writing the figures"):
        if fig := drawn[name]:
            files[f"figures/anova-{name}.png"] = style.render(fig, "png")
            files[f"figures/anova-{name}.svg"] = style.render(fig, "svg")
    files[WINNER] = json.dumps(winner(grid, main), indent=1, ensure_ascii=False).encode() + b"\n"
    for name, data in files.items():
        write_bytes(board / name, data)
    return [board / name for name in files]


def page(grid: Grid, found: list[Answer], scores: dict[str, Answer], figures: list[str]) -> str:
    """The whole ANOVA.md."""
    main = found[0]
    title = sheet.markdown_text(grid.design["name"])
    parts = [f"# {title}: which way should an adapter go?\n", words.facts(grid) + "\n"]
    notes = [sheet.markdown_text(w) for w in grid.warnings] + _refused(grid)
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes) + "\n")
    parts += _figure("heat", figures)
    parts += ["## Does the input position decide here too?\n", words.decides(main) + "\n", *_figure("effects", figures)]
    parts += ["## Which pair is best?\n", words.best(main) + "\n"]
    parts += [f"**{words.KINDS[a.kind]}.** {words.best(a)}\n" for a in found[1:]]
    parts.append(_settings(grid, main))
    parts += [
        "## Against the published map, and why\n",
        words.against_paper(found) + "\n",
        words.why(grid, _probed(grid, found)) + "\n",
    ]
    parts += _figure("probe", figures)
    parts += _sheets(grid, found, scores, figures)
    return "\n".join(parts)


def _probed(grid: Grid, found: list[Answer]) -> Answer:
    """The answer for tasks of the kind that was probed, else that for all."""
    kinds = grid.frame.loc[grid.frame["task"] == grid.probe.get("task"), "kind"].unique()
    return next((a for a in found if a.kind in kinds), found[0])


def _sheets(grid: Grid, found: list[Answer], scores: dict[str, Answer], figures: list[str]) -> list[str]:
    main = found[0]
    parts = ["# Tables\n"]
    for a in found:
        kind = words.KINDS[a.kind]
        left = f"left out, for want of cells: {', '.join(map(draw.word, a.dropped))}" if a.dropped else ""
        notes = [note for note in (left, "a term without F cannot be told apart from the others") if note]
        parts.append(sheet.markdown(words.effect_sheet(f"Factorial model, type II ({kind})", a.second, *notes)))
    parts += [
        sheet.markdown(words.effect_sheet("Type III, without input × output", main.third, TYPE_3)),
        sheet.markdown(words.effect_sheet("One factor at a time, as in the paper", main.paper)),
        sheet.markdown(words.check_sheet(main)),
        *_figure("residuals", figures),
    ]
    parts += [sheet.markdown(words.pair_sheet(a)) for a in found]
    parts += [sheet.markdown(words.level_sheet(main)), *_figure("main", figures), *_figure("interactions", figures)]
    parts.append(_mixed(main))
    parts.append(sheet.markdown(words.score_sheet(scores)))
    if aliases := words.alias_sheet(grid):
        parts.append(sheet.markdown(aliases))
    return parts


def _figure(name: str, figures: list[str]) -> list[str]:
    return [f"![{CAPTIONS[name]}](figures/anova-{name}.png)\n\n{CAPTIONS[name]}\n"] if name in figures else []


def _refused(grid: Grid) -> list[str]:
    """What a base has no place for, and the sizes that the pairs came to."""
    out = []
    for base, found in grid.design["refused"].items():
        out += [sheet.markdown_text(f"{base}: left out {name}: {why}") for name, why in found.items()]
    for base, ways in grid.design["sizes"].items():
        counts = [w["scalars"] for w in ways if w["size"] == ways[0]["size"]]
        rule = grid.design["factors"]["sizes"]
        spread = f"{min(counts):,} to {max(counts):,}" if len(set(counts)) > 1 else f"{counts[0]:,}"
        out.append(f"{base}: sizes {rule}: {spread} trained scalars at width {ways[0]['size']}")
    return out


def _settings(grid: Grid, main: Answer) -> str:
    """The default that follows from it, whole."""
    table = winner(grid, main)
    hyper = ", ".join(f"{key} {draw.level(value)}" for key, value in table["hyper"].items())
    whole = "" if table["cells"] == table["of"] else f" It rests on {table['cells']} of {table['of']} planned cells."
    return f"**The default that follows:** {hyper}. Rule: {RULE}.{whole}\n"


def _mixed(a: Answer) -> str:
    """Would it hold for other tasks? Shares of variance and F against the tasks."""
    m, lines = a.mixed, ["## Would it hold for other tasks?\n"]
    if m.parts:
        total = sum(m.parts.values())
        told = ", ".join(f"{name} {number(100 * v / total, 1)} %" for name, v in m.parts.items())
        lines.append(f"Mixed model with random tasks, shares of the variance that positions and forms leave: {told}.\n")
    lines += [f"- {sheet.markdown_text(note)}" for note in m.notes]
    known = [e for e in m.against if e.df and math.isfinite(e.f)]
    if known:
        note = "the error is the factor's product with tasks: a hard test where tasks are few"
        lines.append("\n" + sheet.markdown(words.effect_sheet("F against the tasks", known, note), 3))
    return "\n".join(lines)


def published(board: Path) -> dict[str, Any]:
    """The winner as the report left it; LitmusError where there is none."""
    try:
        return json.loads((board / WINNER).read_text(encoding="utf-8"))
    except OSError:
        raise LitmusError(f"{board} has no {WINNER}: litmus anova --report writes it") from None
