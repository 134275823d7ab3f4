"""A study in words: what decides, who wins, where it agrees with the paper; each sentence made from its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.records.record import MACHINE
from bench.report.anova_figure import WORDS, level, word
from bench.report.sheet import Cell, Head, Sheet
from bench.report.value import number
from bench.study.anova import Effect, Means
from bench.study.anova_answer import Answer, agreement, disagreements
from bench.study.anova_frame import ARROW, NORMS, Grid
from bench.study.anova_paper import PUBLISHED
from bench.study.frame import worst_is_low

KINDS = {"all": "all tasks", "subject": "subjects", "style": "styles"}
PAIR = ARROW.join(PUBLISHED)


def p_text(p: float) -> str:
    if not math.isfinite(p):
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {number(p, 3)}"


def _p(p: float) -> str:
    """p in a table's cell."""
    return p_text(p).removeprefix("p ").removeprefix("= ")


def f_text(e: Effect) -> str:
    return f"F({e.df}, {e.df_error}) = {number(e.f, 2)}, {p_text(e.p)}, partial η² = {number(e.eta, 2)}"


def facts(grid: Grid) -> str:
    """What was run, and what it took."""
    design, frame = grid.design, grid.frame
    done, planned = len(frame), len(design["cells"])
    n, of = design["replicates"]
    seconds = float(frame["seconds_total"].sum())
    workers = max((r.provenance.machine.workers for r in grid.records if r.key in design["cells"]), default=1)
    lost = int(frame["status"].isin(MACHINE).sum())
    failed = int(frame["failed"].sum()) - lost
    text = (
        f"Study `{design['study']}`: {done} of {planned} planned cells ({n} of {of} replicates; the whole grid has "
        f"{design['grid']}), {frame['pair'].nunique()} pairs, tasks "
        f"{', '.join(dict.fromkeys(t.rpartition('/')[2] for t in frame['task']))}, seeds "
        f"{', '.join(map(str, sorted(set(frame['seed']))))}. The cells took {seconds / 3600:.1f} h of worker time, "
        f"{seconds / 3600 / workers:.1f} h with {workers} side by side."
    )
    text += f" {failed} runs failed and count as headline 0." if failed else ""
    return text + (f" {lost} runs were ended by the machine and have no score." if lost else "")


def decides(a: Answer) -> str:
    """Does the input position decide here too?"""
    own = {e.term: e for e in a.paper}
    lines = []
    if {"source", "target"} <= set(own):
        lines.append(
            "One factor at a time over all cells, as the paper did: input position "
            f"{f_text(own['source'])}; output position {f_text(own['target'])}."
        )
    there = {e.term: e for e in a.map_}
    if there:
        lines.append(
            f"Over the {len(a.heat)} means of the heat map: input F = {number(there['source'].f, 2)} "
            f"({p_text(there['source'].p)}), output F = {number(there['target'].f, 2)} ({p_text(there['target'].p)}); "
            "the published map gives 11.91 (p < 0.001) and 0.77 (p = 0.604)."
        )
    main = [e for e in a.second if e.df and ":" not in e.term and e.term != "block" and math.isfinite(e.f)]
    if main:
        first = max(main, key=lambda e: e.eta)
        if first.p >= 0.05:
            verdict = f"Nothing decides: no factor reaches p < 0.05; {the(first.term)} takes most of it"
        else:
            yes = "Yes" if first.term == "source" else "No"
            verdict = f"{yes}: {the(first.term)} takes the largest share"
        rest = "; ".join(f"{the(e.term)}: {f_text(e)}" for e in main if e is not first)
        lines.append(
            f"{verdict}, with blocks apart and all factors in one model ({f_text(first)})."
            + (f" The others: {rest}." if rest else "")
        )
        both = a.get("source:target")
        if both and both.df:
            sure = "adds" if both.p < 0.05 else "adds nothing sure"
            lines.append(f"The pair {sure} beyond the sum of its two positions ({f_text(both)}).")
        mixed = [e for e in a.second if ":" in e.term and e.term != "source:target" and e.df and e.p < 0.05]
        told = ", ".join(f"{word(e.term)} ({f_text(e)})" for e in mixed)
        lines.append(f"Other interactions below p = 0.05: {told}." if mixed else "No other interaction has p < 0.05.")
    return "\n\n".join(lines)


def the(term: str) -> str:
    return "the " + word(term)


def best(a: Answer) -> str:
    """Who wins, and where the published pair stands."""
    order, tied = a.order(), a.tied()
    found = a.means["pair"]
    half = dict(zip([lv[0] for lv in found.levels], found.half(), strict=True))
    top = order[0]
    if not found.df:
        place = (
            f" The published pair {PAIR} has place {order.index(PAIR) + 1} of {len(order)}." if PAIR in order else ""
        )
        return (
            f"The highest {a.column} has **{top}** ({number(found.value(top), 3)}).{place} Each pair was run once, so "
            "no two of them can be told apart by a test: `litmus anova` repeats them."
        )
    text = [
        f"The highest mean {a.column} has **{top}** ({number(found.value(top), 3)} ± {number(float(half[top]), 3)}); "
        + (
            f"Tukey's test at 5 % cannot tell from it: {', '.join(tied[1:])}."
            if len(tied) > 1
            else "Tukey's test at 5 % tells all others from it."
        )
    ]
    if PAIR not in order:
        text.append(f"The published pair {PAIR} is not in this study.")
    elif top == PAIR:
        text.append(f"The published pair {PAIR} is the best here too.")
    else:
        gap = found.value(top) - found.value(PAIR)
        tie = "tied with the best" if PAIR in tied else "worse than the best"
        text.append(
            f"The published pair {PAIR} has place {order.index(PAIR) + 1} of {len(order)} with "
            f"{number(found.value(PAIR), 3)}, {number(gap, 3)} below the best (Tukey's {p_text(a.apart(top, PAIR))}): "
            f"it is {tie}."
        )
    return "\n\n".join(text)


def against_paper(answers: Sequence[Answer]) -> str:
    """How far the heat maps agree with the published one, and the pairs that differ most."""
    lines = []
    for a in answers:
        rho, p, n = agreement(a.heat)
        if math.isfinite(rho):
            lines.append(
                f"- {KINDS[a.kind]}: Spearman's ρ = {number(rho, 2)} ({p_text(p)}) with the published map, {n} pairs"
            )
    far = disagreements(answers[0].heat)
    if far:
        told = "; ".join(f"{ARROW.join(pair)} has place {ours} here, {theirs} there" for pair, ours, theirs in far[:6])
        lines.append(f"\nWidest apart ({KINDS[answers[0].kind]}): {told}.")
    return "\n".join(lines) or "Too few pairs in common with the published map."


def why(grid: Grid, a: Answer) -> str:
    """What the probe says about it."""
    table = grid.probe
    moves = {(c["source"], c["target"]): c["move"] for c in table.get("tuned", {}).values() if c["move"] is not None}
    if len(moves) < 4:
        return "The probe was not run (`litmus anova --probe`), so this page gives no reason for what it found."
    from scipy.stats import spearmanr

    both = [pair for pair in moves if math.isfinite(a.heat.get(pair, math.nan))]
    found: Any = spearmanr([moves[p] for p in both], [a.heat[p] for p in both])
    order = sorted(moves, key=lambda p: -moves[p])
    task = table["task"].rpartition("/")[2]
    lines = [
        "The paper explains its finding by how far the predicted noise moves between the prompts with and without the "
        f"identifier. Measured here on {table['pictures']} noised pictures of the plain class ({task}, seed "
        f"{table['seed']}), after tuning each pair: from {number(100 * moves[order[-1]], 1)} % "
        f"({ARROW.join(order[-1])}) to {number(100 * moves[order[0]], 1)} % ({ARROW.join(order[0])}); the frozen base "
        f"moves by {number(100 * table['untuned'], 1)} %. Over {len(both)} pairs the move and the mean {a.column} "
        f"({KINDS[a.kind]}) have ρ = {number(float(found.statistic), 2)} ({p_text(float(found.pvalue))})."
    ]
    still = table["frozen"]
    ranked = sorted(still, key=lambda p: -still[p])
    lines.append(
        "In the frozen base the identifier moves the tensors at these positions most: "
        + ", ".join(f"{p} {number(100 * still[p], 1)} %" for p in ranked[:4])
        + "; least: "
        + ", ".join(f"{p} {number(100 * still[p], 1)} %" for p in ranked[-2:])
        + "."
    )
    return "\n\n".join(lines)


# --- sheets -------------------------------------------------------------------------------------------------------


def _heads(first: str, *rest: str) -> list[Head]:
    return [Head(first, number=False), *(Head(name) for name in rest)]


def _line(e: Effect) -> list[Cell]:
    if not e.df or not math.isfinite(e.f):
        return [Cell(word(e.term)), Cell(str(e.df)), *[Cell("–")] * 6]
    interval = f"{number(e.low, 2)} to {number(e.high, 2)}"
    texts = [str(e.df), str(e.df_error), number(e.f, 2), _p(e.p)]
    return [Cell(word(e.term)), *map(Cell, [*texts, number(e.eta, 3), interval, number(e.omega, 3)])]


def effect_sheet(title: str, found: Sequence[Effect], *notes: str) -> Sheet:
    heads = _heads("term", "df", "df of the error", "F", "p", "partial η²", "95 % interval", "partial ω²")
    return Sheet(title, heads, [_line(e) for e in found], notes=list(notes))


def pair_sheet(a: Answer) -> Sheet:
    """Least-squares means of the pairs, best first, with the letters of Tukey's groups."""
    m, half = a.means["pair"], a.means["pair"].half()
    rows = [
        [
            Cell(m.levels[i][0]),
            Cell(number(float(m.values[i]), 3)),
            Cell(number(float(half[i]), 3)),
            Cell(a.ties.get(m.levels[i][0], "")),
        ]
        for i in m.order()
    ]
    note = "pairs that share a letter cannot be told apart (Tukey, 5 % for all pairs at once)"
    return Sheet(f"Pairs: mean {a.column} ({KINDS[a.kind]})", _heads("pair", "mean", "±", "ties"), rows, notes=[note])


def level_sheet(a: Answer) -> Sheet:
    rows = []
    for factor, m in a.means.items():
        if ":" not in factor and factor != "pair":
            rows += _levels(WORDS.get(factor, factor), m)
    return Sheet("Levels: least-squares means", _heads("factor", "level", "mean", "±"), rows)


def _levels(name: str, m: Means) -> list[list[Cell]]:
    half = m.half()
    return [
        [Cell(name), Cell(level(m.levels[i][0])), Cell(number(float(m.values[i]), 3)), Cell(number(float(half[i]), 3))]
        for i in m.order()
    ]


def check_sheet(a: Answer) -> Sheet:
    rows = [
        [Cell(WORDS.get(c.term, c.term)), *(Cell(_p(x)) for x in (c.levene, c.kruskal, c.permutation))]
        for c in a.checks
    ]
    notes = [
        f"residuals of the factorial model: Shapiro and Wilk's p = {number(a.normal, 3)}; mean square "
        f"{number(a.rest[1], 4)} with {a.rest[0]} degrees of freedom",
        "Levene: p below 0.05 says that levels differ in spread, and the p of F is then only rough; Kruskal and "
        "Wallis, and the permutations (within blocks), need neither equal spread nor a normal law",
    ]
    return Sheet(
        "What the F tests lean on (p values)",
        _heads("factor", "Levene", "Kruskal–Wallis", "permutation"),
        rows,
        notes=notes,
    )


def score_sheet(answers: Mapping[str, Answer]) -> Sheet:
    """F and partial eta squared of each factor for every other response."""
    terms = list(dict.fromkeys(e.term for a in answers.values() for e in a.second if ":" not in e.term))
    rows = []
    for column, a in answers.items():
        own = {e.term: e for e in a.second}
        shown = [own.get(t) for t in terms]
        texts = [
            f"{number(e.f, 1)} ({number(e.eta, 2)}){'*' if e.p < 0.05 else ''}" if e and e.df else "–" for e in shown
        ]
        rows.append([Cell(column), Cell(_best(a)), *map(Cell, texts)])
    note = "F (partial η²), type II with blocks apart; *: p < 0.05, not adjusted for the number of scores"
    return Sheet("Every score", _heads("score", "best pair", *(word(t) for t in terms)), rows, notes=[note])


def _best(a: Answer) -> str:
    """The pair at the good end of a score, "–" for a score that has none."""
    low = True if a.column in NORMS else worst_is_low(a.column)
    return "–" if low is None else a.order()[0 if low else -1]


def alias_sheet(grid: Grid, least: float = 0.05) -> Sheet | None:
    """What the fraction leaves mixed up, as design.json says."""
    rows = []
    for term, shares in grid.design.get("aliases", {}).items():
        told = [f"{word(o)} {number(s, 2)}" for o, s in sorted(shares.items(), key=lambda x: -x[1]) if s >= least]
        rows += [[Cell(word(term)), Cell(", ".join(told))]] if told else []
    if not rows:
        return None
    main, products = grid.design.get("efficiency", [math.nan, math.nan])
    notes = [
        "the share of a term's space that lies in another's: 0 they are apart, 1 they cannot be told apart",
        f"D-efficiency per cell against the whole grid: {number(main, 3)} for main effects, {number(products, 3)} with "
        "all two-way interactions of activation, scale and the like",
    ]
    heads = [Head("term", number=False), Head("mixed up with", number=False)]
    return Sheet("What the fraction mixes up", heads, rows, notes=notes)
