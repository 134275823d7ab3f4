"""One self-contained page: style, script and pictures inside, nothing is asked of any network, all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import table
from bench.report.sheet import Sheet, printable

if TYPE_CHECKING:
    from bench.report.material import Drawing, Material

FOLDER = Path(__file__).parent


def html(
    m: Material,
    figures: Sequence[Drawing],
    samples: Sequence[Drawing],
    pictures: Mapping[str, bytes],
    problems: Sequence[str],
) -> str:
    """The page. `pictures` holds the png of each drawing by its name.

    A content security policy allows the page's own script (by its hash), inline style and inline pictures only, so that
    not even a hole in the escaping could load or run anything.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        name=m.name,
        summary=m.summary,
        warnings=[printable(w) for w in m.warnings],
        problems=[printable(p) for p in problems],
        blocks=[(table.TITLES[b.kind], table.main_sheet(b), _rest(m, b)) for b in m.boards],
        sheets=m.sheets,
        figures=[_picture(d, pictures[d.name], False) for d in figures],
        samples=[_picture(d, pictures[d.name], True) for d in samples],
        legend=_legend(m),
        facts=_facts(m),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=digest,
    )


def _rest(m: Material, board) -> list[Sheet]:
    out = [table.more_sheet(board)]
    return [*out, table.pair_sheet(board)] if len(board.pairs) else out


def _picture(drawing: Drawing, png: bytes, lossy: bool) -> dict[str, Any]:
    """What an <img> needs. Grids go in as webp: a fifth of the bytes, and the png lies beside the page."""
    from PIL import Image

    kind = "png"
    with Image.open(io.BytesIO(png)) as picture:
        width, height = picture.size
        if lossy:
            out = io.BytesIO()
            picture.convert("RGB").save(out, "WEBP", quality=88, method=4)
            kind, png = "webp", out.getvalue()
    data = f"data:image/{kind};base64,{base64.b64encode(png).decode()}"
    # 200 dots per inch on paper, shown at 110: sharp on dense screens
    shown = {"width": round(width * 0.55), "height": round(height * 0.55)}
    return {"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "data": data, **shown}


def _legend(m: Material) -> list[tuple[str, str]]:
    """Meaning of every column that is shown, each once."""
    sheets = [s for b in m.boards for s in (table.main_sheet(b), *_rest(m, b))] + m.sheets
    return list({h.title: h.meaning for s in sheets for h in s.heads if h.meaning}.items())


def _facts(m: Material) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    run = next((r.run for r in m.records if r.run.train), m.records[0].run)
    provenances = [r.provenance for r in m.records]
    machines = sorted({f"{p.machine.cpu}, {p.machine.cores} cores, {p.machine.platform}" for p in provenances})
    versions = sorted({f"{k} {v}" for p in provenances for k, v in p.versions.items()})
    finished = sorted(p.finished for p in provenances if p.finished)
    train = run.train
    facts = [
        ("rules", f"protocol {run.protocol}, code {run.code}"),
        ("base", f"{run.base} ({run.base_digest})"),
        ("evaluators", f"{run.extractors} ({run.extractors_digest})"),
        ("training", f"{train.steps} steps of {train.batch}, {train.dtype}" if train else ""),
        ("sampling", f"{run.sample.steps} steps, guidance {run.sample.guidance:g}, {run.sample.per_prompt} per prompt"),
        ("made", " to ".join(dict.fromkeys((finished[0], finished[-1]))) if finished else ""),
        ("machines", "; ".join(machines)),
        ("commits", ", ".join(sorted({p.commit for p in provenances if p.commit}))),
        ("versions", ", ".join(versions)),
    ]
    return [(k, printable(v)) for k, v in facts if v]
