"""One self-contained page: style, script and pictures inside, nothing is asked of any network, all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import style
from bench.report import grid, table
from bench.report.sheet import Sheet, printable

if TYPE_CHECKING:
    from PIL import Image

    from bench.records.record import Machine
    from bench.report.material import Drawing, Material

FOLDER = Path(__file__).parent


def html(
    m: Material,
    figures: Mapping[str, Sequence[Drawing]],
    samples: Sequence[Drawing],
    problems: Sequence[str],
) -> str:
    """The page. `figures` holds the same drawings by theme, light and dark; `samples` are the grids.

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
        title=printable(m.title),
        heading=printable(m.heading),
        summary=m.summary,
        warnings=[printable(w) for w in m.warnings],
        problems=[printable(p) for p in problems],
        blocks=[(table.TITLES[b.kind], table.main_sheet(b), _rest(m, b)) for b in m.boards],
        sheets=m.sheets,
        figures=[_picture(light, dark) for light, dark in zip(figures["light"], figures["dark"], strict=True)],
        samples=[_strips(d) for d in samples],
        legend=_legend(m),
        facts=_facts(m),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=digest,
    )


def _rest(m: Material, board) -> list[Sheet]:
    out = [table.more_sheet(board)]
    return [*out, table.pair_sheet(board)] if len(board.pairs) else out


def _picture(light: Drawing, dark: Drawing) -> dict[str, Any]:
    """What a <picture> needs: the drawing on transparent ground in both inks, as lossless webp."""
    from PIL import Image

    out: dict[str, Any] = {"name": light.name, "title": light.title, "caption": light.caption}
    for theme, drawing in (("light", light), ("dark", dark)):
        with Image.open(io.BytesIO(style.render(drawing.figure, "png", transparent=True))) as picture:
            out[theme] = _webp(picture, lossless=True)
            # 200 dots per inch on paper, shown at 110: sharp on dense screens.
            out["width"], out["height"] = (round(n * 0.55) for n in picture.size)
    return out


def _webp(picture: Image.Image, **options: Any) -> str:
    """As an address that holds the picture itself."""
    out = io.BytesIO()
    picture.save(out, "WEBP", method=4, **options)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


SIDE = 68  # pixels of a sample on the page, and GAP between two
GAP = 4
STORED = 136  # pixels of a sample's side that the page holds at most: sharp on dense screens


def _strips(drawing: Drawing) -> dict[str, Any]:
    """A grid as text and one strip of pictures per row: the page's own ink writes it. Lossy; the png lies beside."""
    import numpy as np
    from PIL import Image

    rows, columns = grid.shown(drawing.rows)
    strips = []
    for label, samples in rows.items():
        side = samples.pictures.shape[1]
        gap = max(1, round(side * GAP / SIDE))
        strip = np.zeros((side, len(columns) * (side + gap) - gap, 4), np.uint8)  # gaps are clear
        for j, column in enumerate(columns):
            strip[:, j * (side + gap) : j * (side + gap) + side] = np.dstack(
                [samples.pictures[column], np.full((side, side), 255, np.uint8)]
            )
        picture = Image.fromarray(strip)
        if side > STORED:
            picture = picture.resize((round(strip.shape[1] * STORED / side), STORED), Image.Resampling.LANCZOS)
        strips.append((label, label in table.NAMES.values(), _webp(picture, quality=88)))
    prompts = [printable(next(iter(rows.values())).prompts[i]) for i in columns]
    shown = {"width": len(columns) * (SIDE + GAP) - GAP, "height": SIDE, "cell": SIDE, "gap": GAP}
    return {**drawing.__dict__, "prompts": prompts, "strips": strips, **shown}


def _legend(m: Material) -> list[tuple[str, str]]:
    """Meaning of every column that is shown, each once."""
    sheets = [s for b in m.boards for s in (table.main_sheet(b), *_rest(m, b))] + m.sheets
    return list({h.title: h.meaning for s in sheets for h in s.heads if h.meaning}.items())


def _machine(machine: Machine) -> str:
    where = f", {machine.device}" if machine.device not in ("", "cpu") else ""
    return f"{machine.cpu}, {machine.cores} cores, {machine.platform}{where}"


def _facts(m: Material) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    run = next((r.run for r in m.records if r.run.train), m.records[0].run)
    provenances = [r.provenance for r in m.records]
    machines = sorted({_machine(p.machine) for p in provenances})
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
