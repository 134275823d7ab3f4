"""`litmus fit`: settings, rows, verdicts, tables, and a folder that is taken up again."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.bases.architectures import shape
from bench.commands.shared import counting
from bench.core.errors import LitmusError
from bench.core.text import refusals
from bench.cost.forecast import (
    FITS,
    NOT,
    WITH,
    Row,
    Setting,
    assumed,
    base_name,
    chosen,
    gigabytes,
    row,
    rows,
    verdict,
)
from bench.cost.forecast_figure import figure, lightest_first
from bench.cost.forecast_tables import amount, read_rows, table, wide, write, write_rows, written
from bench.cost.memory import module_tensors
from bench.cost.step import Step, size
from bench.method import METHODS, Method, make

GIB = 2**30


@pytest.fixture(scope="module")
def counted():
    """Rows of the pocket base, and one without a place; ready to be put into tables."""
    small = Setting(batch=2, dtype="fp32")
    return small, [*rows(["lora", "bias"], ["pocket"], small), row("flux2-klein-4b", make("bias"), small)]


@pytest.mark.parametrize(
    ("text", "size"), [("12", 12), ("12GB", 12), ("11.5 GiB", 11.5), ("6144MB", 6), ("0.5g", 0.5), ("0GB", 0)]
)
def test_memory_as_people_write_it(text, size):
    assert gigabytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "12TB", "GB"])
def test_what_is_no_memory(text):
    with pytest.raises(LitmusError, match="write 12GB or 11264MB"):
        gigabytes(text)


def test_a_base_by_its_beginning_where_no_other_begins_so():
    assert base_name("flux2-klein") == "flux2-klein-4b"
    assert base_name("FLUX1") == "flux1-dev"
    assert base_name("sd15") == "sd15"
    for text in ("sd35", "sdx1"):
        with pytest.raises(LitmusError, match="did you mean 'sd"):
            base_name(text)


@pytest.mark.parametrize(
    ("wrong", "line"), [({"dtype": "bf61"}, "did you mean 'bf16'"), ({"attention": "maths"}, "did you mean 'math'")]
)
def test_a_mistyped_setting_gets_the_nearest(wrong, line):
    with pytest.raises(LitmusError, match=line):
        Setting(**wrong)


def test_what_is_trained_in_bf16_goes_with_a_base_in_bf16():
    assert Setting().mixed
    assert not Setting(trained="bf16").mixed
    assert not Setting(dtype="fp32").mixed
    with pytest.raises(LitmusError, match="add --dtype bf16"):
        Setting(dtype="fp32", trained="bf16")
    with pytest.raises(LitmusError, match="did you mean 'bf16'"):
        Setting(trained="bf61")


def test_full_fine_tuning_takes_its_sixteen_bytes_and_more():
    """The pocket base keeps its float32 weights under autocast, so there it is what `litmus run --dtype bf16` does."""
    mixed, plain = (row("pocket", make("full"), Setting(batch=1, dtype=dtype)).plain for dtype in ("bf16", "fp32"))
    assert mixed is not None
    assert plain is not None
    assert (mixed.weights, mixed.moments) == (plain.weights, plain.moments) == (4 * 9_082_564, 8 * 9_082_564)
    assert mixed.peak >= 16 * 9_082_564
    assert mixed.saved != plain.saved


def test_where_a_count_stands_is_said_once_for_a_base(capsys):
    with counting(["sd15", "sd15", "pocket"]) as counted:
        for base in ("sd15", "sd15", "pocket"):
            counted(base)
    assert capsys.readouterr().err == "counting 2 methods on sd15\ncounting 1 method on pocket\n"


def test_in_a_terminal_there_is_a_bar_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with counting(["sd15", "pocket"]) as counted:
        for base in ("sd15", "pocket"):
            counted(base)
    said = capsys.readouterr().err
    assert "counting on pocket" in said
    assert "1/2" in said
    assert "left" in said


def test_sides_of_latents():
    assert Setting().side("sd15") == 64
    assert Setting().side("pocket") == 16
    assert Setting(resolution=1024).side("flux1-dev") == 128
    with pytest.raises(LitmusError, match="a multiple of 16, not 500"):
        Setting(resolution=500).side("sd15")


def test_verdicts():
    def step(gib):
        return Step(0, 0, 0, 0, int(gib * GIB), 0, 0)

    card = Setting(vram=12, reserve=1)
    assert verdict(step(11), step(5), card) == FITS
    assert verdict(step(11.1), step(5), card) == WITH
    assert verdict(None, step(11), card) == WITH
    assert verdict(step(20), step(11.1), card) == NOT


def test_all_is_whatever_trains_something():
    assert {method.name for method in chosen(["all"])} == {method.name for method in chosen()} == {*METHODS} - {"base"}


@pytest.mark.slow
def test_lora_on_stable_diffusion():
    """Figures of a count by another program (fake tensors) on another version of torch, in docs/costs.md."""
    found = row("sd15", make("lora", rank=16), Setting(vram=3, trained="bf16"))
    assert found.scalars == 3_188_736
    assert found.plain is not None
    assert found.checkpointed is not None
    assert found.plain.flops_step == pytest.approx(1.79e12, rel=0.01)
    assert found.plain.flops_forward == pytest.approx(0.80327e12, rel=0.01)
    assert found.plain.weights == 2 * (859_520_964 + 3_188_736)
    assert found.plain.moments == 2 * 2 * 3_188_736
    assert found.verdict == WITH


def test_a_row_is_the_step_and_what_follows_from_its_shapes(counted):
    setting, (lora, bias, refused) = counted
    assert (lora.scalars, lora.bytes_stored) == (66_304, 4 * 66_304)
    assert lora.share == pytest.approx(66_304 / 9_082_564)
    assert lora.verdict == bias.verdict == FITS
    assert lora.checkpointed is None
    assert lora.plain.moments == 2 * lora.bytes_stored
    assert lora.plain.resident > 4 * 9_082_564
    assert refused.scalars is None
    assert "no module with role 'bias'" in refused.note
    checkpointed = row("pocket", make("lora"), replace(setting, checkpointing=True))
    assert checkpointed.plain is None
    assert checkpointed.checkpointed is not None
    assert checkpointed.checkpointed.saved < lora.plain.saved
    assert checkpointed.checkpointed.flops_step > lora.plain.flops_step
    tiny = row("pocket", make("lora"), replace(setting, vram=0.01, reserve=0))
    assert (tiny.plain, tiny.verdict) == (lora.plain, NOT)


@pytest.mark.parametrize("name", ["lora", "adapter", "bias", "full"])
def test_the_pocket_base_takes_what_its_records_say(name):
    """Measured by many runs with real weights; they had the text encoder in memory, and AdamW not fused."""
    folder = Path(__file__).resolve().parents[3] / "results" / "quick" / "runs"
    costs = [
        record["cost"]
        for record in (json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json"))
        if "run" in record and (record["run"]["spec"], record["run"]["objective"]) == (name, "plain")
    ]
    assert costs
    found = row("pocket", make(name), Setting(batch=4, dtype="fp32"))
    text = shape("pocket").text
    assert found.plain is not None
    assert text is not None
    whole = found.plain.peak + size(module_tensors(text))
    for cost in costs:
        assert cost["scalars_trainable"] == found.scalars
        assert cost["flops_step"] == found.plain.flops_step
        assert cost["bytes_peak"] == pytest.approx(whole, rel=0.05)


@dataclass(frozen=True)
class Reader(Method):
    name = "reader"
    paper = "none"

    def attach(self, net, rng):
        for p in net.denoiser.parameters():
            p.requires_grad_(bool(p.sum() > 0))


def test_a_method_that_reads_numbers_says_so_and_stops_nobody(monkeypatch):
    monkeypatch.setitem(METHODS, "reader", Reader)
    one, two = rows(["reader", "bias"], ["pocket"])
    assert one.note.startswith("cannot be counted from shapes: ")
    assert (one.scalars, two.note) == (None, "")
    with pytest.raises(LitmusError, match="unknown method"):
        list(rows(["raeder"], ["pocket"]))


def test_a_method_that_must_have_numbers_is_given_a_few_and_not_many():
    found = row("sd35-medium", make("shira"), Setting())
    assert re.fullmatch(r"peft starts from the numbers of the weights, [\d,]+ million here: not counted", found.note)
    assert row("pocket", make("shira"), Setting()).note == ""


def test_tables(counted):
    setting, found = counted
    header, body = table(found, setting, many=True)
    assert (header[:3], header[-1]) == (["base", "method", "trainable"], "on 24 GB")
    assert [line[:3] for line in body] == [["pocket", "lora", "66,304"], ["pocket", "bias", "26,820"]]
    assert {len(line) for line in body} == {len(header)}
    header, body = wide(found)
    assert header == ["method", "pocket", "FLUX.2-klein-4B"]
    assert body[1][2] == "–"
    assert refusals(found) == [f"bias on flux2-klein-4b: {found[2].note}"]
    sheet = list(csv.DictReader(io.StringIO(written(found, setting, "csv"))))
    assert sheet[0]["plain_peak"] == str(found[0].plain.peak)
    assert sheet[2]["plain_peak"] == ""
    assert json.loads(written(found, setting, "json"))["rows"][0]["plain"]["peak"] == found[0].plain.peak
    assert written(found, setting, "md").startswith("| base | method | trainable |")


def test_amounts():
    assert [amount(n) for n in (None, 512, 6_377_472, 2_830_133_016)] == ["–", "512 B", "6.08 MiB", "2.64 GiB"]


def test_the_picture_has_the_lightest_method_first_and_every_mark(counted):
    step = counted[1][0].plain
    sizes = {
        ("sd15", "a"): 4,
        ("sd15", "b"): 2,
        ("sdxl", "a"): 32,
        ("sdxl", "b"): 8,
        ("sdxl", "c"): 4,
        ("pocket", "a"): 1,
    }
    found = [Row(base, method, plain=replace(step, peak=n * GIB)) for (base, method), n in sizes.items()]
    found[2] = replace(found[2], checkpointed=replace(step, peak=6 * GIB))
    assert lightest_first({(row.base, row.method): row for row in found[:5]}) == ["c", "b", "a"]
    drawn = figure(found, Setting())
    assert drawn == figure(found, Setting()) != figure(found, Setting(vram=64))
    assert drawn.count(b'id="axes_') == 2, "the pocket base has no panel beside others"
    assert figure([counted[1][0]], Setting()).count(b'id="axes_') == 1


def test_a_folder_is_taken_up_again(tmp_path, counted, monkeypatch):
    setting, found = counted
    assert read_rows(tmp_path, setting) == []
    write_rows(tmp_path, found[:1], setting)
    assert read_rows(tmp_path, setting) == found[:1]
    names = [path.name for path in write(tmp_path, found, setting)]
    assert sorted(names) == ["fit.csv", "fit.json", "fit.md", "fit.svg"] == sorted(p.name for p in tmp_path.iterdir())
    assert sorted(read_rows(tmp_path, setting), key=str) == sorted(found, key=str)
    with pytest.raises(LitmusError, match="holds another setting"):
        read_rows(tmp_path, replace(setting, batch=4))
    monkeypatch.setattr("bench.cost.forecast_tables.versions", lambda: {"torch": "0"})
    assert read_rows(tmp_path, setting) == [], "counted by other versions"
    (tmp_path / "fit.json").write_text("{")
    with pytest.raises(LitmusError, match="cannot read .*fit.json"):
        read_rows(tmp_path, setting)


def test_a_row_without_a_number_is_a_row():
    assert Row("sd15", "lora", note="x").verdict == ""


def test_the_command(tmp_path, monkeypatch):
    from bench.__main__ import app

    ask = CliRunner()
    said = ask.invoke(app, ["fit", "--base", "pocket", "--methods", "bias", "--json"])
    assert json.loads(said.stdout)["rows"][0]["scalars"] == 26_820
    folder = tmp_path / "fit"
    for line in ("counting 1 method on pocket", "1 rows are already counted"):
        said = ask.invoke(app, ["fit", "--base", "pocket", "--methods", "bias", "--write", str(folder)])
        assert line in said.output
        assert "fit.md" in said.output
    assert "| bias | 26,820 |" in (folder / "fit.md").read_text(encoding="utf-8")
    for wrong in (["--base", "sdx1"], ["--methods", "lroa"], ["--dtype", "fp23"], ["--vram", "x"], ["--format", "cvs"]):
        said = ask.invoke(app, ["fit", *wrong])
        assert isinstance(said.exception, LitmusError), wrong


# Measured once on an NVIDIA H200: live bytes of a step, random weights of true size, bf16, batch 4, 512 px (costs.md).
@pytest.mark.slow
@pytest.mark.parametrize(("method", "mebibytes"), [("lora", 6082.5), ("full", 16272.6)])
def test_the_forecast_is_what_a_gpu_s_tensors_took(method, mebibytes):
    found = row("sd15", make(method), Setting(batch=4, resolution=512, dtype="bf16"))
    assert found.plain is not None
    assert found.plain.peak / 2**20 == pytest.approx(mebibytes, abs=0.05)


def test_what_a_verdict_rests_on_is_said():
    lines = assumed(["sd15", "sdxl", "pocket"], Setting(batch=2))
    assert lines[0].startswith("assumed: batch 2, 512 px or 64 px, bf16")
    assert lines[1:] == ["note: SDXL: made for 1024 px, which takes more: --resolution 1024"]
    assert len(assumed(["sdxl"], Setting(resolution=1024))) == 1
