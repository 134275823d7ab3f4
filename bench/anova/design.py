"""Which cells of a factorial grid are run, and in which order: replicates of all pairs, each D-optimal after the last.

A replicate is one block (base, task, seed) with every legal pair once. Blocks take turns; in a block, a pair meets each
form (activation x scale x init x width x learning rate) exactly once, so that all replicates together are the full
grid, and every prefix is balanced in pairs. Which form a pair has in which replicate is what the rule decides: it
maximises the determinant of the information matrix of all cells so far (Fedorov's exchange), main effects without and
two-way interactions with a prior of their own, after DuMouchel, Jones, "A Simple Bayesian Modification of D-Optimal
Designs", Technometrics 36 (1994). Imports no torch.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.core.errors import LitmusError
from bench.core.rng import numpy_rng
from bench.protocol.models import Anova

FORM = ("activation", "scale", "init", "size", "lr")  # a form is a choice of these
STARTS = 3  # random starts of the exchange
SPARE = 0.05  # of a budget, for starting and for the frozen base and truth of each block
PRIOR = 1e-3, 1.0  # precision of a main effect, of a two-way interaction; a column's mean square is 1
Pair = tuple[str, str]
Block = tuple[str, str, int]


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: levels of all factors. `size` is the level of the factor width, not the bottleneck."""

    source: str
    target: str
    activation: str
    scale: float
    init: str
    size: int
    lr: float
    base: str
    task: str
    seed: int
    replicate: int

    @property
    def pair(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def block(self) -> Block:
        return self.base, self.task, self.seed


def seconds(budget: str) -> float:
    """A budget in words as seconds: "2h", "90m", "1h30m", "45 min". LitmusError for anything else."""
    found = re.fullmatch(r"\s*(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in)?)?\s*", budget)
    if not found or not any(found.groups()):
        raise LitmusError(f"cannot read the budget {budget!r}: write 2h, 90m or 1h30m")
    hours, minutes = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes


def forms(anova: Anova) -> list[tuple]:
    """Every combination of the levels of FORM."""
    levels = anova.activations, anova.scales, anova.inits, anova.widths, anova.lrs
    return list(itertools.product(*(dict.fromkeys(level) for level in levels)))


def replicates(anova: Anova, pairs: int, blocks: int, budget: str = "", each: float = 0.0) -> int:
    """How many replicates fit `budget` ("": all); a cell takes `each` seconds of the machine (0: the protocol's)."""
    whole = blocks * len(forms(anova))
    if not budget:
        return whole
    one = pairs * (each or anova.cell_seconds)
    fitting = int((1 - SPARE) * seconds(budget) / one)
    if fitting < 1:
        least = math.ceil(one / 60 / (1 - SPARE))
        raise LitmusError(
            f"one replicate of {pairs} cells takes about {least} min: give --budget {least}m or more, or fewer inputs"
        )
    return min(whole, fitting)


def cells(anova: Anova, pairs: Sequence[Pair], blocks: Sequence[Block], n: int) -> list[Cell]:
    """The first `n` replicates in the order in which they are run."""
    every = forms(anova)
    model = _Model(len(pairs), every, len(blocks))
    free = {(b, p): set(range(len(every))) for b in range(len(blocks)) for p in range(len(pairs))}
    information = np.diag(model.prior)
    out: list[Cell] = []
    for i in range(n):
        b = i % len(blocks)
        options = [sorted(free[b, p]) for p in range(len(pairs))]
        chosen = _exchange(model, information, b, options, i)
        rows = model.rows(b)[np.arange(len(pairs)), chosen]
        information += rows.T @ rows
        for p in numpy_rng("replicate", i).permutation(len(pairs)):
            free[b, p].discard(chosen[p])
            form = dict(zip(FORM, every[chosen[p]], strict=True))
            base, task, seed = blocks[b]
            out.append(Cell(*pairs[p], **form, base=base, task=task, seed=seed, replicate=i))
    return out


def grid(anova: Anova, pairs: Sequence[Pair], blocks: Sequence[Block]) -> list[Cell]:
    """All cells, in no particular order; each says replicate 0."""
    return [
        Cell(*pair, **dict(zip(FORM, form, strict=True)), base=base, task=task, seed=seed, replicate=0)
        for base, task, seed in blocks
        for pair in pairs
        for form in forms(anova)
    ]


def _exchange(model: _Model, before: np.ndarray, block: int, options: list[list[int]], i: int) -> list[int]:
    """A form per pair for replicate `i`: exchanged one by one while the determinant grows, from several starts."""
    rows = model.rows(block)  # (pairs, forms, columns)
    best: tuple[float, list[int]] = (-math.inf, [])
    for start in range(STARTS):
        random = numpy_rng("exchange", i, start)
        chosen = [int(random.choice(few)) for few in options]
        x = rows[np.arange(len(options)), chosen]
        inverse = np.linalg.inv(before + x.T @ x)
        moved = True
        while moved:
            moved = False
            for p, few in enumerate(options):
                if len(few) == 1:
                    continue
                old, new = rows[p, chosen[p]], rows[p, few]
                # det(M - x x' + z z') / det(M), for all z at once
                through = new @ inverse
                gain = (1 - old @ inverse @ old) * (1 + (through * new).sum(1)) + (through @ old) ** 2
                k = int(gain.argmax())
                if gain[k] > 1 + 1e-9 and few[k] != chosen[p]:
                    chosen[p], moved = few[k], True
                    x = rows[np.arange(len(options)), chosen]
                    inverse = np.linalg.inv(before + x.T @ x)
        value = float(np.linalg.slogdet(before + x.T @ x)[1])
        if value > best[0] + 1e-9:
            best = value, chosen
    return best[1]


def contrasts(n: int) -> np.ndarray:
    """(n, n-1) orthogonal columns of mean 0 and mean square 1: Helmert's."""
    table = np.array([[1.0] * (k + 1) + [-(k + 1.0)] + [0.0] * (n - k - 2) for k in range(n - 1)]).reshape(n - 1, n).T
    return table / np.sqrt((table**2).mean(0)) if n > 1 else table


class _Model:
    """The columns by which a design is judged: intercept, block, pair and each factor; then all two-way products."""

    def __init__(self, pairs: int, every: Sequence[tuple], blocks: int):
        self.pair, self.block = contrasts(pairs), contrasts(blocks)
        self.form = []
        for k in range(len(FORM)):
            levels = list(dict.fromkeys(form[k] for form in every))
            self.form.append(contrasts(len(levels))[[levels.index(form[k]) for form in every]])
        main = 1 + self.block.shape[1] + self.pair.shape[1] + sum(f.shape[1] for f in self.form)
        self.prior = np.full(self.rows(0).shape[-1], PRIOR[1])
        self.prior[:main] = PRIOR[0]

    def rows(self, block: int) -> np.ndarray:
        """(pairs, forms, columns) of the cells of one block."""
        n, m = len(self.pair), len(self.form[0])
        at = np.broadcast_to(self.block[block], (n, m, self.block.shape[1]))
        pair = np.broadcast_to(self.pair[:, None], (n, m, self.pair.shape[1]))
        form = [np.broadcast_to(f[None], (n, m, f.shape[1])) for f in self.form]
        both = [_product(a, b) for a, b in itertools.combinations(form, 2)]
        both += [_product(a, f) for f in form for a in (pair, at)]
        return np.concatenate([np.ones((n, m, 1)), at, pair, *form, *both], axis=-1)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:-1], -1)


# --- what a fraction leaves mixed up ------------------------------------------------------------------------------

MAIN = ("pair", "activation", "scale", "init", "size", "lr", "task", "seed", "base")


def aliases(found: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """For each term of the model, the share of its space that lies in that of each other term: 0 none, 1 all of it.

    Terms are the factors with several levels and their two-way products, each without what belongs to its own
    factors. trace(P_a P_b) / df_a, with the projections on the two spaces.
    """
    space: dict[str, Any] = {}
    one = {name: _coded([getattr(cell, name) for cell in found]) for name in MAIN}
    one = {name: x for name, x in one.items() if x.shape[1]}
    mean = np.ones((len(found), 1))
    for name, x in one.items():
        space[name] = _basis(x, mean)
    for a, b in itertools.combinations(one, 2):
        space[f"{a}:{b}"] = _basis(_product(one[a], one[b]), np.hstack([mean, one[a], one[b]]))
    out: dict[str, dict[str, float]] = {}
    for a, qa in space.items():
        if not qa.shape[1]:
            out[a] = {"other terms": 1.0}  # nothing of its own is left: a product whose factors are mixed up
            continue
        shares = {b: float(((qa.T @ qb) ** 2).sum() / qa.shape[1]) for b, qb in space.items() if b != a}
        out[a] = {b: share for b, share in shares.items() if share > 0.005}
    return out


def _coded(levels: Sequence[Any]) -> np.ndarray:
    names = list(dict.fromkeys(levels))
    return contrasts(len(names))[[names.index(level) for level in levels]]


def _basis(x: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Orthonormal columns of the space of `x`, made orthogonal to the columns of `without`."""
    q = np.linalg.qr(without)[0]
    rest = x - q @ (q.T @ x)
    u, s, _ = np.linalg.svd(rest, full_matrices=False)
    return u[:, s > 1e-8 * max(1.0, math.sqrt(len(x)))]


def efficiency(found: Sequence[Cell], whole: Sequence[Cell]) -> tuple[float, float]:
    """D-efficiency per cell against the whole grid: of the main effects, and with all two-way interactions of forms.

    (det(X'X / n) / the grid's)**(1 / columns); 1 is as good per cell as the grid, 0 is not estimable.
    """
    names = [name for name in MAIN if len({getattr(cell, name) for cell in whole}) > 1]
    codes = {name: list(dict.fromkeys(getattr(cell, name) for cell in whole)) for name in names}

    def matrix(cells: Sequence[Cell], products: bool) -> np.ndarray:
        main = {n: contrasts(len(codes[n]))[[codes[n].index(getattr(c, n)) for c in cells]] for n in names}
        pairs = [(a, b) for a, b in itertools.combinations(names, 2) if {a, b} & set(FORM)]
        more = [_product(main[a], main[b]) for a, b in pairs] if products else []
        return np.hstack([np.ones((len(cells), 1)), *main.values(), *more])

    out = []
    for products in (False, True):
        part, full = matrix(found, products), matrix(whole, products)
        (sign, a), (_, b) = (np.linalg.slogdet(x.T @ x / len(x)) for x in (part, full))
        short = np.linalg.matrix_rank(part) < part.shape[1] or sign <= 0
        out.append(0.0 if short else math.exp((a - b) / part.shape[1]))
    return out[0], out[1]
