"""The contract as functions: what every method must do, said so that an outside author can run it on their own file.

Each check takes a method and an Arena, and fails with an AssertionError in plain words. `examine` runs them all and
reports, `check_method` raises, `check_file` serves `litmus check-method FILE`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.checks import result
from bench.checks.arena import Arena, bare, base, fresh, idle, make_arena, start, trained
from bench.checks.result import Result, Skipped, line_of
from bench.checks.running import copies, gap, packs, same, some, works_checkpointed, works_in_bf16
from bench.checks.training import judge_training, learns, penalises_in_the_open, survives_averaging
from bench.core.errors import LitmusError
from bench.method import Method, Network, attached, figures, load_state, state

SIDES = {"denoiser": {"denoiser"}, "text": {"text"}, "both": {"denoiser", "text"}}


def declares_itself(method: Method, arena: Arena) -> None:
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
    assert method.side in SIDES, f"side is one of {', '.join(SIDES)}, not {method.side!r}"
    hidden = [name for name in names if callable(getattr(Method, name, None))]
    assert not hidden, f"{some(hidden)} is a function of the contract: call the hyperparameter something else"
    if method.trains:
        assert method.lr > 0, f"lr must be above 0, not {method.lr}"


@torch.no_grad()
def starts_at_base(method: Method, arena: Arena) -> None:
    """Attached and untrained it computes what the base computes, or says exact_start = False and does not."""
    _judge_start(method, arena.run(start(method, arena)), arena.run(base(arena)))


def _judge_start(method: Method, mine: Tensor, plain: Tensor) -> None:
    if method.exact_start:
        assert same(mine, plain), f"the start is not the base: {gap(mine, plain)}; say exact_start = False if so meant"
    else:
        assert not same(mine, plain), "exact_start = False, yet the start is the base: leave the declaration out"


def counts_by_formula(method: Method, arena: Arena) -> None:
    """`count` says what `attach` makes trainable, on the meta device too, and changes with the size."""
    net = bare(arena)

    def judge(one: Method) -> int:
        count = one.count(net)
        seen = sum(p.numel() for p in state(start(one, arena) if one is method else fresh(one, arena)).values())
        assert count == seen, f"count says {count:,} scalars, attach makes {seen:,} trainable ({one})"
        assert (seen > 0) == method.trains, f"{seen:,} scalars are trainable, yet trains = {method.trains}"
        return count

    judge(method)
    for other in _another_size(method, arena):
        judge(other)


def _another_size(method: Method, arena: Arena) -> list[Method]:
    """`method` with twice its size, or half of it and so on, until the count is another; nothing without a size."""
    field = method.size_field
    if field is None or not (size := getattr(method, field)):
        return []
    mine = method.count(base(arena))
    smaller = [size // 2**i if isinstance(size, int) else size / 2**i for i in range(1, 12)]
    reasons = []
    for other in [2 * size, *filter(None, smaller)]:
        try:
            one = replace(method, **{field: other})
            if one.count(base(arena)) != mine:
                return [one]
            reasons.append(f"with {field} = {other} it is the same")
        except LitmusError as error:
            reasons.append(str(error))
    raise AssertionError(f"count does not change with {field}, though size_field says so: {_few(reasons)}")


def _few(reasons: list[str]) -> str:
    return "; ".join(dict.fromkeys(reasons[:2]))


def trains_only_its_own(method: Method, arena: Arena) -> None:
    """Training moves every trainable tensor and no other, buffers included."""
    before, net = start(method, arena), trained(method, arena)
    trainable = set(state(before))
    parts = {key.split(".")[0] for key in trainable}
    if method.trains:
        assert parts == SIDES[method.side], f"side = {method.side!r}, yet what is trainable lies in {some(parts)}"
    tensors = dict(before.named_parameters()) | dict(before.named_buffers())
    moved = {k for k, p in (*net.named_parameters(), *net.named_buffers()) if k in tensors and not p.equal(tensors[k])}
    assert not moved - trainable, f"training moved what is not trainable: {some(moved - trainable)}"
    back = trainable - moved if type(method).step is Method.step else trainable - moved - _pulled(method, arena)
    lame = {key for key in back if not any(key.startswith(f"{path}.") for path in idle(arena))}
    assert not lame, f"trainable, but training never moved it: {some(lame)}"
    optimised = {id(p) for group in method.groups(net, method.lr) for p in group["params"]}
    named = {id(p): k for k, p in net.named_parameters() if p.requires_grad}
    assert optimised == set(named), f"groups() and requires_grad disagree on {len(optimised ^ set(named))} tensors"


def _pulled(method: Method, arena: Arena) -> set[str]:
    """Trainable tensors that the loss pulls at: a method that moves its budget may have put one back where it was."""
    net = fresh(method, arena)
    with torch.enable_grad():
        arena.loss(net).backward()
    return {key for key, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}


@torch.no_grad()
def survives_disk(method: Method, arena: Arena) -> None:
    """What is trainable, written as safetensors and read into a network attached under another seed, is the whole."""
    _survives(method, arena, trained(method, arena))


@torch.no_grad()
def _survives(method: Method, arena: Arena, net: Network, again: bool = False) -> None:
    back = _read_back(method, arena, net, again)
    a, b = arena.run(net), arena.run(back)
    assert same(a, b), f"read back under another seed, {gap(a, b)}: something random is frozen and not saved"


def _read_back(method: Method, arena: Arena, net: Network, again: bool = False) -> Network:
    """The state of `net` in a network attached under another seed, or `again` with the start that `net` had."""
    from safetensors.torch import load, save

    back = fresh(method, arena, data=True) if again else fresh(method, arena, seed=1)
    load_state(back, load(save({k: v.contiguous() for k, v in state(net).items()})))
    return back


def starts_from_data(method: Method, arena: Arena) -> None:
    """With needs_data: the start from batches keeps every promise of the other, and is not the same."""
    if not method.needs_data:
        assert type(method).attach_data is Method.attach_data, "it has attach_data, yet needs_data = False"
        raise Skipped("needs_data = False")
    net = fresh(method, arena, data=True)
    twin = fresh(method, arena, data=True)
    mine, plain = state(net), state(start(method, arena))
    shapes = {k: p.shape for k, p in mine.items()}
    assert shapes == {k: p.shape for k, p in plain.items()}, "attach_data trains other tensors than attach"
    assert not all(p.equal(plain[k]) for k, p in mine.items()), "the start from data is the start without: no use of it"
    assert all(p.equal(state(twin)[k]) for k, p in mine.items()), "the same rng and batches give two starts"
    left = {k for k, p in net.named_parameters() if p.grad is not None}
    assert not left, f"attach_data leaves gradients behind: {some(left)}"
    with torch.no_grad():
        _judge_start(method, arena.run(net), arena.run(base(arena)))
    judge_training(method, arena, net, "from data, ")
    if method.data_bound:
        with torch.no_grad():
            lost = not same(arena.run(net), arena.run(_read_back(method, arena, net)))
        assert lost, "data_bound = True, yet the state says it all: leave the declaration out"
    _survives(method, arena, net, again=method.data_bound)


@torch.no_grad()
def merges_into_base(method: Method, arena: Arena) -> None:
    """Merged, the base alone holds it all: same names, same shapes, same output; or it says mergeable = False."""
    net = trained(method, arena)
    other = arena.make()
    shapes = {k: v.shape for k, v in other.state_dict().items()}
    if not method.mergeable:
        extra = net.state_dict().keys() != shapes.keys()
        assert extra, "mergeable = False, yet every tensor is the base's own: leave the declaration out"
        return
    before = arena.run(net)
    flat = copy.deepcopy(net)
    with torch.enable_grad():  # as the harness calls it: a merge that needs no_grad says so itself
        method.merge(flat)
    got = {k: v.shape for k, v in flat.state_dict().items()}
    odd = {k for k in got.keys() | shapes.keys() if got.get(k) != shapes.get(k)}
    assert not odd, f"after merge, names or shapes are not the base's: {some(odd)}"
    other.load_state_dict(flat.state_dict())
    for name, one in (("merged", flat), ("merged, in a base of its own", other)):
        assert same(arena.run(one), before), f"{name}, {gap(arena.run(one), before)}"
    try:
        kept = same(arena.run(net), before)
    except Exception:  # its class, or a module that it shares with the copy, is no longer what it was
        kept = False
    if not kept:
        arena.cache.clear()
    assert kept, "merging a deep copy breaks the network that it was copied from"


@torch.no_grad()
def needs_its_declaration(method: Method, arena: Arena) -> None:
    """With mergeable = False: there is no `merge`, or it does not work. On one network: it may work on another."""
    if method.mergeable:
        raise Skipped("mergeable = True")
    if type(method).merge is not Method.merge:
        works = _merges(method, arena, trained(method, arena))
        assert not works, "mergeable = False, yet merge works: leave the declaration out"


def _merges(method: Method, arena: Arena, net: Network) -> bool:
    """Whether `merge` folds a trained network into the base's own tensors."""
    before, flat, other = arena.run(net), copy.deepcopy(net), arena.make()
    try:
        with torch.enable_grad():
            method.merge(flat)
        other.load_state_dict(flat.state_dict())
        return same(arena.run(other), before)
    except Exception:  # it says that it cannot, and so it is
        return False
    finally:
        arena.cache.clear()  # it may have broken what the copy shares with the original


def repeats(method: Method, arena: Arena) -> None:
    """The same `rng` gives the same start, whatever the global streams have been through."""
    one = state(start(method, arena))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        other = state(fresh(method, arena))
    odd = {k for k in one if not one[k].equal(other[k])}
    assert not odd, f"drawn from a global stream instead of rng: {some(odd)}"


def leaves_global_streams_alone(method: Method, arena: Arena) -> None:
    """attach and merge draw nothing from the streams of torch, numpy and random."""
    net = arena.make()
    before = streams()
    attached(method, net, torch.Generator().manual_seed(0))
    if method.mergeable:
        method.merge(net)
    odd = [name for (name, a), (_, b) in zip(before, streams(), strict=True) if a != b]
    assert not odd, f"attach or merge moves the global stream of {' and '.join(odd)}: draw from rng"


def streams() -> list[tuple[str, object]]:
    """Where the global random streams stand: of torch, numpy and random."""
    now = np.random.get_state(legacy=False)
    return [
        ("torch", torch.get_rng_state().numpy().tobytes()),
        ("numpy", repr((now["state"]["key"].tobytes(), now["state"]["pos"]))),  # type: ignore[index]
        ("random", random.getstate()),
    ]


def figures_agree(method: Method, arena: Arena) -> None:
    """The counts fit together and with `count`, on the meta device."""
    net = bare(arena)
    with torch.device("meta"):
        said = figures(method, net)
    assert said.trainable == method.count(net) == said.stored, f"{said} against count {method.count(net):,}"
    assert 0 <= said.reserved <= said.trainable, f"what is reserved is part of what is trainable: {said}"
    assert 0 <= said.buffers <= said.active, f"buffers are part of what is active: {said}"
    assert said.active > 0 or method.mergeable, "nothing is added to the base, so it is merged: drop mergeable = False"


Check = Callable[[Method, Arena], None]

ALL: tuple[Check, ...] = (
    declares_itself,
    starts_at_base,
    counts_by_formula,
    trains_only_its_own,
    learns,
    penalises_in_the_open,
    survives_averaging,
    survives_disk,
    starts_from_data,
    merges_into_base,
    needs_its_declaration,
    repeats,
    leaves_global_streams_alone,
    copies,
    packs,
    works_checkpointed,
    works_in_bf16,
    figures_agree,
)
# What hangs on the architecture, and is asked again on a second one.
ELSEWHERE: tuple[Check, ...] = (
    starts_at_base,
    counts_by_formula,
    trains_only_its_own,
    learns,
    survives_disk,
    merges_into_base,
    packs,
    works_checkpointed,
    works_in_bf16,
)


def examine(
    method: Method, make_net: Callable[[], Network] | None = None, checks: Sequence[Check] | None = None
) -> list[Result]:
    """Every check on `method`, none left out because another failed; those of ELSEWHERE on a transformer too.

    With `make_net`, or with `checks`, on that one network alone.
    """
    arena = make_arena(make_net, text=method.side != "denoiser")
    results = [attempt(check, method, arena) for check in (ALL if checks is None else checks)]
    return results if make_net or checks is not None else [*results, *_elsewhere(method)]


def _elsewhere(method: Method) -> list[Result]:
    """The checks that hang on the architecture, on a toy of SD 3's transformer; one line where there is no arena."""
    name = "transformer"

    def one(ok: bool, message: str) -> list[Result]:
        return [Result("applies", ok, message, method.name, name, skipped=ok)]

    if not ELSEWHERE:
        return []
    if method.side != "denoiser":
        return one(True, "it trains the text side, which the toy transformer has not")
    from bench.bases.toy_transformers import toy_transformer

    try:
        reason = refusal(method, toy_transformer)
    except Exception as error:
        return one(False, line_of(error, method))
    if reason is not None:
        return one(True, reason)
    arena = make_arena(toy_transformer, name=name)
    return [attempt(check, method, arena) for check in ELSEWHERE]


def attempt(check: Check, method: Method, arena: Arena) -> Result:
    """One check's outcome on the arena's network, whatever the check raises."""
    return replace(result.attempt(check, method, arena), network=arena.name)


def refusal(method: Method, make_net: Callable[[], Network]) -> str | None:
    """Why `method` does not apply to the networks of `make_net`, by its error; None where it does.

    AssertionError when `count` and `attach` disagree on it.
    """
    reasons: list[str | None] = []
    for ask in (lambda net: method.count(net), lambda net: attached(method, net, torch.Generator())):
        try:
            ask(make_net())
            reasons.append(None)
        except LitmusError as error:
            reasons.append(str(error))
    by_count, by_attach = reasons
    assert (by_count is None) == (by_attach is None), (
        f"count says {by_count or 'yes'}, attach says {by_attach or 'yes'}"
    )
    return by_count


def check_method(method: Method, make_net: Callable[[], Network] | None = None) -> None:
    """For an author's own test suite: AssertionError with a line for each check that `method` fails."""
    result.demand(examine(method, make_net), f"{method.name} breaks the contract")


def check_file(path: str | Path) -> list[Result]:
    """Every check on every method that the file registers (bench.checks.result.of_file)."""
    return result.of_file(path, Method, "bench.method", examine)
