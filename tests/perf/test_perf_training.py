"""How fast the parts are that a run spends its time in: a training step per method, sampling, scoring."""

from __future__ import annotations

import pytest
import torch

from bench.bases import load_base
from bench.bases.base import Base
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.method import attached, load_plugins, make

pytestmark = pytest.mark.perf

METHODS = ("bias", "difffit", "adapter", "lora", "full")


@pytest.fixture(scope="module")
def base() -> Base:
    """The pocket base where it is there, else the toy one: timings compare within one run only."""
    torch.set_num_threads(1)
    load_plugins()
    try:
        return load_base("pocket")
    except LitmusError:
        return load_base("toy")


@pytest.fixture(scope="module")
def example(base):
    from bench.cost import Example

    _, tokens, features = base.encode_text([""]).shape
    return Example.random((4, *base.latent_shape), tokens, features, next(base.net.denoiser.parameters()))


@pytest.mark.benchmark(group="training step, batch 4")
@pytest.mark.parametrize("name", METHODS)
def test_training_step(benchmark, base, example, name):
    from bench.cost import TrainingStep

    method = make(name)
    net = attached(method, base.fork().net, rng("perf")).train()
    benchmark.pedantic(TrainingStep(method, net, example), warmup_rounds=3, rounds=15)


@pytest.mark.benchmark(group="training step, batch 4")
def test_the_bare_loop(benchmark, base, example):
    """The least that a step can cost: forward and backward of the frozen network to its input, no optimiser."""
    x = example.x.clone().requires_grad_(True)
    net = base.fork().net.train()

    def step() -> None:
        net(x, example.t, example.context).square().mean().backward()
        x.grad = None

    benchmark.pedantic(step, warmup_rounds=3, rounds=15)


@pytest.mark.benchmark(group="the harness's loop, batch 4, 20 steps")
@pytest.mark.parametrize("name", ["lora", "full"])
def test_fit(benchmark, base, toy_task, name):
    """The whole of `fit`, tables and caching included: its distance from 20 bare steps is the harness's own cost."""
    from bench.protocol.models import Train
    from bench.training.loop import fit

    method, task = make(name), toy_task.at(base.resolution)

    def fresh() -> tuple[tuple, dict]:
        tuned = base.fork()
        attached(method, tuned.net, rng("perf"))
        return (tuned, method, task, Train(steps=20)), {"lr": 1e-4}

    benchmark.pedantic(fit, setup=fresh, warmup_rounds=1, rounds=5)


@pytest.mark.benchmark(group="pictures, 8 of 20 guided steps")
def test_sampling(benchmark, base):
    from bench.evaluation.sampler import sample
    from bench.protocol.models import Sample

    prompts = ["a robot on the beach", "a red car in the forest"] * 4
    benchmark.pedantic(sample, (base, prompts, Sample(), "perf", 0), warmup_rounds=1, rounds=5)


@pytest.mark.benchmark(group="scores of one cell")
def test_scoring(benchmark, base, toy_task):
    from bench.evaluation.references import block
    from bench.evaluation.score import draw, evaluate
    from bench.extractors import load_extractors
    from bench.protocol.models import Sample

    try:
        extractors = load_extractors("pocket")
    except LitmusError:
        extractors = load_extractors("toy")
    task, sampling = toy_task.at(base.resolution), Sample(steps=2)
    floor = block(base, task, 0, sampling, extractors)
    drawn = draw(base, task, 0, sampling)
    benchmark.pedantic(evaluate, (drawn, floor, extractors), warmup_rounds=1, rounds=10)


@pytest.mark.benchmark(group="world, one picture")
def test_rendering_the_world(benchmark):
    import numpy as np

    from bench.pretraining.data import base_sample

    benchmark.pedantic(base_sample, (np.random.default_rng(0),), warmup_rounds=20, rounds=300)
