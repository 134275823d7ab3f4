"""Which parameter budgets each method reaches on a published denoiser, and what is nearest where it reaches none.

Counts by formula on the meta device, without weights; `litmus budgets` prints them and writes docs/budgets.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.bases.architectures import ARCHITECTURES, shape
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.text import markdown
from bench.listings.params import NEAR
from bench.method import METHODS, Method, Network, load_plugins, make, parse_spec, reach, used

SHARES = (0.0005, 0.002, 0.0075, 0.03)  # of the denoiser's scalars
STEPS = 24  # doublings of the distance at which a size on the other side of the budget is looked for
END = "<!-- END of what `litmus budgets --write` writes -->"
HEAD = """# Budgets

Which size brings each method to a share of the scalars of {title}'s denoiser ({whole:,}), by `fit_budget`. Made by
`litmus budgets --write docs/budgets.md`; everything that a size is not is at its default. A cell is the size and the
share that it gives (of ranks that grow or are pruned, those in use at the end); *in italics* where that is more than
{near:g} % away from what was asked for. Why is said below.
"""


@dataclass(frozen=True)
class Cell:
    """A method at one share. Without a place on the base `scalars` is None and `why` says so."""

    method: str
    field: str
    wanted: float
    size: float | None
    scalars: int | None
    off: float | None  # (scalars - wanted) / wanted
    why: str = ""  # only where off is beyond NEAR

    def text(self, whole: int) -> str:
        if self.scalars is None:
            return "–"
        text = f"{_number(self.size)} · {100 * self.scalars / whole:.3g} %"
        return f"*{text}*" if self.why else text


def cells(methods: Sequence[str] = (), base: str = "sd15", shares: Sequence[float] = SHARES) -> list[Cell]:
    """Every method with a size (or each spec of `methods`) at each share of `base`'s denoiser."""
    load_plugins()
    made = [make(name, **hyper) for name, hyper in map(parse_spec, methods or sorted(METHODS))]
    net = shape(base)
    return [_cell(method, net, share) for method in made if method.size_field for share in shares]


def _cell(method: Method, net: Network, share: float) -> Cell:
    field = method.size_field or ""
    try:
        fitted, scalars, off = reach(method, net, share)
    except LitmusError as error:
        return Cell(method.name, field, share, None, None, None, str(error))
    size = getattr(fitted, field)
    why = _why(fitted, net, scalars, off) if abs(off) > NEAR else ""
    return Cell(method.name, field, share, size, scalars, off, why)


def _why(method: Method, net: Network, scalars: int, off: float) -> str:
    """What the method gives on the other side of the budget, or that there is no other side."""
    field, wanted = method.size_field or "", scalars / (1 + off)
    size = getattr(method, field)

    def at(other: float) -> int | None:
        try:
            return used(replace(method, **{field: other}), net)
        except LitmusError:
            return None

    if (other := _across(at, size, wanted)) is None:
        return f"{field} {_number(size)} gives {scalars:,}, the {'least' if off > 0 else 'most'} there is"
    there = at(other) or 0
    return (
        f"{field} {_number(size)} gives {scalars:,} ({100 * off:+.3g} %), "
        f"{field} {_number(other)} {there:,} ({100 * (there - wanted) / wanted:+.3g} %)"
    )


def _across(at: Callable[[float], int | None], size: float, wanted: float) -> float | None:
    """The size nearest to `size` whose count lies on the other side of `wanted`; None if none does."""
    here = (at(size) or 0) > wanted
    whole = isinstance(size, int)
    for step in range(STEPS):
        for sign in (1, -1):
            other = size + sign * 2**step if whole else size * (1 + 2.0**step / 1000) ** sign
            if other <= 0 or (not whole and other > 1):
                continue
            count = at(other)
            if count is not None and (count > wanted) != here:
                return _narrowed(at, int(size), int(other), wanted, here) if whole else other
    return None


def _narrowed(at: Callable[[float], int | None], near: int, far: int, wanted: float, here: bool) -> int:
    while abs(far - near) > 1:
        middle = (near + far) // 2
        count = at(middle)
        if count is None or (count > wanted) == here:
            near = middle
        else:
            far = middle
    return far


def page(results: Sequence[Cell], base: str = "sd15") -> str:
    """The table and the reasons as Markdown, up to the END line."""
    whole = sum(p.numel() for p in shape(base).denoiser.parameters())
    shares = list(dict.fromkeys(cell.wanted for cell in results))
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in results:
        lines.setdefault((cell.method, cell.field), []).append(cell.text(whole))
    table = markdown(
        ["method", "size", *(f"{100 * share:g} %" for share in shares)],
        [[method, field, *texts] for (method, field), texts in lines.items()],
    )
    reached = sum(cell.scalars is not None and not cell.why for cell in results)
    reasons = [f"- **{cell.method}** at {100 * cell.wanted:g} %: {cell.why}" for cell in results if cell.why]
    text = [
        HEAD.format(title=ARCHITECTURES[base].title, whole=whole, near=100 * NEAR),
        table,
        "",
        f"{reached} of {len(results)} budgets are reached.",
        "",
        "## Nearest, and why",
        "",
        *reasons,
        "",
        END,
    ]
    return "\n".join(text) + "\n"


def write(path: Path, results: Sequence[Cell], base: str = "sd15") -> None:
    """Write the page, keeping what stands in the file after its END line."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_bytes(path, (page(results, base) + old.partition(END + "\n")[2]).encode())


def _number(size: float | None) -> str:
    return f"{size:,}" if isinstance(size, int) else f"{size:.4g}"
