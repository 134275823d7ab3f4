"""Which ways an adapter can go in a base, and the widths that give all of them one size; found out in another process.

`ask(base, ...)` starts `python -m bench.anova.places`, so that the runner's parent stays without torch (as
bench.runner.resolve). A published architecture (litmus params lists them) is looked at in shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.core import subprocess
from bench.core.errors import LitmusError

PUBLISHED = ("attn2o", "ffni")  # the pair whose count at each width is the size that the others are brought to
# Widths of the authors' configurations (Xiang-cd/unet-finetune at e87962c); every other pair has 60 there.
RELEASED = {("resi", "resi"): 6, ("resi", "reso"): 7, ("reso", "reso"): 9}
RELEASED_WIDTH = 60


@dataclass(frozen=True)
class Way:
    """One legal pair in a base at one level of the factor width (`size`): the bottleneck it gets, and its scalars."""

    source: str
    target: str
    size: int
    width: int
    scalars: int

    @property
    def pair(self) -> tuple[str, str]:
        return self.source, self.target


@dataclass(frozen=True)
class Places:
    """`ways` by pair and size; `refused` says why a pair does not exist in the base, by `source -> target`."""

    base: str
    ways: tuple[Way, ...]
    refused: dict[str, str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(way.pair for way in self.ways))


def ask(base: str, inputs: Sequence[str], outputs: Sequence[str], sizes: str, widths: Sequence[int]) -> Places:
    """`find` in a process of its own. LitmusError for an unknown base, position or rule."""
    request = {"base": base, "inputs": inputs, "outputs": outputs, "sizes": sizes, "widths": widths}
    answer = subprocess.ask("bench.anova.places", request, f"look at the positions of {base}")
    return Places(base, tuple(Way(**way) for way in answer["ways"]), answer["refused"])


def find(base: str, inputs: Sequence[str], outputs: Sequence[str], sizes: str, widths: Sequence[int]) -> Places:
    """Every legal pair of `inputs` x `outputs` (empty: all) that `base` has, with its width at each of `widths`.

    What the user named and the base lacks is an error; what it lacks among all is said in `refused`.
    """
    from bench.bases import load_base
    from bench.bases.architectures import ARCHITECTURES, shape

    net = shape(base) if base in ARCHITECTURES else load_base(base).net
    return look(base, net, inputs, outputs, sizes, widths)


def look(
    base: str, net: Any, inputs: Sequence[str], outputs: Sequence[str], sizes: str, widths: Sequence[int]
) -> Places:
    """`find` on a network that is loaded already (the meta device will do)."""
    from bench.core.errors import nearest
    from bench.network.sites import PAIRS, POSITIONS, sites

    for position in (*inputs, *outputs):
        if position not in POSITIONS:
            raise LitmusError(nearest(position, POSITIONS, "position"))
    refused: dict[str, str] = {}
    kinds = " and ".join(sorted({type(m).__name__ for kind in ("block", "resblock") for m in _blocks(net, kind)}))
    there = {p for p in POSITIONS if sites(net, p, optional=True)}
    joint = {"attn1o", "attn2o"} <= there and "attn2i" not in there  # one attention: both names mean its output
    for position in dict.fromkeys((*inputs, *outputs)):
        if position not in there:
            raise LitmusError(f"{base} has no {position} (its blocks are {kinds or 'unknown here'}): leave it out")
    ways: list[Way] = []
    for pair in PAIRS:
        source, target = pair
        if (inputs and source not in inputs) or (outputs and target not in outputs):
            continue
        name = f"{source} -> {target}"
        if gone := [p for p in dict.fromkeys(pair) if p not in there]:
            refused[name] = f"no {' and no '.join(gone)} in {kinds or 'its blocks'}"
        elif joint and source == "attn1o" and not inputs:
            refused[name] = f"the same tensor as attn2o in {kinds}: it would be counted twice"
        else:
            try:
                ways += [_way(net, pair, size, sizes) for size in widths]
            except LitmusError as error:
                refused[name] = str(error)
    if not ways:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items()) or "no pair is legal"
        raise LitmusError(f"{base} has none of the ways asked for ({reasons}): choose other inputs and outputs")
    return Places(base, tuple(ways), refused)


def _blocks(net: Any, kind: str) -> list[Any]:
    from bench.network.sites import sites

    return list(sites(net, kind, optional=True).values())


def _way(net: Any, pair: tuple[str, str], size: int, sizes: str) -> Way:
    """The width of `pair` at the level `size`, by the rule `sizes` (bench.protocol.models.Anova)."""
    from bench.method import fit_budget, make

    def adapter(at: tuple[str, str], width: int) -> Any:
        return make("adapter", source=at[0], target=at[1], width=width)

    if sizes == "equal":
        try:
            wanted = adapter(PUBLISHED, size).count(net)
        except LitmusError:  # a base without the published pair: its own count at this width is the size
            wanted = adapter(pair, size).count(net)
        method: Any = fit_budget(adapter(pair, size), net, wanted)
    elif sizes == "released":
        method = adapter(pair, max(1, round(size * RELEASED.get(pair, RELEASED_WIDTH) / RELEASED_WIDTH)))
    else:
        method = adapter(pair, size)
    return Way(*pair, size=size, width=method.width, scalars=method.count(net))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    reply = find(**request)
    return {"ways": [asdict(way) for way in reply.ways], "refused": reply.refused}


if __name__ == "__main__":
    subprocess.answer(_answer)
