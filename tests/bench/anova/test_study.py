"""The study as a board: planned and run in this process on toy bases, U-Net and transformers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.anova.places import look
from bench.bases import load_base
from bench.bases.toy import toy_base, toy_network
from bench.bases.toy_transformers import toy_transformer
from bench.core.errors import LitmusError
from bench.method import make
from bench.network.sites import PAIRS
from bench.protocol.models import make_protocol


@pytest.fixture
def base(monkeypatch):
    """A function: base(kind) registers a toy base whose denoiser is a tiny random SD 3 or PixArt, and names it."""
    from bench.bases import BASES, BaseSource

    def register(kind: str) -> str:
        name = f"toy-{kind}"

        class Kind(BaseSource):
            title = "a transformer"
            open_words = False

            def load(self):
                one = toy_base()
                net = toy_transformer(kind)
                net.text = one.net.text
                return replace(one, name=name, net=net, digest=kind)

        Kind.name = name
        monkeypatch.setitem(BASES, name, Kind)
        return name

    return register


def protocol(base, task, **anova):
    table = {"name": "t", "base": base, "extractors": "toy", "tasks": [task], "train": {"steps": 1, "batch": 1}}
    return make_protocol({**table, "sample": {"steps": 1}, "anova": anova})


def planned(rules, folder):
    from bench.anova import study
    from bench.plugin.spec import label
    from bench.protocol.models import Row
    from bench.runner.resolve import look_up

    a = rules.anova
    found = look(rules.base, load_base(rules.base).net, a.inputs, a.outputs, a.sizes, a.widths)
    forms = [(x, s, i) for x in a.activations for s in a.scales for i in a.inits]
    names = ("activation", "scale", "init")
    specs = [
        label("adapter", {"source": w.source, "target": w.target, **dict(zip(names, f, strict=True)), "width": w.width})
        for w in found.ways
        for f in forms
    ]
    listed = rules.model_copy(update={"methods": tuple(Row(spec=spec) for spec in specs)})
    return study.plan(rules, folder, places={rules.base: found}, catalogue={rules.base: look_up(listed)})


def test_sizes():
    """Equal: every pair comes as near as its width allows to the published pair's count; released: the authors'."""
    net = toy_network()
    equal = look("toy", net, (), (), "equal", (32,))
    assert set(equal.pairs) == set(PAIRS)
    wanted = next(w.scalars for w in equal.ways if w.pair == ("attn2o", "ffni"))
    for w in equal.ways:  # no other width would be nearer
        for width in {max(1, w.width - 1), w.width + 1}:
            other = make("adapter", source=w.source, target=w.target, width=width).count(net)
            assert abs(other - wanted) >= abs(w.scalars - wanted), w
    assert next(w.width for w in equal.ways if w.pair == ("attn2o", "ffni")) == 32
    same = look("toy", net, (), (), "same", (32,))
    assert {w.width for w in same.ways} == {32}
    released = {w.pair: w.width for w in look("toy", net, (), (), "released", (60,)).ways}
    assert [released[p] for p in (("attn2o", "ffni"), ("resi", "resi"), ("resi", "reso"), ("reso", "reso"))] == [
        60,
        6,
        7,
        9,
    ]


def test_transformers_have_their_own_positions():
    joint = look("sd3", toy_transformer("sd3"), (), (), "equal", (4,))
    assert ("attn2o", "ffni") in joint.pairs
    assert "the same tensor as attn2o" in joint.refused["attn1o -> ffni"]
    assert joint.refused["resi -> resi"] == "no resi in JointTransformerBlock"
    assert "no attn2i" in joint.refused["attn1i -> attn2i"]
    assert set(joint.pairs).isdisjoint(tuple(name.split(" -> ")) for name in joint.refused)
    assert len(joint.pairs) + len(joint.refused) == 20
    pixart = look("pixart", toy_transformer("pixart"), (), (), "equal", (4,))
    assert len(pixart.pairs) == 17
    assert set(pixart.refused) == {"resi -> resi", "resi -> reso", "reso -> reso"}


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        (("attn2i",), "sd3 has no attn2i .its blocks are JointTransformerBlock.: leave it out"),
        (("attn2x",), "did you mean"),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_refused(inputs, line):
    with pytest.raises(LitmusError, match=line):
        look("sd3", toy_transformer("sd3"), inputs, (), "equal", (4,))


@pytest.mark.parametrize("kind", ["sd3", "pixart"])
def test_a_study_of_a_transformer(kind, base, task_folder, tmp_path):
    """Planned, run cell by cell and reported, by the same code as the pocket base's study."""
    from bench.anova.study import write_design
    from bench.records.record import write
    from bench.report.anova import write as report
    from bench.runner.run import execute

    rules = protocol(base(kind), f"folder:{task_folder()}", inputs=["attn2o", "ffni"], widths=[4])
    study = planned(rules, tmp_path / "b")
    assert len(study.cells) == 4
    write_design(study)
    for key, run in study.board.plan.items():
        record = execute(key, run, tmp_path / "b" / "runs", lambda *_: None)
        assert record.ok, record.error
        write(record, tmp_path / "b" / "runs")
    again = planned(rules, tmp_path / "b")
    assert not again.board.todo
    assert again.key == study.key
    assert (tmp_path / "b" / "ANOVA.md") in report(tmp_path / "b")


def test_the_order_of_runs_and_the_design_file(task_folder, tmp_path):
    from bench.anova.study import write_design
    from bench.runner.queue import InOrder

    rules = protocol(
        "toy", f"folder:{task_folder()}", activations=["relu", "silu"], widths=[4], inputs=["ffni", "resi"]
    )
    study = planned(rules, tmp_path)
    assert len(study.cells) == study.grid == 8
    first = list(study.board.plan.values())[:3]
    assert {run.method for run in first} == {"base", "truth", "truth_raw"}
    told = json.loads(write_design(study).read_text())
    assert list(told["cells"]) == [k for k, run in study.board.plan.items() if run.method == "adapter"]
    assert told["efficiency"] == pytest.approx([1, 1])
    queue = InOrder(study.board.todo)
    taken = [queue.take() for _ in range(len(study.board.todo))]
    assert [one[0] for one in taken if one] == list(study.board.plan)
    assert queue.take() is None
    assert len(InOrder(study.board.todo, seconds=-1)) == 0
    assert any("2 pairs" in line or "4 pairs" in line for line in study.lines())


def test_a_protocol_without_factors():
    from bench.anova.study import plan

    with pytest.raises(LitmusError, match="t has no .anova. table: litmus bench t runs it"):
        plan(make_protocol({"name": "t", "tasks": ["x"]}))
