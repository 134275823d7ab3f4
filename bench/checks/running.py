"""The checks of the other ways in which the harness runs a method: copied, packed, checkpointed, in bfloat16."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from bench.checks.arena import Arena, base, fresh, start, train, trained
from bench.checks.packing import packing_fault
from bench.checks.result import Skipped
from bench.method import Method, Network, attached
from bench.training.attach import attached_copy
from bench.training.loop import penalise


def same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def gap(a: Tensor, b: Tensor) -> str:
    return f"the outputs differ by up to {(a - b).abs().max().item():.2g}"


def copies(method: Method, arena: Arena) -> None:
    """A deep copy computes the same, and training it leaves the original as it was."""
    net = fresh(method, arena)
    with torch.no_grad():
        before = arena.run(net)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        assert same(arena.run(twin), before), "a deep copy computes something else"
    train(method, arena, twin, steps=2)
    with torch.no_grad():
        alone = same(arena.run(net), before) and all(p.grad is None for p in net.parameters())
    assert alone, "training a deep copy reaches the original: something in the copy still points there"


def packs(method: Method, arena: Arena) -> None:
    """Two seeds' tensors under one vmap get the gradients that each gets alone; or it says packable = False."""
    if not method.trains:
        raise Skipped("it trains nothing")
    net = copy.deepcopy(start(method, arena))  # what a method notes of a step under vmap is of no use outside
    fault = packing_fault(net, arena, method)
    if method.packable:
        assert not fault, f"two seeds do not pack: {fault}; say packable = False if it cannot be mended"
    else:
        assert fault, "packable = False, yet two seeds pack: leave the declaration out"


def works_checkpointed(method: Method, arena: Arena) -> None:
    """Gradient checkpointing changes memory, not gradients."""
    if not method.trains:
        raise Skipped("it trains nothing")
    if not getattr(base(arena).denoiser, "_supports_gradient_checkpointing", False):
        raise Skipped(f"{type(base(arena).denoiser).__name__} has no gradient checkpointing")
    net = copy.deepcopy(trained(method, arena))
    grads = []
    net.train()
    for switch in ("disable_gradient_checkpointing", "enable_gradient_checkpointing"):
        getattr(net.denoiser, switch)()
        net.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):  # dropout draws the same both times
            torch.manual_seed(0)
            arena.loss(net).backward()
        grads.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    odd = {k for k in grads[0] if k not in grads[1] or not same(grads[0][k], grads[1][k])}
    assert not odd, f"under gradient checkpointing the gradient differs: {some(odd)}"


def works_in_bf16(method: Method, arena: Arena) -> None:
    """Finite outputs and gradients in bfloat16: all of it, the base alone as it is trained, and under autocast."""
    narrow = replace(arena, x=arena.x.bfloat16(), context=arena.context.bfloat16())
    wide = replace(arena, x=arena.x.float(), context=arena.context.float())
    ways = {"bfloat16": narrow, "autocast": wide, "a base in bfloat16 with what is trained in float32": narrow}
    for how, inputs in ways.items():
        net = _narrow(method, arena, how)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # rms_norm, of the base's own
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=how != "bfloat16"):
                    loss = inputs.loss(net)
            except RuntimeError as error:
                if inputs is wide or how == "bfloat16" or "scalar type" not in str(error):
                    raise
                # torch's norms on a CPU take weights and biases of one dtype only; on a GPU autocast widens both
                raise Skipped(f"bfloat16 and autocast hold; {how} runs on no CPU: {error}") from None
        assert loss.isfinite(), f"the loss under {how} is {loss.item()}"
        if method.trains:
            loss.backward()
            penalise(method, net)
            bad = {k for k, p in net.named_parameters() if p.requires_grad and not finite(p.grad)}
            assert not bad, f"no finite gradient under {how}: {some(bad)}"


def _narrow(method: Method, arena: Arena, how: str) -> Network:
    """A network with the method attached, for one of the three ways."""
    net, stream = arena.make(), torch.Generator().manual_seed(0)
    if how == "autocast":
        return attached(method, net, stream)
    net.to(torch.bfloat16)
    if how == "bfloat16":
        return attached(method, net, stream)
    return attached_copy(net, method, lambda: torch.Generator().manual_seed(0))


def some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def finite(grad: Tensor | None) -> bool:
    return grad is not None and bool(grad.isfinite().all())
