"""A run keeps its adapter where it is asked to, and everything can be had from it: export, merge, score."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from bench.core.errors import LitmusError
from bench.core.settings import Settings
from bench.interop import facts, files, saved
from bench.interop.adapters import put
from bench.protocol.models import load_protocol
from bench.records.record import Record
from bench.runner import run as running
from bench.runner.plan import expand, key
from bench.runner.resolve import look_up
from bench.tasks import load


@pytest.fixture
def done(toy_protocol, tmp_path):
    """A function: done(save) -> (record of LoRA on a toy subject, its folder)."""

    def do(save: bool = True):
        running._task.cache_clear()
        protocol = load_protocol(toy_protocol())
        plan = expand(protocol, look_up(protocol)).values()
        (run,) = [r for r in plan if r.spec == "lora" and r.task.endswith("subject-a")]
        record = running.execute(key(run), run, tmp_path / "board/runs", lambda *_: None, Settings(save=save))
        from bench.records.record import write

        write(record, tmp_path / "board/runs")
        return record, tmp_path / "board/runs"

    return do


def test_nothing_is_kept_unasked_and_a_run_is_done_again_when_it_is_asked_for(done, toy_protocol):
    from bench.runner.board import plan, saving

    record, folder = done(save=False)
    assert "adapter" not in record.files
    assert [file.name for file in folder.glob("*.safetensors")] == [record.files["features"]]
    protocol = load_protocol(toy_protocol())
    board = plan(protocol, folder.parent, catalogue=look_up(protocol))
    assert record.key in board.have
    asked = saving(board)
    assert asked.settings.save
    assert not board.settings.save
    assert asked.todo[record.key] == record.run
    assert record.key not in asked.have


def test_a_start_cut_from_the_run_s_own_batches_is_kept(toy_base, trained, kept, answer):
    """CorDA and LoRA-GA take their start out of W: without what was cut, the state is of no use."""
    target = torch.zeros(2, 4, 8, 8)

    def loss(net):
        stream = torch.Generator().manual_seed(5)
        x, context = torch.randn(2, 4, 8, 8, generator=stream), torch.randn(2, 16, 16, generator=stream)
        return (net(x, torch.tensor([5, 600]), context) - target).square().mean()

    for spec in ("corda[rank=2]", "lora_ga[rank=2]"):
        tuned, method = trained(toy_base, spec, losses=[loss])
        back = put(toy_base, kept(toy_base, tuned, method))
        torch.testing.assert_close(answer(back.base.net), answer(tuned.net), atol=1e-5, rtol=1e-4)
        tensors, header = files.read(back.file)
        files.write(back.file, {k: x for k, x in tensors.items() if not k.startswith(saved.MOVED)}, header)
        assert (answer(put(toy_base, back.file).base.net) - answer(tuned.net)).abs().max() > 1e-4


def test_the_base_is_found_by_the_record_or_by_name(make_run, tmp_path, monkeypatch):
    """A file's header leaves out where a folder lay: its record beside it has the path, the folder may be here."""
    file, kept_with = tmp_path / "k.safetensors", tmp_path / "k.json"

    def base_is(name: str, in_record: str = ""):
        files.write(file, {"x": torch.zeros(1)}, facts.header(facts.Facts(kind="litmus", base=name)))
        run = make_run().model_copy(update={"base": in_record or name})
        record = Record(key="k", run=run, status="ok", files={"adapter": file.name})
        kept_with.write_text(record.model_dump_json(), encoding="utf-8")
        return saved.base_of(kept_with), saved.base_of(file)

    models = tmp_path / "models" / "sdxl"
    models.mkdir(parents=True)
    assert base_is("toy") == ("toy", "toy")
    assert base_is("owner/name@main?dtype=bf16") == ("owner/name@main?dtype=bf16",) * 2
    assert base_is("sdxl?dtype=bf16", f"{models}?dtype=bf16") == (f"{models}?dtype=bf16",) * 2
    kept_with.unlink()
    with pytest.raises(LitmusError, match=r"trained on the folder sdxl, .* give --base FOLDER"):
        saved.base_of(file)
    kept_with.write_text('{"somebody": "else"}')
    monkeypatch.chdir(models.parent)
    assert saved.base_of(file) == "sdxl?dtype=bf16"


def test_a_method_whose_file_changed_is_refused(toy_base, trained, kept):
    tuned, method = trained(toy_base, "lora")
    with pytest.raises(LitmusError, match="has changed since"):
        put(toy_base, kept(toy_base, tuned, method, source="0123"))


def test_a_run_s_adapter_is_kept_with_all_about_it_and_the_commands_take_it(
    done, tmp_path, monkeypatch, task_folder, toy_base, answer
):
    from bench.__main__ import app

    record, folder = done()
    said = facts.read(files.metadata(folder / record.files["adapter"]), "x")
    assert said is not None
    assert (said.key, said.method, said.base_digest, said.trigger) == (record.key, "lora", toy_base.digest, "sks")
    assert said.scores == record.scores
    assert said.versions == record.provenance.versions
    assert said.base_licence
    assert said.data_licence == facts.UNKNOWN
    licensed = replace(load("toy/subject-a"), licence="CC0-1.0")
    assert facts.of_run(record, toy_base, licensed).data_licence == "CC0-1.0"
    assert said.base_weights == {}  # no file holds the toy base's weights
    tuned = put(toy_base, folder / f"{record.key}.json")
    assert tuned.facts == said
    assert tuned.method is not None
    file, run = str(folder / f"{record.key}.json"), CliRunner()
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> str:
        shown = run.invoke(app, list(words))
        assert shown.exit_code == 0, (shown.output, shown.exception)
        return shown.output

    assert record.key in call("adapter", file)
    for form, out in (("diffusers", "d"), ("peft", "p"), ("kohya", "k.safetensors")):
        call("export", file, "--format", form, "--out", str(tmp_path / out))
        assert "lora" in call("adapter", str(tmp_path / out))
        back = put(toy_base, tmp_path / out)
        torch.testing.assert_close(answer(back.base.net), answer(put(toy_base, folder / f"{record.key}.json").base.net))
    words = ["--base", "toy", "--extractors", "toy", "--steps", "2", "--task", f"folder:{task_folder()}"]
    shown = call("score", "--lora", str(tmp_path / "k.safetensors"), *words, "--out", str(tmp_path / "s"))
    assert "identity" in shown
    table = json.loads((tmp_path / "s/scores.json").read_text())
    assert set(table["scores"]) == {"base", "k.safetensors", "truth"}
    assert table["scores"]["base"]["drift"] == pytest.approx(0, abs=1e-6)
    assert table["scores"]["k.safetensors"]["drift"] > 0
    assert (tmp_path / "s/pictures-0.png").is_file()
    refused = run.invoke(app, ["merge", file, "--out", str(tmp_path / "m")])
    assert isinstance(refused.exception, LitmusError)
    assert "has no pipeline" in str(refused.exception)
    refused = run.invoke(app, ["export", file, "--format", "difusers", "--out", str(tmp_path / "y")])
    assert "did you mean 'diffusers'" in str(refused.exception)
