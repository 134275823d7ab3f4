"""How much each method trains on each published denoiser: counts by formula on the meta device, without weights."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.bases.architectures import ARCHITECTURES, shape
from bench.core.errors import LitmusError
from bench.core.text import markdown, size_text
from bench.method import METHODS, Method, load_plugins, make, parse_spec, reach, used

WIDTH = 4  # bytes of a scalar in a stored float32 file, its header left out
NEAR = 0.02  # of a wanted share: further off is said beside the number
FORMATS = ("table", "md", "csv", "json")


@dataclass(frozen=True)
class Row:
    """One method on one base. Without a place there, `scalars` is None and `note` says why."""

    base: str
    method: str
    wanted: float | None  # the share asked for
    scalars: int | None
    share: float | None  # of the denoiser, by what is in use
    bytes_stored: int | None
    mergeable: bool
    note: str = ""
    used: int | None = None  # scalars in use in the end: without ranks that are reserved for growing, or pruned

    def cell(self) -> str:
        if self.scalars is None:
            return "–"
        text = f"{self.scalars:,} · {100 * (self.share or 0):.3g} % · {size_text(self.bytes_stored or 0)}"
        return f"{text} · {self.note}" if self.note else text


def rows(methods: Sequence[str] = (), bases: Sequence[str] = (), shares: Sequence[float] = ()) -> list[Row]:
    """A row per method (a spec; all registered without it), base and share; without shares at the method's own size."""
    load_plugins()
    made = [make(name, **hyper) for name, hyper in map(parse_spec, methods or sorted(METHODS))]
    return [
        _row(base, method, share)
        for method in made
        for share in (shares or [None])
        for base in (bases or ARCHITECTURES)
    ]


def _row(base: str, method: Method, wanted: float | None) -> Row:
    net = shape(base)
    whole = sum(p.numel() for p in net.denoiser.parameters())
    spec, note = method.spec, ""
    try:
        if wanted is not None:
            method, _, off = reach(method, net, wanted)
            if field := method.size_field:
                value = getattr(method, field)
                note = f"{field} {value:.4g}" if isinstance(value, float) else f"{field} {value}"
            if abs(off) > NEAR:
                note = f"{note or 'no size'}, {100 * off:+.3g} % off"
        count, end = method.count(net), used(method, net)
        if end != count:
            note = f"{note}{', ' if note else ''}{end:,} in use at the end"
    except LitmusError as error:
        return Row(base, spec, wanted, None, None, None, method.mergeable, str(error))
    return Row(base, spec, wanted, count, end / whole, WIDTH * count, method.mergeable, note, end)


def wide(counted: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of one row per method (and share), one column per base."""
    bases = list(dict.fromkeys(row.base for row in counted))
    lines: dict[tuple[str, float | None], dict[str, Row]] = {}
    for row in counted:
        lines.setdefault((row.method, row.wanted), {})[row.base] = row
    shared = any(wanted is not None for _, wanted in lines)
    header = ["method", *(["share wanted"] if shared else []), "mergeable", *(ARCHITECTURES[b].title for b in bases)]
    body = []
    for (method, wanted), cells in lines.items():
        merged = "yes" if next(iter(cells.values())).mergeable else "no"
        body.append([method, *([f"{100 * (wanted or 0):g} %"] if shared else []), merged])
        body[-1] += [cells[base].cell() for base in bases]
    return header, body


def written(counted: list[Row], form: str) -> str:
    """The rows as text: "md" is a wide table, "csv" and "json" are one entry per method and base."""
    if form == "json":
        return json.dumps([asdict(row) for row in counted], indent=1)
    if form == "csv":
        out = io.StringIO()
        table = csv.DictWriter(out, fieldnames=list(Row.__dataclass_fields__), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in counted)
        return out.getvalue().rstrip("\n")
    header, body = wide(counted)
    return markdown(header, body)
