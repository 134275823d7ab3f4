"""Every family, tiny, through the commands: run with six kinds of method, saved, loaded by diffusers, merged.

Runs are done in this process instead of a worker's, which would import everything anew for each family; what workers
do with runs is in tests/bench/test_launch.py and test_smoke.py.
"""

from __future__ import annotations

import importlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench.core.errors import LitmusError
from bench.interop import facts, files, pipelines
from bench.interop.adapters import put
from bench.protocol.models import UNTRAINED
from bench.records.record import Record, read_board

pytestmark = pytest.mark.slow
OPTIONS = "dtype=fp32&resolution=64"


@dataclass(frozen=True)
class Family:
    """methods: of six kinds, LoRA among them; merged: the one that is merged; refused: what its pipeline cannot do."""

    methods: tuple[str, ...]
    merged: str
    refused: str = ""


FAMILIES = {
    "sd15": Family(("lora", "dora", "adapter", "difffit", "bias", "textual_inversion"), "difffit"),
    "sd21": Family(("lora", "loha", "adapter", "norm", "svdiff", "textual_inversion"), "loha"),
    "sdxl": Family(("lora", "lokr", "adapter", "difffit", "bias", "full"), "bias"),
    "sd35": Family(("lora", "oft", "adapter", "difffit", "bias", "full"), "full"),
    "pixart": Family(("lora", "loha", "adapter", "difffit", "bias", "svdiff"), "loha", "loads no LoRA"),
    "flux1": Family(("lora", "dora", "adapter", "difffit", "bias", "diffusekrona"), "diffusekrona"),
    "flux2-klein": Family(("lora", "loha", "adapter", "difffit", "svdiff", "full"), "svdiff"),
}


@dataclass(frozen=True)
class Done:
    """What one `litmus run --save` left: the base's folder, the board's, and its records by method."""

    family: Family
    base: str
    folder: Path
    records: dict[str, Record]

    def file(self, method: str) -> Path:
        return self.folder / "runs" / self.records[method].files["adapter"]


def litmus(*words: object) -> str:
    from bench.__main__ import app

    shown = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    if isinstance(shown.exception, LitmusError):
        raise shown.exception
    assert shown.exit_code == 0, (shown.output, shown.exception)
    return shown.output


@pytest.fixture(scope="module", params=FAMILIES)
def done(request, tiny_base, write_task, tmp_path_factory):
    """One `litmus run` with all methods of a family."""
    from bench.cost import shared
    from bench.runner import board, resolve, worker
    from bench.runner import run as running

    class Here:
        """In place of bench.runner.launch.Launcher."""

        def __init__(self, todo, folder, progress, **options):
            self.todo, self.folder, self.settings = todo, folder / "runs", options["settings"]

        def run(self):
            from bench.records.record import write

            for key, run in self.todo.items():
                record = worker._execute(running.execute, key, run, self.folder, lambda *_: None, self.settings)
                write(record, self.folder)

    measure, measured = running.method_costs, {}

    def once(base, method, *rest):
        """Costs take half of a tiny run: one method's stand for all. Those of every kind are in tests/bench/cost."""
        if not measured:
            measured.update(measure(base, method, *rest))
        return measured

    home, family = tmp_path_factory.mktemp(request.param), FAMILIES[request.param]
    task = write_task(home / "pictures")
    toml = task / "task.toml"
    toml.write_text('licence = "CC0-1.0"\n' + toml.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board, "ask", resolve.look_up)
        patch.setattr(board, "Launcher", Here)
        patch.setattr(shared, "CALLS", 2)  # timings that nobody reads
        patch.setattr(running, "method_costs", once)
        patch.setattr(running, "cores", lambda: 1)  # two threads beside a busy process take ten times as long
        patch.setenv("LITMUS_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "")  # the command sets it for good
        base = f"{tiny_base(request.param)}?{OPTIONS}"
        litmus(
            *("run", "--base", base, "--extractors", "toy", "--task", f"folder:{task}", "--out", home / "mine"),
            *(word for method in family.methods for word in ("-m", method)),
            *("--steps", 2, "--batch", 2, "--lr", 0.02, "--sample-steps", 1, "--workers", 1, "--save", "--offline"),
            *("--device", "cpu"),
        )
        records, faults = read_board(home / "mine")
        assert not faults
        yield Done(family, base, home / "mine", {r.run.method: r for r in records})


def test_every_tiny_base_is_run_or_a_variant_of_one_that_is():
    from bench.bases.tiny import TINY

    assert set(TINY) - {"flux1-schnell", "flux2-dev", "flux2-klein-distilled"} == set(FAMILIES)
    assert all(len(family.methods) == 6 for family in FAMILIES.values())


def test_all_are_trained_sampled_scored_and_saved(done):
    import numpy as np
    from PIL import Image

    floor = done.records["base"]
    assert "licence of the base: cc0-1.0" in floor.notes
    assert set(done.records) - set(UNTRAINED) == set(done.family.methods)
    for method in done.family.methods:
        record = done.records[method]
        assert record.status == "ok", (method, record.error)
        assert len(record.curve.running) == 2
        assert record.cost.scalars_trainable
        assert record.scores["identity"] is not None
        assert record.scores["drift"] != floor.scores["drift"] or method == "textual_inversion", method
        with Image.open(done.folder / "runs" / record.files["grid"]) as picture:
            assert np.asarray(picture).std() > 1
        said = facts.read(files.metadata(done.folder / "runs" / record.files["adapter"]), method)
        assert said is not None
        assert (said.key, said.method, said.data_licence) == (record.key, method, "CC0-1.0")
        assert said.base_weights.keys() == {"denoiser"} | ({"text"} if method == "textual_inversion" else set())


def denoiser(pipe):
    from bench.method import Network

    return Network(pipe.unet if hasattr(pipe, "unet") else pipe.transformer)


def loaded(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("diffusers").DiffusionPipeline.from_pretrained(str(folder))


def test_diffusers_loads_the_lora(done, answer, tmp_path):
    from bench.bases import load_base

    base, out = load_base(done.base), tmp_path / "lora"
    wanted = answer(put(base, done.file("lora")).base.net)
    assert (wanted - answer(base.net)).abs().max() > 1e-4
    if done.family.refused:
        with pytest.raises(LitmusError, match=done.family.refused):
            litmus("export", done.file("lora"), "--out", out)
        assert not out.exists()
        litmus("export", done.file("lora"), "--format", "peft", "--out", out)
    else:
        litmus("export", done.file("lora"), "--out", out, "--offline", "--device", "cpu")
        pipe = loaded(done.base.partition("?")[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe.load_lora_weights(str(out))
        torch.testing.assert_close(answer(denoiser(pipe)), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answer(put(base, out).base.net), wanted, atol=1e-5, rtol=1e-4)


def test_the_merged_pipeline_is_the_tuned_base(done, answer, tmp_path):
    from bench.bases import load_base

    base, method, out = load_base(done.base), done.family.merged, tmp_path / "merged"
    wanted = answer(put(base, done.file(method)).base.net)
    assert (wanted - answer(base.net)).abs().max() > 1e-4
    litmus("merge", done.file(method), "--out", out, "--offline", "--device", "cpu")
    torch.testing.assert_close(answer(denoiser(loaded(out))), wanted, atol=2e-5, rtol=1e-4)
    again = load_base(f"{out}?{OPTIONS}")
    torch.testing.assert_close(answer(again.net), wanted, atol=2e-5, rtol=1e-4)
    assert again.digest != base.digest
    assert json.loads((out / pipelines.ABOUT).read_text())["method"] == method
    with pytest.raises(LitmusError, match="adapter cannot be merged"):
        litmus("merge", done.file("adapter"), "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
