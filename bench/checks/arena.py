"""Where a method is tried: one small frozen network, fixed inputs, and a short training run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.method import Loss, Method, Network, attached
from bench.network.calls import shapes
from bench.training.loop import penalise

STEPS = 6  # of AdamW at the method's own rate: enough for a layer behind a zero layer to move
TOKENS = 16  # of a prompt, or as many as the text side has places for
TRIGGER = 5  # the token that stands for the concept, in every prompt of an arena with a text side


@dataclass(frozen=True)
class Arena:
    """Where a method is tried: a factory of one and the same frozen network, and what to feed it.

    x, target (B, C, H, W); t (B,); context (B, L, D). With `ids` (B, L) the context is what the network's own text side
    makes of them. `cache` holds the networks that checks share, of one method at a time; `name` is for the report.
    """

    make: Callable[[], Network]
    x: Tensor
    t: Tensor
    context: Tensor
    target: Tensor
    ids: Tensor | None = None
    name: str = "U-Net"
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def run(self, net: Network) -> Tensor:
        context = self.context if self.ids is None else net.encode(self.ids)
        return net(self.x, self.t, context)

    def loss(self, net: Network) -> Tensor:
        return (self.run(net).float() - self.target).square().mean()

    def losses(self, n: int = 2) -> list[Loss]:
        """`n` batches of their own, for methods that start from data."""
        stream = rng("checks", "data")
        batches = [replace(self, x=torch.randn(self.x.shape, generator=stream)) for _ in range(n)]
        return [batch.loss for batch in batches]


def make_arena(make_net: Callable[[], Network] | None = None, text: bool = False, name: str = "U-Net") -> Arena:
    """An Arena of `make_net` (the toy U-Net without it), with inputs in the shapes that its denoiser's config asks for.

    `make_net` must give the same weights each time, and bare shapes under `torch.device("meta")`. With `text`, prompts
    go through the network's text side. Raises LitmusError where it has none.
    """
    build = make_net or (_toy_with_text if text else _toy)
    built = build()

    def make() -> Network:  # a copy is made sooner than a network
        net = build() if torch.empty(0).device.type == "meta" else copy.deepcopy(built)
        net.trigger = net.trigger or (TRIGGER,) * text
        return net

    channels, side, wide = shapes(built.denoiser)
    stream = rng("checks")
    x, target = (torch.randn(2, channels, side, side, generator=stream) for _ in range(2))
    arena = Arena(make, x, torch.tensor([1, 500]), torch.randn(2, 3, wide, generator=stream), target, name=name)
    return replace(arena, ids=_prompts(built, stream)) if text else arena


def _prompts(net: Network, stream: torch.Generator) -> Tensor:
    """Token ids (2, L), the network's trigger in both."""
    if net.text is None:
        raise LitmusError("this network has no text side: a method that trains it needs one to be tried on")
    config: Any = net.text.config
    length = min(config.max_position_embeddings, TOKENS)
    ids = torch.randint(TRIGGER + 1, config.vocab_size - 2, (2, length), generator=stream)
    for position, token in enumerate(net.trigger or (TRIGGER,), start=2):
        ids[:, position] = token
    return ids


def _toy() -> Network:
    from bench.bases.toy import toy_network

    return toy_network(middle=False)


def _toy_with_text() -> Network:
    from bench.bases.toy import toy_text

    net = _toy()
    net.text = toy_text()
    return net


def fresh(method: Method, arena: Arena, seed: int = 0, data: bool = False) -> Network:
    """A network with `method` attached and untrained, from batches with `data`; in eval mode, the caller's own."""
    net = attached(method, arena.make(), torch.Generator().manual_seed(seed), arena.losses() if data else ())
    return net.eval()  # as the harness looks at it: a module that a method adds begins in training mode


def start(method: Method, arena: Arena) -> Network:
    """The same, shared between the checks of one method: to look at, or to copy."""
    return _shared("start", method, arena, lambda: fresh(method, arena))


def trained(method: Method, arena: Arena) -> Network:
    """A network with `method` attached and trained for STEPS steps, shared: to look at, or to copy."""

    def make() -> Network:
        net = fresh(method, arena)  # not a copy: whether a method survives being copied is a check of its own
        train(method, arena, net)
        return net

    return _shared("trained", method, arena, make)


def bare(arena: Arena) -> Network:
    """The untouched network in shapes alone, shared: to count on."""

    def make() -> Network:
        with torch.device("meta"):
            return arena.make()

    return _shared("bare", None, arena, make)


def base(arena: Arena) -> Network:
    """The untouched network, shared: to look at."""
    return _shared("base", None, arena, arena.make)


@torch.enable_grad()
def idle(arena: Arena) -> set[str]:
    """Modules of the untouched network whose own tensors all get no gradient: no method can train what they do.

    SD 3's last block asks the text's queries for an answer that nobody reads.
    """
    if "idle" not in arena.cache:
        net = arena.make().requires_grad_(True)
        arena.loss(net).backward()
        parts = {path: list(m.parameters(recurse=False)) for path, m in net.named_modules()}
        still = {path: all(p.grad is None or not p.grad.any() for p in own) for path, own in parts.items() if own}
        arena.cache["idle"] = {path for path, yes in still.items() if yes}
    return arena.cache["idle"]


def _shared(what: str, method: Method | None, arena: Arena, make: Callable[[], Network]) -> Network:
    owner = (type(method), repr(method))
    key = (what, owner if method is not None else None)
    for other in [k for k in arena.cache if method is not None and isinstance(k, tuple) and k[1] not in (owner, None)]:
        del arena.cache[other]
    if key not in arena.cache:
        arena.cache[key] = make()
    return arena.cache[key]


@torch.enable_grad()
def train(
    method: Method, arena: Arena, net: Network, steps: int = STEPS, seen: Callable[[float, float], object] | None = None
) -> None:
    """A few steps of AdamW on one batch, at the method's own learning rate, in training mode; left in eval mode.

    `seen` is called after each step, in eval mode, with two falls of the loss: the one that the step's gradient
    promised, -g dw summed over all entries, dw being what the optimiser moved, and the one that came, both under the
    same draws. Dropout draws from a global stream, which is as before afterwards.
    """
    groups = method.groups(net, method.lr)
    if not method.trains:
        return
    own = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    with torch.random.fork_rng(devices=[]):
        for i in range(steps):
            net.train()
            optimiser.zero_grad()
            torch.manual_seed(i)
            loss = arena.loss(net)
            loss.backward()
            before = (
                [] if seen is None else [(p, p.detach().clone(), p.grad.clone()) for p in own if p.grad is not None]
            )
            penalise(method, net)
            optimiser.step()
            told = () if seen is None else _falls(before, loss.item(), arena, net, i)
            method.step(net, i, steps)
            net.eval()
            if seen is not None:
                seen(*told)
    net.zero_grad(set_to_none=True)


@torch.no_grad()
def _falls(
    before: Sequence[tuple[Tensor, Tensor, Tensor]], loss: float, arena: Arena, net: Network, seed: int
) -> tuple[float, float]:
    """What (tensor, tensor before, gradient) promised, and what came of it."""
    promised = -sum(((p - old).double() * grad.double()).sum().item() for p, old, grad in before)
    torch.manual_seed(seed)
    return promised, loss - arena.loss(net).item()
