"""The contract as functions: what every method must do, said so that an outside author can run it on their own file.

Each check takes a method and an Arena, and fails with an AssertionError in plain words. `examine` runs them all and
reports, `check_method` raises, `check_file` serves `litmus check-method FILE`.
"""

from __future__ import annotations

import copy
import math
import random
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.arena import STEPS, Arena, arena, fresh, train, trained
from bench.method import Method, Network, attached, figures, load_file, load_state, state


@dataclass(frozen=True)
class Result:
    """The outcome of one check; `message` is empty when it is ok."""

    name: str
    ok: bool
    message: str
    method: str = ""


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _gap(a: Tensor, b: Tensor) -> str:
    return f"the outputs differ by up to {(a - b).abs().max().item():.2g}"


def declares_itself(method: Method, place: Arena) -> None:
    """Its facts are in order: names, search space, size, defaults for every hyperparameter."""
    names = [f.name for f in fields(method)]
    assert all((method.name, method.paper)), "name and paper must not be empty"
    for key, value in method.hyper().items():
        assert value is None or isinstance(value, int | float | str), (
            f"{key} = {value!r} cannot be written in a protocol: use a number, true, false, none or text"
        )
    try:
        type(method)()
    except TypeError as error:
        raise AssertionError(f"every hyperparameter needs a default: {error}") from None
    for key, entry in method.space.items():
        assert key == "lr" or key in names, f"space names {key!r}, which is no hyperparameter"
        fits = len(entry) == 3 and entry[2] in ("log", "linear") and entry[0] < entry[1]
        assert fits, f'space[{key!r}] must be (low, high, "log" or "linear"), not {entry}'
    assert method.size_field in (None, *names), f"size_field is {method.size_field!r}, which is no hyperparameter"
    if method.trains:
        assert method.lr > 0, f"lr must be above 0, not {method.lr}"


@torch.no_grad()
def starts_at_base(method: Method, place: Arena) -> None:
    """Attached and untrained it computes what the base computes, or says exact_start = False and does not."""
    mine, base = place.run(fresh(method, place)), place.run(place.make())
    if method.exact_start:
        assert _same(mine, base), f"the start is not the base: {_gap(mine, base)}; say exact_start = False if so meant"
    else:
        assert not _same(mine, base), "exact_start = False, yet the start is the base: leave the declaration out"


def counts_by_formula(method: Method, place: Arena) -> None:
    """`count` says what `attach` makes trainable, on the meta device too, and grows with the size."""
    sizes = [method]
    if method.size_field:
        sizes.append(replace(method, **{method.size_field: 2 * getattr(method, method.size_field)}))
    for one in sizes:
        seen = sum(p.numel() for p in state(fresh(one, place)).values())
        with torch.device("meta"):
            said = one.count(place.make())
        assert said == seen, f"count says {said:,} scalars, attach makes {seen:,} trainable ({one})"
        assert (seen > 0) == method.trains, f"{seen:,} scalars are trainable, yet trains = {method.trains}"
    if len(sizes) == 2:
        small, large = (one.count(place.make()) for one in sizes)
        assert small < large, f"count does not grow with {method.size_field}, though size_field says so"


def trains_only_its_own(method: Method, place: Arena) -> None:
    """Training moves every trainable tensor and no other, buffers included."""
    start = fresh(method, place)
    net = copy.deepcopy(start)
    train(method, place, net)
    own = set(state(start))
    tensors = dict(start.named_parameters()) | dict(start.named_buffers())
    moved = {k for k, p in (*net.named_parameters(), *net.named_buffers()) if k in tensors and not p.equal(tensors[k])}
    assert not moved - own, f"training moved what is not trainable: {_some(moved - own)}"
    assert not own - moved, f"trainable, but training never moved it: {_some(own - moved)}"
    optimised = {id(p) for group in method.groups(net, method.lr) for p in group["params"]}
    named = {id(p): k for k, p in net.named_parameters() if p.requires_grad}
    assert optimised == set(named), f"groups() and requires_grad disagree on {len(optimised ^ set(named))} tensors"


def learns(method: Method, place: Arena) -> None:
    """A few steps at its own learning rate lower the loss."""
    if not method.trains:
        assert not state(fresh(method, place)), "trains = False, yet something requires grad"
        return
    with torch.no_grad():
        before, after = (place.loss(net).item() for net in (fresh(method, place), trained(method, place)))
    assert math.isfinite(after), f"the loss is {after} after {STEPS} steps at lr {method.lr:g}"
    assert after < before, f"{STEPS} steps at lr {method.lr:g} take the loss from {before:.5g} to {after:.5g}"


@torch.no_grad()
def survives_disk(method: Method, place: Arena) -> None:
    """What is trainable, written as safetensors and read into a network attached under another seed, is the whole."""
    from safetensors.torch import load_file as read
    from safetensors.torch import save_file

    net = trained(method, place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_file({k: v.contiguous() for k, v in state(net).items()}, path)
        back = fresh(method, place, seed=1)
        load_state(back, read(path))
    a, b = place.run(net), place.run(back)
    assert _same(a, b), f"read back under another seed, {_gap(a, b)}: something random is frozen and not saved"


@torch.no_grad()
def merges_into_base(method: Method, place: Arena) -> None:
    """Merged, the base alone holds it all: same names, same shapes, same output; or it says mergeable = False."""
    net = trained(method, place)
    base = place.make()
    shapes = {k: v.shape for k, v in base.state_dict().items()}
    if not method.mergeable:
        extra = net.state_dict().keys() != shapes.keys()
        assert extra, "mergeable = False, yet every tensor is the base's own: leave the declaration out"
        return
    before = place.run(net)
    flat = copy.deepcopy(net)
    with torch.enable_grad():  # as the harness calls it: a merge that needs no_grad says so itself
        method.merge(flat)
    got = {k: v.shape for k, v in flat.state_dict().items()}
    odd = {k for k in got.keys() | shapes.keys() if got.get(k) != shapes.get(k)}
    assert not odd, f"after merge, names or shapes are not the base's: {_some(odd)}"
    base.load_state_dict(flat.state_dict())
    for name, other in (("merged", flat), ("merged, in a base of its own", base)):
        assert _same(place.run(other), before), f"{name}, {_gap(place.run(other), before)}"


def repeats(method: Method, place: Arena) -> None:
    """The same `rng` gives the same start, whatever the global streams have been through."""
    starts = []
    for i in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(i)
            starts.append(state(fresh(method, place, seed=3)))
    odd = {k for k in starts[0] if not starts[0][k].equal(starts[1][k])}
    assert not odd, f"drawn from a global stream instead of rng: {_some(odd)}"


def leaves_global_streams_alone(method: Method, place: Arena) -> None:
    """attach and merge draw nothing from the streams of torch, numpy and random."""
    net = place.make()
    before = _streams()
    attached(method, net, torch.Generator().manual_seed(0))
    if method.mergeable:
        method.merge(net)
    odd = [name for (name, a), (_, b) in zip(before, _streams(), strict=True) if a != b]
    assert not odd, f"attach or merge moves the global stream of {' and '.join(odd)}: draw from rng"


def _streams() -> list[tuple[str, object]]:
    now = np.random.get_state(legacy=False)
    return [
        ("torch", torch.get_rng_state().numpy().tobytes()),
        ("numpy", repr((now["state"]["key"].tobytes(), now["state"]["pos"]))),  # type: ignore[index]
        ("random", random.getstate()),
    ]


def copies(method: Method, place: Arena) -> None:
    """A deep copy computes the same, and training it leaves the original as it was."""
    net = fresh(method, place)
    with torch.no_grad():
        before = place.run(net)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        assert _same(place.run(twin), before), "a deep copy computes something else"
    train(method, place, twin, steps=2)
    with torch.no_grad():
        alone = _same(place.run(net), before) and all(p.grad is None for p in net.parameters())
    assert alone, "training a deep copy reaches the original: something in the copy still points there"


def works_checkpointed(method: Method, place: Arena) -> None:
    """Gradient checkpointing changes memory, not gradients."""
    net = trained(method, place)
    if not method.trains or not getattr(net.denoiser, "_supports_gradient_checkpointing", False):
        return
    grads = []
    net.train()
    for switch in ("disable_gradient_checkpointing", "enable_gradient_checkpointing"):
        getattr(net.denoiser, switch)()
        net.zero_grad(set_to_none=True)
        place.loss(net).backward()
        grads.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    odd = {k for k in grads[0] if k not in grads[1] or not _same(grads[0][k], grads[1][k])}
    assert not odd, f"under gradient checkpointing the gradient differs: {_some(odd)}"


def works_in_bf16(method: Method, place: Arena) -> None:
    """A base in bfloat16, and a base in float32 under autocast, give finite outputs and gradients."""
    for how in ("bfloat16", "autocast"):
        net = place.make()
        if how == "bfloat16":
            net.to(torch.bfloat16)
            place = replace(place, x=place.x.bfloat16(), context=place.context.bfloat16())
        else:
            place = replace(place, x=place.x.float(), context=place.context.float())
        attached(method, net, torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            loss = place.loss(net)
        assert loss.isfinite(), f"the loss under {how} is {loss.item()}"
        if method.trains:
            loss.backward()
            bad = {k for k, p in net.named_parameters() if p.requires_grad and not _finite(p.grad)}
            assert not bad, f"no finite gradient under {how}: {_some(bad)}"


def figures_agree(method: Method, place: Arena) -> None:
    """The four counts fit together and with `count`, on the meta device."""
    with torch.device("meta"):
        net = place.make()
        said = figures(method, net)
    assert said.trainable == method.count(net) == said.stored, f"{said} against count {method.count(net):,}"
    assert 0 <= said.buffers <= said.active, f"buffers are part of what is active: {said}"
    assert said.active > 0 or method.mergeable, "nothing is added to the base, so it is merged: drop mergeable = False"


def _finite(grad: Tensor | None) -> bool:
    return grad is not None and bool(grad.isfinite().all())


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


Check = Callable[[Method, Arena], None]

ALL: tuple[Check, ...] = (
    declares_itself,
    starts_at_base,
    counts_by_formula,
    trains_only_its_own,
    learns,
    survives_disk,
    merges_into_base,
    repeats,
    leaves_global_streams_alone,
    copies,
    works_checkpointed,
    works_in_bf16,
    figures_agree,
)


def examine(method: Method, make_net: Callable[[], Network] | None = None) -> list[Result]:
    """Every check on `method`, none skipped because another failed."""
    place = arena(make_net)
    return [attempt(check, method, place) for check in ALL]


def attempt(check: Check, method: Method, place: Arena) -> Result:
    """One check's outcome, whatever it raises."""
    try:
        check(method, place)
    except Exception as error:  # a method under test may fail in any way; the reason goes to its author
        text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Result(check.__name__, False, " ".join(text.split()), method.name)
    return Result(check.__name__, True, "", method.name)


def check_method(method: Method, make_net: Callable[[], Network] | None = None) -> None:
    """For an author's own test suite: AssertionError with a line for each check that `method` fails."""
    bad = [f"{r.name}: {r.message}" for r in examine(method, make_net) if not r.ok]
    assert not bad, f"{method.name} breaks the contract\n" + "\n".join(bad)


def check_file(path: str | Path) -> list[Result]:
    """Every check on every method that the file registers, at its defaults.

    Raises LitmusError when the file cannot be loaded; a file without a method is one failed result.
    """
    found = load_file(path)
    if not found:
        return [Result("registers_a_method", False, "no class is decorated with @register from bench.method", "")]
    results: list[Result] = []
    for cls in found:
        try:
            method = cls()
        except Exception as error:
            why = f"every hyperparameter needs a default that is allowed: {error}"
            results.append(Result("declares_itself", False, why, cls.name))
            continue
        results += examine(method)
    return results
