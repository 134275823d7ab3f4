"""Our `lora` against diffusers' own train_dreambooth_lora.py, on the pocket base: same pictures, prompt, steps, rank.

The script is not part of this repository: fetch it from huggingface/diffusers (examples/dreambooth), of the release
that is installed, and give its path. It needs accelerate, which Litmus installs.

    python tests/perf/peers.py --script train_dreambooth_lora.py
    python tests/perf/peers.py --script train_dreambooth_lora.py --pairs 5 --tasks 4 --threads 2 --workers 2

Each pair trains `--tasks` subjects on both sides, one side after the other and in turn first, in processes of their own
on the same number of cores. Theirs is one process for each subject, as the script is made; ours is one process for
all of them, as `litmus bench` works. With `--workers 2` the subjects of our suite are dealt to two processes side by
side, each with its share of the threads, as `litmus bench` does by itself. What is printed, as theirs / ours:

    step        median time between two optimiser steps, clocked on both sides by the same hook on torch's optimisers
    one         from the start of a process to the adapter on the disk, one subject
    suite       the same for all subjects

What differs is said, not hidden: theirs encodes each picture again in every step and reads its loss in each; ours does
that once and every ten steps, and reads its fixed loss table three times, which is in `one` and `suite`. Training alone
is timed: no side draws or scores a picture, and ours writes no record, so none of the three is the time of a board.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("robot", "mug", "cat", "car", "lamp", "teapot")  # those that are there are taken, others after them


def main() -> None:
    options = _options()
    if options.side:
        _SIDES[options.side](options)
        return
    names = _tasks(options.tasks)
    print(f"{len(names)} subjects: {', '.join(names)}; {options.steps} steps of {options.batch}, rank {options.rank}, "
          f"{options.threads} threads, {options.workers} workers, {options.pairs} pairs")  # fmt: skip
    ratios: dict[str, list[float]] = {"step": [], "one": [], "suite": []}
    for i in range(options.pairs):
        sides = ("theirs", "ours") if i % 2 == 0 else ("ours", "theirs")
        with tempfile.TemporaryDirectory() as folder:
            found = {side: _measure(side, names, options, Path(folder)) for side in sides}
        for what, values in ratios.items():
            values.append(found["theirs"][what] / found["ours"][what])
        print(f"pair {i + 1}: " + ", ".join(_said(what, found, ratios[what][-1]) for what in ratios), flush=True)
    print("\n".join(summary(ratios)))


def summary(ratios: dict[str, list[float]]) -> list[str]:
    """The lines of the end: of each ratio its geometric mean over the pairs, the lowest and the highest."""
    lines = ["theirs / ours over the pairs, geometric mean (lowest to highest):"]
    for what, values in ratios.items():
        mean = math.exp(statistics.fmean(map(math.log, values)))
        lines.append(f"  {what:6} {mean:.2f} ({min(values):.2f} to {max(values):.2f})")
    return lines


def times(seconds: list[float], steps: list[float], side: str) -> dict[str, float]:
    """{"step", "one", "suite"} in seconds, from those of a side's rounds (see `rounds`) and of all its steps.

    Theirs has a round for each subject; ours one for the first alone, for `one`, and one for all.
    """
    whole = sum(seconds) if side == "theirs" else seconds[-1]
    return {"step": statistics.median(steps), "one": seconds[0], "suite": whole}


def rounds(side: str, names: list[str], workers: int = 1) -> list[list[list[str]]]:
    """What a side does one after the other: each a list of processes side by side, by the subjects that they train."""
    if side == "theirs":
        return [[[name]] for name in names]
    dealt = [names[i::workers] for i in range(min(workers, len(names)))]
    return [[names[:1]], dealt][: len(names)]


def copies(pictures: int, batch: int) -> int:
    """How often each picture lies in the script's folder, so that none of its batches is short.

    Its loader ends each pass over the folder with what is left: of 5 pictures in batches of 4 every other step would
    train on one picture, and be no step of ours.
    """
    return math.lcm(pictures, batch) // pictures


def _options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True, help="diffusers' train_dreambooth_lora.py")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=3, help="subjects of the suite")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes of our suite, which share the threads")
    parser.add_argument("--side", choices=("theirs", "ours"), help=argparse.SUPPRESS)  # a process of a measurement
    parser.add_argument("--names", default="", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if not options.script.is_file():
        parser.error(
            f"no file {options.script}: fetch examples/dreambooth/train_dreambooth_lora.py of huggingface/diffusers"
        )
    counts = (options.pairs, options.tasks, options.batch, options.rank, options.threads, options.workers)
    if min(*counts, options.steps - 1) < 1:
        parser.error("pairs, tasks, batch, rank, threads and workers are at least 1, steps at least 2")
    if options.threads % options.workers:
        parser.error(f"{options.threads} threads cannot be shared equally by {options.workers} workers")
    return options


def _tasks(n: int) -> list[str]:
    from bench.tasks import list_tasks

    there = [name for name in list_tasks() if name.startswith("pocket/subject-")]
    first = [f"pocket/subject-{name}" for name in SUBJECTS if f"pocket/subject-{name}" in there]
    return (first + [name for name in there if name not in first])[:n]


def _said(what: str, found: dict[str, dict[str, float]], ratio: float) -> str:
    return f"{what} {found['theirs'][what]:.3f} s / {found['ours'][what]:.3f} s = {ratio:.2f}"


def _measure(side: str, names: list[str], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """{"step", "one", "suite"} in seconds. Steps are of the processes that have all the threads to themselves."""
    seconds, steps = [], []
    for i, groups in enumerate(rounds(side, names, options.workers)):
        outs = [folder / f"{side}-{i}-{j}" for j in range(len(groups))]
        start = time.perf_counter()
        begun = [_begin(side, *one, options, options.threads // len(groups)) for one in zip(groups, outs, strict=True)]
        for process, group, out in zip(begun, groups, outs, strict=True):
            _end(process, side, group, out)
        seconds.append(time.perf_counter() - start)
        steps += json.loads((outs[0] / "steps.json").read_text()) if len(groups) == 1 else []
    return times(seconds, steps, side)


def _begin(
    side: str, names: list[str], out: Path, options: argparse.Namespace, threads: int
) -> subprocess.Popen[bytes]:
    out.mkdir()
    shared = ("script", "steps", "batch", "rank", "lr")
    words = [f"--{key}={getattr(options, key)}" for key in shared] + [f"--threads={threads}"]
    environment = {
        **os.environ,
        **{key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with open(out / "said.txt", "wb") as said:
        return subprocess.Popen(
            [sys.executable, __file__, *words, f"--side={side}", f"--names={','.join(names)}", f"--out={out}"],
            stdout=said,
            stderr=said,
            env=environment,
        )


def _end(process: subprocess.Popen[bytes], side: str, names: list[str], out: Path) -> None:
    if process.wait() or not (out / "steps.json").is_file():
        last = "\n".join((out / "said.txt").read_text(errors="replace").strip().splitlines()[-15:])
        sys.exit(f"{side} failed on {', '.join(names)}:\n{last}")


# --- inside a measurement's process -------------------------------------------------------------------------------


class _Clock:
    """Times between optimiser steps, of every optimiser of this process."""

    def __init__(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.last: float | None = None
        self.seconds: list[float] = []
        register_optimizer_step_post_hook(self._tick)

    def _tick(self, *_: object) -> None:
        now = time.perf_counter()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now

    def rest(self) -> None:
        """What lies between two trainings is no step."""
        self.last = None

    def write(self, out: Path) -> None:
        (out / "steps.json").write_text(json.dumps(self.seconds))


def _theirs(options: argparse.Namespace) -> None:
    import torch

    from bench.bases.pocket import FOLDER
    from bench.tasks import load

    torch.set_num_threads(options.threads)
    task = load(options.names)
    pictures = options.out / "pictures"
    pictures.mkdir()
    for i, picture in enumerate(task.train * copies(len(task.train), options.batch)):
        (pictures / f"{i}{picture.file.suffix}").write_bytes(picture.file.read_bytes())
    said = {
        "pretrained_model_name_or_path": FOLDER,
        "instance_data_dir": pictures,
        "instance_prompt": prompt(task),
        "output_dir": options.out / "lora",
        "resolution": 64,
        "train_batch_size": options.batch,
        "max_train_steps": options.steps,
        "learning_rate": options.lr,
        "lr_scheduler": "constant",
        "rank": options.rank,
        "seed": 0,
        "mixed_precision": "no",
        "num_validation_images": 0,
    }
    clock = _Clock()
    sys.argv = [str(options.script), *(f"--{key}={value}" for key, value in said.items())]
    runpy.run_path(str(options.script), run_name="__main__")
    assert (options.out / "lora" / "pytorch_lora_weights.safetensors").is_file(), "it wrote no adapter"
    clock.write(options.out)


def _ours(options: argparse.Namespace) -> None:
    from dataclasses import replace

    import torch

    from bench.bases import load_base
    from bench.core.rng import rng
    from bench.interop import files
    from bench.method import attached, make, state
    from bench.protocol.models import Train
    from bench.tasks import load
    from bench.training.loop import fit

    torch.set_num_threads(options.threads)
    base, method, clock = load_base("pocket"), make("lora", rank=options.rank), _Clock()
    for name in options.names.split(","):
        task = load(name)
        one = tuple(replace(picture, caption=prompt(task)) for picture in task.train)
        task = replace(task, train=one, heldout=()).at(base.resolution)
        tuned = base.fork()
        attached(method, tuned.net, rng("init", 0))
        fit(tuned, method, task, Train(steps=options.steps, batch=options.batch), lr=options.lr)
        files.write(options.out / f"{task.name.replace('/', '-')}.safetensors", state(tuned.net), {})
        clock.rest()
    clock.write(options.out)


def prompt(task) -> str:
    """The one prompt that the script knows: DreamBooth's."""
    return f"a {task.identifier} {task.class_word}"


_SIDES = {"theirs": _theirs, "ours": _ours}

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # a clone that is not installed will do
    main()
