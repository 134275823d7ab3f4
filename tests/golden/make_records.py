"""Write records_v1.jsonl: made-up records in the shape of a quick board, one per line.

Run once per schema version and never again for an old one: the file's worth is that it stays as it was written.
    python tests/golden/make_records.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.protocol.models import Sample, Train
from bench.records.record import Cost, Curve, Machine, Provenance, Record, Run, finite
from bench.runner.plan import key

TASKS = {  # task -> (floor, ceiling, difficulty)
    "pocket/subject-robot-a": (0.115, 0.915, 0.02),
    "pocket/subject-mug-a": (-0.25, 0.856, -0.03),
    "pocket/subject-cat-b": (0.23, 0.904, 0.09),
    "pocket/subject-house-a": (0.05, 0.88, -0.06),
    "pocket/style-ink-a": (0.08, 0.82, 0.05),
    "pocket/style-glow-b": (0.17, 0.86, -0.02),
    "pocket/style-knit-a": (-0.02, 0.79, -0.08),
}
METHODS = {  # spec -> (method, hyper, lr, trainable, concept, follow, drift, seconds per step)
    "full": ("full", {}, 1e-4, 16_541_700, 0.93, 0.70, 0.21, 0.162),
    "lora": ("lora", {"rank": 4}, 2e-3, 73_728, 0.87, 0.80, 0.12, 0.121),
    "lora[rank=16]": ("lora", {"rank": 16}, 1e-3, 294_912, 0.90, 0.79, 0.13, 0.124),
    "bias": ("bias", {}, 3e-3, 9_860, 0.58, 0.86, 0.05, 0.119),
    "difffit": ("difffit", {}, 3e-3, 16_120, 0.76, 0.84, 0.07, 0.127),
    "adapter": ("adapter", {"width": 32}, 2e-3, 91_200, 0.89, 0.82, 0.11, 0.094),
}
STEPS = [0, 10, 25, 50, 75, 100, 125, 150]
TRAIN, SAMPLE = Train(steps=150, batch=4), Sample(steps=20, guidance=4.0)
MACHINE = Machine(
    cpu="Example CPU", cores=2, bytes_ram=8 * 2**30, platform="Linux", python="3.11", threads=1, workers=2
)


def _run(task: str, seed: int, method: str, spec: str, hyper: dict, lr: float | None, objective: str) -> Run:
    return Run(
        protocol=1, code="1", method=method, spec=spec, hyper=hyper, lr=lr, objective=objective, base="pocket",
        base_digest="0" * 16, task=task, task_digest="1" * 16, seed=seed, train=TRAIN if lr else None, sample=SAMPLE,
        extractors="pocket", extractors_digest="2" * 16,
    )  # fmt: skip


def _record(run: Run, n: int, **parts: Any) -> Record:
    at = f"2026-11-20T10:{n // 60:02d}:{n % 60:02d}Z"
    versions = {"torch": "2.15.0", "peft": "0.21.2"}
    provenance = Provenance(versions=versions, machine=MACHINE, commit="abc1234", started=at, finished=at)
    k = key(run)
    files = {"prompts": f"{k}.prompts.json", "grid": f"{k}.png"}
    parts = {"status": "ok", **parts}
    return Record(key=k, run=run, provenance=provenance, files=files, **parts)


def _scores(task: str, concept: float, follow: float, drift: float, random: np.random.Generator) -> dict[str, float]:
    """Raw scores whose norms are `concept` and `follow` on this task."""
    low, high, _ = TASKS[task]
    text_low, text_high = 0.11, 0.31
    raw = low + (high - low) * concept
    style = "/style" in task
    out = {
        "concept": raw,
        "style" if style else "identity": raw,
        "style_heldout" if style else "identity_heldout": raw - 0.04 - 0.1 * drift,
        "memorisation_gap": 0.04 + 0.1 * drift,
        "text": text_low + (text_high - text_low) * follow,
        "attributes": 0.35 + 0.6 * follow,
        "attribute_scene": 0.4 + 0.55 * follow,
        "attribute_colour": 0.3 + 0.65 * follow,
        "diversity": 9.1 - 5 * drift + 0.1 * random.normal(),
        "diversity_prompt": 1.0,
        "drift": drift,
        "prior_leak": 2.1 * drift * max(concept, 0),
        "prior_preservation": 1 - 1.4 * drift,
        "kid": 0.09 - 0.05 * concept * follow + 0.002 * random.normal(),
        "loss_train": 0.31 - 0.12 * concept,
        "loss_heldout": 0.33 - 0.06 * concept,
        "loss_gap": 0.02 + 0.06 * concept,
    }
    if style:
        out["content_leak"] = 0.3 * drift
    return {k: round(float(v), 5) for k, v in out.items()}


def _curve(concept: float, random: np.random.Generator) -> Curve:
    fall = 1 - np.exp(-np.array(STEPS) / 40)
    train = 0.31 * (1 - 0.38 * concept * fall) + 0.002 * random.normal(size=len(STEPS)) * (fall > 0)
    held = 0.33 * (1 - 0.22 * concept * fall + 0.08 * concept * fall**4)
    return Curve(steps=STEPS, train=np.round(train, 5).tolist(), heldout=np.round(held, 5).tolist())


def _cost(trainable: int, seconds: float, random: np.random.Generator) -> Cost:
    step = seconds * (1 + 0.02 * float(random.normal()))
    return Cost(
        scalars_trainable=trainable, scalars_stored=trainable, scalars_active=0, scalars_buffers=0,
        scalars_denoiser=16_541_700, bytes_disk=4 * trainable + 2_000, bytes_peak=int(2.1e8 + 13 * trainable),
        flops_step=4.1e10, seconds_step=round(step, 5), steps_per_second=round(1 / step, 3),
        seconds_total=round(150 * step + 6, 2), seconds_train=round(150 * step, 2), seconds_sample=4.1,
    )  # fmt: skip


def records() -> list[Record]:
    random = np.random.default_rng(7)
    out: list[Record] = []
    for task, (_, _, hard) in TASKS.items():
        for seed in (0, 1, 2):
            base = _run(task, seed, "base", "base", {}, None, "")
            follow = 0.88 + 0.02 * random.normal()
            out.append(_record(base, len(out), scores=_scores(task, 0.0, follow, 0.0, random)))
        for name, extra in (("truth", 0.0), ("truth_raw", 0.04)):
            scores = _scores(task, 1.0 + extra, 1.0 + extra, 0.0, random) | {"text_mismatch": 0.11}
            scores = {k: v for k, v in scores.items() if not k.startswith(("loss", "prior", "drift"))}
            out.append(_record(_run(task, 0, name, name, {}, None, ""), len(out), scores=scores))
        for spec, (method, hyper, lr, trainable, concept, follow, drift, seconds) in METHODS.items():
            for seed in (0, 1, 2) if spec == "lora" else (0,):
                run = _run(task, seed, method, spec, hyper, lr, "plain")
                if spec == "difffit" and task == "pocket/style-knit-a":
                    failed = {"status": "diverged", "error": "loss above ten times its start at step 31", "files": {}}
                    out.append(_record(run, len(out)).model_copy(update=failed))
                    continue
                c = concept + 1.2 * hard + 0.035 * random.normal()
                f = follow + 0.3 * hard + 0.02 * random.normal()
                scored: dict[str, Any] = {"scores": _scores(task, c, f, drift * (1 + 0.1 * random.normal()), random)}
                cost = _cost(trainable, seconds, random)
                out.append(_record(run, len(out), **scored, curve=_curve(c, random), cost=cost))
        if task in ("pocket/subject-robot-a", "pocket/subject-mug-a"):
            run = _run(task, 0, "lora", "lora", {"rank": 4}, 2e-3, "prior")
            scores = _scores(task, 0.84 + 1.2 * hard, 0.82, 0.05, random)
            out.append(
                _record(run, len(out), scores=scores, curve=_curve(0.8, random), cost=_cost(73_728, 0.17, random))
            )
    return out


if __name__ == "__main__":
    lines = [json.dumps(finite(r.model_dump(mode="json")), sort_keys=True, allow_nan=False) for r in records()]
    Path(__file__).with_name("records_v1.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
