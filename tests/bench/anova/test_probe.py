"""The probe trains a record's run again: all of it, whatever the run was asked to be."""

from __future__ import annotations

import pytest

from bench import tasks
from bench.anova import probe
from bench.bases import load_base
from bench.method import state
from bench.protocol.models import Train, load_protocol
from bench.runner import run as running
from bench.runner import train as training
from bench.runner.plan import expand, key
from bench.runner.resolve import look_up


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["plain", "prior[weight=0.5]"])
def test_the_probe_repeats_the_record_exactly(toy_protocol, tmp_path, monkeypatch, objective):
    """Every option of training is set to what is not its default; each of them moves the numbers."""
    options = (
        "steps = 4\naccumulate = 2\nmin_snr = 5.0\nema = 0.9\ncheckpointing = true\nclip = 0.5\nweight_decay = 0.1"
    )
    changes = ("steps = 3", options), ('base = "toy"', f'base = "toy"\nobjective = "{objective}"')
    protocol = load_protocol(toy_protocol(*changes))
    run = next(r for r in expand(protocol, look_up(protocol)).values() if r.spec == "lora")
    nets = []
    fit = training.fit
    monkeypatch.setattr(
        training, "fit", lambda tuned, *rest, **more: nets.append(tuned.net) or fit(tuned, *rest, **more)
    )
    running._task.cache_clear()
    record = running.execute(key(run), run, tmp_path, lambda *_: None)
    assert record.status == "ok", record.error
    base = load_base("toy")
    task = tasks.load(run.task).at(base.resolution)
    again = probe.repeated(base, task, record)
    assert again.curve.running == record.curve.running
    assert (again.curve.train, again.curve.heldout) == (record.curve.train, record.curve.heldout)
    one, two = (state(net) for net in nets)
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    plain = record.model_copy(update={"run": run.model_copy(update={"train": Train(steps=4, batch=2)})})
    assert probe.repeated(base, task, plain).curve.running != record.curve.running
