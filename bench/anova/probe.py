"""The paper's probe: how far the noise prediction moves between "[V] class" and "class", by the adapter's position.

Xiang, Bao, Li, Su, Zhu, arXiv:2303.18181: on noised pictures of the plain class, |eps(x_t, "a photo of [V] class") -
eps(x_t, "a photo of class")| is large only where the adapter reads what cross-attention gives. Written to
`<study>/probe.json`, from which the report draws; `litmus anova --probe` calls `python -m bench.anova.probe FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import tasks
from bench.bases import load_base
from bench.bases.base import Base
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.rng import rng, seed_of
from bench.evaluation.references import class_pictures
from bench.method import METHODS, source_digest
from bench.network.sites import PAIRS, POSITIONS, bridge, sites
from bench.protocol.models import Sample
from bench.records.record import Record, read
from bench.runner.run import threads
from bench.runner.train import Trained, train_run
from bench.training.loop import Diverged

FILE, DESIGN = "probe.json", "design.json"
PICTURES = 16  # of the plain class, each at its own noise


class Questions:
    """Noised pictures of the plain class with two prompts each: with the identifier, and the same without."""

    def __init__(self, base: Base, task: tasks.Task, seed: int, sampling: Sample, n: int = PICTURES):
        clean = class_pictures(base, task, seed, sampling, n)
        pair = {p.plain: p.caption for p in task.train}
        total = len(base.schedule)
        self.t = ((torch.arange(n) + 0.5) * total / n).long()
        eps = torch.randn(n, *base.latent_shape, generator=rng("probe", task.name, seed))
        self.x = base.schedule.add_noise(clean.latents.cpu(), eps, self.t)
        self.without = list(clean.prompts)
        self.prompts = [pair[plain] for plain in self.without]

    @torch.no_grad()
    def ask(self, base: Base, prompts: list[str]) -> Tensor:
        """The noise (n, C, h, w) that `base` sees under `prompts`."""
        x, t = self.x.to(base.device), self.t.to(base.device)
        with base.autocast():
            said = base.net(x, t, base.encode_text(prompts)).float()
        return base.schedule.split(x, said, t)[1]

    def move(self, base: Base) -> float:
        """Root mean square of the difference between the two prompts, over that of the plain prompt's noise."""
        plain = self.ask(base, self.without)
        return _ratio(self.ask(base, self.prompts) - plain, plain)


def _ratio(difference: Tensor, whole: Tensor) -> float:
    return float(difference.square().mean().sqrt() / whole.square().mean().sqrt())


class _Ear(nn.Module):
    """In an adapter's place: keeps what it reads and adds nothing."""

    heard: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.heard = x.detach().float()
        return x.new_zeros(())


def frozen(base: Base, questions: Questions) -> dict[str, float]:
    """How far the frozen base's own tensor at each position moves between the prompts, as a share, mean over blocks."""
    out = {}
    for position in POSITIONS:
        target = next(b for a, b in PAIRS if a == position)
        listening = base.working().fork()
        ears = []
        for block in sites(listening.net, position, optional=True).values():
            ears.append(_Ear())
            bridge(block, position, target, ears[-1], "probe")
        if not ears:
            continue
        told = []
        for prompts in (questions.without, questions.prompts):
            questions.ask(listening, prompts)
            told.append([ear.heard for ear in ears])
        pairs = [(a, b) for a, b in zip(*told, strict=True) if a is not None and b is not None]
        out[position] = sum(_ratio(b - a, a) for a, b in pairs) / len(pairs)
    return out


def repeated(base: Base, task: tasks.Task, record: Record) -> Trained:
    """The training of `record`'s run again, whatever it was asked to be: the way of the run itself."""
    run = record.run
    if run.method in METHODS.own():  # an older version may have written it: today's method is what is asked about
        run = run.model_copy(update={"source": source_digest(METHODS[run.method])})
    torch.manual_seed(seed_of("global", record.key))
    return train_run(base, task, run, run.sample)


def tuned(base: Base, task: tasks.Task, record: Record, questions: Questions) -> float | None:
    """The move after training exactly as `record`'s run was; None where that diverges."""
    try:
        return questions.move(repeated(base, task, record).tuned)
    except Diverged:
        return None


def probe(board: Path, say: Any = lambda line: None, device: str = "") -> Path:
    """Train one adapter per pair again (weights are not kept) and measure it; goes on where it was.

    Taken are the cells of the first block that has most pairs recorded, each pair in its first form there.
    """
    design = json.loads((board / DESIGN).read_text(encoding="utf-8"))
    chosen = _cells(board, design)
    run = chosen[0].run
    path = board / FILE
    table: dict[str, Any] = {"format": 1, "base": run.base, "task": run.task, "seed": run.seed, "pictures": PICTURES}
    if path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        table = old if all(old.get(k) == v for k, v in table.items()) else table
    torch.set_num_threads(threads(run.base))
    base = load_base(run.base, run.train.dtype if run.train else "fp32", device)
    task = tasks.load(run.task).at(base.resolution)
    questions = Questions(base, task, run.seed, run.sample)
    if "frozen" not in table:
        table |= {"frozen": frozen(base, questions), "untuned": questions.move(base.working()), "tuned": {}}
        table["prompts"] = [questions.prompts[0], questions.without[0]]
    for i, record in enumerate(chosen):
        if record.key not in table["tuned"]:
            cell = design["cells"][record.key]
            move = tuned(base, task, record, questions)
            table["tuned"][record.key] = {"source": cell["source"], "target": cell["target"], "move": move}
            told = "diverged" if move is None else f"{move:.4f}"
            say(f"[{i + 1}/{len(chosen)}] {cell['source']} -> {cell['target']}: {told}")
        write_bytes(path, json.dumps(table, indent=1, allow_nan=False).encode() + b"\n")
    return path


def _cells(board: Path, design: dict[str, Any]) -> list[Record]:
    """One record per pair: of the block with most pairs, subjects first, in the form nearest the published."""
    blocks: dict[tuple, dict[tuple, str]] = {}
    plain = {"activation": "relu", "scale": 1.0, "init": "zero"}
    for key, cell in design["cells"].items():
        if (board / "runs" / f"{key}.json").is_file():
            own = blocks.setdefault((cell["base"], cell["task"], cell["seed"]), {})
            pair = cell["source"], cell["target"]
            near = sum(cell[k] == v for k, v in plain.items())
            if pair not in own or near > sum(design["cells"][own[pair]][k] == v for k, v in plain.items()):
                own[pair] = key
    if not blocks:
        raise LitmusError(f"{board} has no finished cell yet: litmus anova runs them")
    best = max(blocks, key=lambda block: (len(blocks[block]), "subject" in block[1]))
    return [read(board / "runs" / f"{key}.json") for key in blocks[best].values()]


if __name__ == "__main__":
    try:
        print(probe(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr, flush=True), *sys.argv[2:]))
    except LitmusError as error:
        sys.exit(f"error: {error}")
