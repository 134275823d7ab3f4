"""`litmus cost`: ratios over paired blocks, and one race on a small network."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
import torch
from typer.testing import CliRunner

from bench.core.errors import LitmusError
from bench.cost import race_tables
from bench.cost.forecast import Setting
from bench.cost.race import Result, race, set_up
from bench.cost.race_tables import as_csv, slug, table, write, written
from bench.cost.speed import Ratio, ratio, spans

CPU = torch.device("cpu")


def test_a_ratio_is_over_blocks():
    """Machine speed changes from block to block and hits both alike; one disturbed call moves nothing."""
    speeds = [1.0, 1.0, 9.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    found = ratio([3 * s for s in speeds], [s if s < 9 else 1.0 for s in speeds], blocks=3)
    assert found.mean == pytest.approx(3)
    assert found.low == pytest.approx(3)
    assert found.high == pytest.approx(3)
    assert found.blocks == 3


def test_its_interval_is_student_s_on_logarithms():
    found = ratio([2.0, 8.0], [1.0, 1.0], blocks=2)  # logs 1 and 3 in base 2: mean 2, deviation sqrt(2), t(1) = 12.706
    assert found.mean == pytest.approx(4)
    assert found.high is not None
    assert math.log2(found.high) == pytest.approx(2 + 12.7062, rel=1e-4)
    assert ratio([2.0], [1.0], 1) == Ratio(2.0, None, None, 1)
    with pytest.raises(ValueError, match="no 3 blocks"):
        ratio([1.0, 1.0], [1.0, 1.0], 3)


def test_calls_take_turns_and_the_warm_up_is_not_kept():
    order: list[str] = []
    found = spans({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, warmup=1, calls=2)
    assert order == ["a", "b"] * 3
    assert [len(x) for x in found.values()] == [2, 2]


@pytest.fixture(scope="module")
def raced():
    setup = set_up("flux2-klein-4b-small", "real", Setting(batch=1, dtype="fp32"), CPU)
    before = {key: value.clone() for key, value in setup.net.state_dict().items()}
    found = list(race(setup, ["adapter", "bias"], blocks=2, calls=1, warmup=1))
    after = setup.net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items()), "the base is left as it was"
    return found


def test_a_race(raced):
    lora, adapter, refused = raced
    assert [one.method for one in raced] == ["lora", "adapter", "bias"]
    for one in (lora, adapter):
        assert one.step > 0
        assert one.images_per_second == pytest.approx(1 / one.step)
        assert one.step_ratio.low <= one.step_ratio.mean <= one.step_ratio.high
        assert min(one.attach, one.load, one.unmerged.mean) > 0
        assert one.bytes_live == pytest.approx(one.bytes_forecast, rel=0.05)
        assert one.bytes_allocated is None
    assert lora.merged.mean > 0
    assert (adapter.merged, adapter.merge, adapter.merge_ratio) == (None, None, None)
    assert refused.step is None
    assert "no module with role 'bias'" in refused.note


def test_tables_and_files(raced, tmp_path):
    header, body = table(raced[:2], many=False)
    assert {len(line) for line in body} == {len(header)}
    assert "allocated" not in header
    about = {"device": "A (R) CPU @ 2 GHz", "machine": {"threads": 1}, "versions": {}, "batch": 1, "dtype": "fp32"}
    about |= {"weights": "random", "started": "now", "reference": "lora", "blocks": 2, "calls": 1}
    files = write(tmp_path / "x", [*raced, Result("sd15-small", "z", note="why not")], about)
    assert [path.name for path in files] == ["cost.md", "cost.csv", "cost.json"]
    assert "- z: why not" in files[0].read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(as_csv(raced))))
    assert float(rows[0]["step_ratio_mean"]) == raced[0].step_ratio.mean
    assert json.loads(files[2].read_text(encoding="utf-8"))["rows"][0]["step_ratio"]["blocks"] == 2


def test_words():
    assert written(Ratio(1.041, 1.009, 1.07, 8)) == "1.04 [1.01, 1.07]"
    assert written(Ratio(1.041, None, None, 1)) == "1.04"
    assert written(None) == "–"
    assert slug("AMD EPYC 7B13 64-Core Processor") == "amd-epyc-7b13-64-core"
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


@pytest.mark.parametrize(
    ("name", "weights", "line"),
    [
        ("sd15-smal", "real", "unknown base"), ("sd51-small", "real", "did you mean 'sd15-small'"),
        ("sd51", "random", "did you mean 'sd15'"), ("pocket", "rael", "did you mean 'real'"),
    ],
)  # fmt: skip
def test_what_is_no_ground(name, weights, line):
    with pytest.raises(LitmusError, match=line):
        set_up(name, weights, Setting(), CPU)


@pytest.mark.parametrize(("name", "methods"), [("sdxl", "adapter,bias,textual_inversion"), ("flux1", "adapter")])
def test_a_folder_is_raced_on_as_it_is_trained(tiny_base, name, methods):
    """Bases without a tokenizer, with pooled text vectors, in bf16 under autocast."""
    from bench.__main__ import app

    args = ["cost", "--base", f"{tiny_base(name)}?resolution=64", "--methods", methods, "--batch", "1", "--json"]
    done = CliRunner().invoke(app, [*args, "--blocks", "2", "--calls", "1"])
    assert done.exception is None, done.output
    found = json.loads(done.stdout)
    assert found["about"]["dtype"] == "bf16"
    for row in found["rows"]:
        if row["method"] == "textual_inversion":
            assert "single CLIP" in row["note"]
            continue
        if row["method"] == "bias":  # a CPU's norms take no float32 bias beside a bfloat16 weight
            assert "does not train in bf16 on this device" in row["note"]
            continue
        assert row["note"] == ""
        assert row["bytes_stored"] == 4 * row["scalars"]
        assert row["bytes_live"] == pytest.approx(row["bytes_forecast"], rel=0.05)
        assert row["step_ratio"]["mean"] > 0


def test_a_folder_with_one_clip_takes_methods_of_the_text_side(tiny_base):
    setup = set_up(f"{tiny_base('sd15')}?dtype=fp32", "real", Setting(batch=1, dtype="fp32"), CPU)
    assert setup.example.ids is not None
    _, found = race(setup, ["textual_inversion"], blocks=2, calls=1, warmup=1)
    assert found.note == ""
    assert found.bytes_live == pytest.approx(found.bytes_forecast, rel=0.05)


def test_a_folder_has_its_own_dtype(tiny_base):
    with pytest.raises(LitmusError, match=r"is in bf16, not in fp32: leave --dtype out, or give --base .*dtype=fp32"):
        set_up(str(tiny_base("sdxl")), "real", Setting(dtype="fp32"), CPU, "fp32")


def test_the_command_refuses_in_words():
    from bench.__main__ import app

    for wrong in (["--device", "cdua"], ["--format", "csv"], ["--dtype", "fp23"], ["--base", "pokcet"]):
        assert isinstance(CliRunner().invoke(app, ["cost", *wrong]).exception, LitmusError), wrong


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_allocator_is_asked():
    setup = set_up("sd15-small", "real", Setting(batch=2, dtype="bf16"), torch.device("cuda"))
    (lora,) = race(setup, ["lora"], blocks=2, calls=1)
    assert lora.bytes_allocated is not None
    assert (lora.bytes_reserved or 0) >= lora.bytes_allocated
    assert lora.bytes_allocated == pytest.approx(lora.bytes_forecast, rel=0.1)


def test_what_trains_the_base_s_own_tensors_has_nothing_to_merge():
    """Its merge is a function that does nothing: a ratio of it to a reference's says nothing, least of all 0.00."""
    from bench.cost.race import folds
    from bench.method import make

    assert [name for name in ("bias", "full", "norm", "lora", "adapter", "dora") if folds(make(name))] == [
        "lora",
        "dora",
    ]
    setup = set_up("sd15-small", "real", Setting(batch=1, dtype="fp32"), CPU)
    (lora, bias) = race(setup, ["bias"], blocks=2, calls=1, warmup=1)
    assert lora.merge_ratio is not None
    assert (bias.merge, bias.merge_ratio) == (None, None)
    assert bias.merged is not None
    header, (line,) = table([bias], many=False)
    assert line[header.index("merge")] == "–"


def test_a_small_ratio_keeps_two_figures():
    assert written(Ratio(0.0042, 0.0039, 0.13, 8)) == "0.0042 [0.0039, 0.13]"
    assert written(Ratio(1.0442, 0.99, 1.1, 8)) == "1.04 [0.99, 1.10]"


def test_a_busy_machine_is_told_of_on_the_page_and_at_the_start(monkeypatch, tmp_path, capsys):
    from bench.commands import cost
    from bench.core import busy

    monkeypatch.setattr(busy, "share", lambda seconds: 0.63)
    monkeypatch.setattr("bench.cost.race.race", lambda *args, **more: iter(()))
    given: dict = {
        "methods": "lora",
        "device": "cpu",
        "write": str(tmp_path),
        "blocks": 2,
        "calls": 1,
        "weights": "real",
    }
    given |= {"reference": "lora", "batch": 1, "resolution": None, "dtype": None, "form": "table", "json_": False}
    cost.cost("sd15-small", **given)
    assert "other programs take 63%" in capsys.readouterr().err
    about = {
        "device": "x",
        "batch": 1,
        "dtype": "fp32",
        "weights": "real",
        "reference": "lora",
        "blocks": 2,
        "calls": 1,
    }
    about |= {"machine": {"threads": 1}, "versions": {}, "started": "now"}
    assert "other programs" in race_tables.page([], about | {"busy": busy.warning()})
    assert "other programs" not in race_tables.page([], about)
