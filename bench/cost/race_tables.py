"""Results of `litmus cost` as tables and files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.files import write_bytes
from bench.core.text import markdown
from bench.cost.race import Result
from bench.cost.speed import Ratio

RATIOS = (
    ("step", "step_ratio"),
    ("unmerged ÷ base", "unmerged"),
    ("merged ÷ base", "merged"),
    ("attach", "attach_ratio"),
    ("load", "load_ratio"),
    ("merge", "merge_ratio"),
)
BYTES = (
    ("peak, live", "bytes_live"),
    ("forecast", "bytes_forecast"),
    ("allocated", "bytes_allocated"),
    ("reserved", "bytes_reserved"),
)


def table(results: Sequence[Result], many: bool) -> tuple[list[str], list[list[str]]]:
    """Header and one line per result; columns of bytes only where something was measured."""
    bytes_ = [(title, key) for title, key in BYTES if any(getattr(one, key) is not None for one in results)]
    header = [*(["base"] if many else []), "method", "trainable", "steps/s", "pictures/s"]
    header += [*(title for title, _ in RATIOS), *(title for title, _ in bytes_)]
    body = []
    for one in results:
        if one.step is None:
            continue
        line = [one.base] if many else []
        line += [one.method, f"{one.scalars:,}", f"{1 / one.step:.3g}", f"{one.images_per_second or 0:.3g}"]
        line += [written(getattr(one, key)) for _, key in RATIOS]
        line += ["–" if (n := getattr(one, key)) is None else f"{n / 2**20:,.1f} MiB" for _, key in bytes_]
        body.append(line)
    return header, body


def written(ratio: Ratio | None) -> str:
    """ "1.04 [1.01, 1.07]"; what is below 0.1 with two figures, so that nothing takes no time."""
    if ratio is None:
        return "–"

    def number(x: float) -> str:
        return f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"

    if ratio.low is None or ratio.high is None:
        return number(ratio.mean)
    return f"{number(ratio.mean)} [{number(ratio.low)}, {number(ratio.high)}]"


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    return json.dumps({"about": dict(about), "rows": [asdict(one) for one in results]}, indent=1)


def as_csv(results: Sequence[Result]) -> str:
    """A ratio becomes three columns: step_ratio_mean, _low, _high."""
    flat = []
    for one in results:
        line: dict[str, Any] = {}
        for key in Result.__dataclass_fields__:
            value = getattr(one, key)
            if key.endswith("_ratio") or key in ("unmerged", "merged"):
                line |= {f"{key}_{part}": getattr(value, part, None) for part in ("mean", "low", "high")}
            else:
                line[key] = value
        flat.append(line)
    out = io.StringIO()
    if flat:
        sheet = csv.DictWriter(out, fieldnames=list(flat[0]), restval="", lineterminator="\n")
        sheet.writeheader()
        sheet.writerows(flat)
    return out.getvalue()


def slug(device: str) -> str:
    """A device's name as part of a folder's: "AMD EPYC 7B13" -> "amd-epyc-7b13"."""
    plain = re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", device, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "unknown"


def page(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    lines = [
        f"# Costs on {about['device']}",
        "",
        f"`litmus cost`: batch {about['batch']}, {about['dtype']}, {about['weights']} weights, "
        f"{machine['threads']} torch threads, torch {versions.get('torch', '?')}, {about['started']}. "
        f"Times are multiples of {about['reference']}'s, taken call by call in turns with it: mean and 95 % interval "
        f"over {about['blocks']} paired blocks of {about['calls']} calls. The row of {about['reference']} itself races "
        "two copies of it. Rows were taken one after the other, so that steps/s of two rows also differ by what the "
        "machine did meanwhile: compare the ratios. Unmerged and merged are a denoiser call as a multiple of the "
        "frozen base's. Where a method trains the base's own tensors there is nothing to merge.",
        "",
        *([f"{about['busy']}.", ""] if about.get("busy") else []),
    ]
    for base in dict.fromkeys(one.base for one in results):
        here = [one for one in results if one.base == base]
        lines += [f"## {base}", "", markdown(*table(here, many=False)), ""]
        lines += [f"- {one.method}: {one.note}" for one in here if one.note]
        lines += [""] if lines[-1] else []
    return "\n".join(lines)


def write(folder: Path, results: Sequence[Result], about: Mapping[str, Any]) -> list[Path]:
    """cost.md, cost.csv and cost.json, each whole or not at all."""
    texts = {"cost.md": page(results, about), "cost.csv": as_csv(results), "cost.json": as_json(results, about) + "\n"}
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]
