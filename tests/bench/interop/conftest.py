"""Adapters to hand on: a base with a method on it whose tensors are off their start, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def trained():
    """A function: trained(base, "lora[rank=2]") -> (a copy of the base with the method on it, moved; the method)."""
    from bench.core.rng import rng
    from bench.method import attached, load_plugins, make, parse_spec

    load_plugins()

    def build(base: Any, spec: str, losses=(), by: float = 0.05) -> tuple[Any, Any]:
        name, hyper = parse_spec(spec)
        method, tuned = make(name, **hyper), base.fork()
        tuned.net.trigger = base.trigger("sks")
        attached(method, tuned.net, rng("init", 3), losses)
        stream = rng("moved")
        with torch.no_grad():
            for p in tuned.net.parameters():
                if p.requires_grad:
                    p += by * torch.randn(p.shape, generator=stream)
        return tuned, method

    return build


@pytest.fixture
def kept(tmp_path):
    """A function: kept(base, tuned, method) -> the path of Litmus's own file of it."""
    from bench.interop import facts, files, saved

    def write(base: Any, tuned: Any, method: Any, **more: Any) -> Path:
        said = facts.Facts(
            kind="litmus",
            made_by="peft-litmus test",
            key="0123456789abcdef",
            method=method.name,
            spec=method.name,
            hyper=method.hyper(),
            seed=3,
            base=base.name,
            base_digest=base.digest,
            base_weights=facts.weights(base, text=method.side != "denoiser"),
            base_licence="Apache-2.0",
            trigger="sks",
            task="pocket/subject-robot",
            prompts=("a sks robot on the beach",),
            scores={"identity": 0.5},
            **more,
        )
        trained = saved.tensors(tuned.net, base.net, method)
        return files.write(tmp_path / f"{method.name}.safetensors", trained, facts.header(said))

    return write


@pytest.fixture(scope="session")
def answer():
    """A function: answer(net, seed=0) -> what a Network says to fixed inputs of its own shapes."""
    from bench.network.calls import shapes

    def ask(net: Any, seed: int = 0) -> torch.Tensor:
        channels, side, width = shapes(net.denoiser)
        stream = torch.Generator().manual_seed(seed)
        x = torch.randn(2, channels, side, side, generator=stream)
        context = torch.randn(2, 7, width, generator=stream)
        with torch.no_grad():
            return net.eval()(x, torch.tensor([10, 700]), context)

    return ask
