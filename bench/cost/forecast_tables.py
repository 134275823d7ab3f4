"""Rows of `litmus fit` as tables and files, and a folder of them that is taken up again where it was left."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.bases.architectures import ARCHITECTURES
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.text import markdown, refusals
from bench.cost.forecast import GIB, NOT, WITH, Row, Setting
from bench.cost.forecast_figure import figure
from bench.cost.step import Step

HEADER = [
    "method", "trainable", "share", "stored", "AdamW", "saved", "peak", "saved, checkpointing", "peak, checkpointing",
    "forward", "step",
]  # fmt: skip
FILE = "fit.json"
DISTRIBUTIONS = ("torch", "diffusers", "transformers", "peft")


def table(forecasts: Sequence[Row], setting: Setting, many: bool) -> tuple[list[str], list[list[str]]]:
    """Header and one line per row that has numbers, with its base where there are `many`."""
    header = [*(["base"] if many else []), *HEADER, f"on {setting.vram:g} GB"]
    body = []
    for row in forecasts:
        if row.scalars is None:
            continue
        first = [ARCHITECTURES[row.base].title] if many else []
        one = row.plain or row.checkpointed
        assert one is not None
        body.append(
            [
                *first,
                row.method,
                f"{row.scalars:,}",
                f"{100 * (row.share or 0):.3g} %",
                amount(row.bytes_stored),
                amount(one.moments),
                *(amount(step and step.saved) if i == 0 else amount(step and step.peak)
                  for step in (row.plain, row.checkpointed) for i in (0, 1)),
                tera(one.flops_forward),
                tera(one.flops_step),
                row.verdict,
            ]
        )  # fmt: skip
    return header, body


def wide(forecasts: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """One line per method, one column per base: the peak, with that of checkpointing behind a stroke."""
    bases = list(dict.fromkeys(row.base for row in forecasts))
    lines: dict[str, dict[str, str]] = {}
    for row in forecasts:
        peaks = [f"{step.peak / GIB:.2f}" for step in (row.plain, row.checkpointed) if step]
        lines.setdefault(row.method, {})[row.base] = " / ".join(peaks) + {WITH: " ᶜ", NOT: " ✗"}.get(row.verdict, "")
    header = ["method", *(ARCHITECTURES[base].title for base in bases)]
    return header, [[method, *(cells.get(base) or "–" for base in bases)] for method, cells in lines.items()]


def written(forecasts: Sequence[Row], setting: Setting, form: str) -> str:
    """The rows as text: "md", "csv" or "json"."""
    if form == "json":
        return json.dumps({"setting": asdict(setting), "rows": [asdict(row) for row in forecasts]}, indent=1)
    if form == "csv":
        return _csv(forecasts)
    return markdown(*table(forecasts, setting, len({row.base for row in forecasts}) > 1))


def _csv(forecasts: Sequence[Row]) -> str:
    flat = [_flat(row) for row in forecasts]
    out = io.StringIO()
    names = list(_flat(Row("", "", plain=Step(*[0] * 7), checkpointed=Step(*[0] * 7))))
    sheet = csv.DictWriter(out, fieldnames=names, restval="", lineterminator="\n")
    sheet.writeheader()
    sheet.writerows(flat)
    return out.getvalue().rstrip("\n")


def _flat(row: Row) -> dict[str, Any]:
    """One level: plain_peak, checkpointed_saved, ..."""
    out: dict[str, Any] = {}
    for key, value in asdict(row).items():
        if isinstance(value, dict):
            out |= {f"{key}_{part}": number for part, number in value.items()}
        elif key not in ("plain", "checkpointed"):
            out[key] = value
    return out


def amount(n: int | None) -> str:
    """Bytes with three digits: 6.08 MiB, 2.39 GiB."""
    if n is None:
        return "–"
    size = float(n)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def tera(n: int) -> str:
    return f"{n / 1e12:.3g} TFLOP"


# --- a folder of results -----------------------------------------------------------------------------------------


def read_rows(folder: Path, setting: Setting) -> list[Row]:
    """The rows that lie in `folder`, to go on from; none where they were counted by other versions.

    Raises LitmusError when they were counted with another setting.
    """
    file = folder / FILE
    if not file.is_file():
        return []
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        same, current = stored["setting"] == asdict(setting), stored["versions"] == versions()
        rows = [_row(one) for one in stored["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LitmusError(f"cannot read {file} ({error}): move it away, or choose another folder") from None
    if not same:
        raise LitmusError(f"{folder} holds another setting ({stored['setting']}): choose another folder")
    return rows if current else []


def _row(one: dict[str, Any]) -> Row:
    steps = {key: Step(**one[key]) if one[key] else None for key in ("plain", "checkpointed")}
    return Row(**{**one, **steps})


def versions() -> dict[str, str]:
    """Of the libraries whose operations are counted."""
    return {name: version(name) for name in DISTRIBUTIONS}


def write_rows(folder: Path, forecasts: Sequence[Row], setting: Setting) -> Path:
    """fit.json alone, so that a count that is stopped goes on from its last row."""
    order = list(ARCHITECTURES)
    rows = [asdict(row) for row in sorted(forecasts, key=lambda row: order.index(row.base))]
    about = {"setting": asdict(setting), "versions": versions(), "rows": rows}
    return save(folder / FILE, json.dumps(about, indent=1).encode())


def write(folder: Path, forecasts: Sequence[Row], setting: Setting) -> list[Path]:
    """fit.json, fit.csv, fit.md and the figure, each by atomic rename; rows in the order of bases, then as counted."""
    order = list(ARCHITECTURES)
    forecasts = sorted(forecasts, key=lambda row: order.index(row.base))
    files = {
        "fit.csv": (_csv(forecasts) + "\n").encode(),
        "fit.md": page(forecasts, setting).encode(),
    }
    if _drawn(forecasts):
        files["fit.svg"] = figure(forecasts, setting)
    return [write_rows(folder, forecasts, setting), *(save(folder / name, content) for name, content in files.items())]


def _drawn(forecasts: Sequence[Row]) -> bool:
    """Whether there is a step to draw: a method may have its scalars and no number for its step."""
    return any(row.plain or row.checkpointed for row in forecasts)


def save(file: Path, content: bytes) -> Path:
    write_bytes(file, content)
    return file


def page(forecasts: Sequence[Row], setting: Setting) -> str:
    """The tables as one page of Markdown."""
    size = f"{setting.resolution} pixels" if setting.resolution else "512 pixels (the pocket base 64)"
    lines = [
        "# What a training step takes",
        "",
        f"Forecast from shapes by `litmus fit`, not measured: batch {setting.batch}, {size}, {_precision(setting)}, "
        f"{setting.attention} attention, AdamW; {', '.join(f'{k} {v}' for k, v in versions().items())}. "
        "What is counted and what is not: docs/costs.md. How far off it is: accuracy-cpu.md beside this page, made by "
        "`litmus fit --check`.",
        "",
        "## Peak memory in GiB",
        "",
        f"Behind the stroke with gradient checkpointing, where the plain step and {setting.reserve:g} GiB of reserve "
        f"do not go into {setting.vram:g} GiB; ᶜ goes into it with checkpointing, ✗ does not.",
        "",
        markdown(*wide(forecasts)),
        "",
    ]
    if _drawn(forecasts):
        lines += ["![methods down, the lightest first, bases across; peak memory of a step](fit.svg)", ""]
    for base in dict.fromkeys(row.base for row in forecasts):
        here = [row for row in forecasts if row.base == base]
        lines += [f"## {ARCHITECTURES[base].title}", "", markdown(*table(here, setting, many=False)), ""]
    if said := refusals(forecasts):
        lines += ["## No number", "", *(f"- {line}" for line in said), ""]
    return "\n".join(lines)


def _precision(setting: Setting) -> str:
    if not setting.mixed:
        return setting.dtype
    return "a base in bf16 under autocast with trained tensors in fp32 (the pocket base itself in fp32)"
