"""What a method costs on a base, apart from any run: the same for every task and seed, so measured once and kept.

Seconds of a step and of sampling are taken on each run itself. What is here takes as long as a tenth of a run, and a
board would ask for it again for each of its cells.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch

from bench.core.cache import store_table, stored_table
from bench.cost.measure import Example, Optimiser, measure
from bench.method import source_digest
from bench.network.calls import Context

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.method import Method

VERSION = 1  # raised whenever what is kept would come out differently from the same inputs
WORD = "photo"
CALLS = 12  # denoiser calls timed per variant: the median of a dozen moves by a few percent


def method_costs(
    base: Base,
    method: Method,
    batch: int,
    checkpointing: bool = False,
    optimiser: tuple[str, Optimiser] | None = None,
    frozen: bool = False,
) -> dict[str, float | int | None]:
    """`bench.cost.measure` of `method` on the frozen `base` at batches of `batch`, from results/.cache where it is.

    With `checkpointing` the step computes its activations again; `optimiser` is the name and the maker of another than
    AdamW; with `frozen` the loss asks the frozen base too. A cache file that cannot be read is made anew; one that
    cannot be written is done without.
    """
    facts = {
        "version": VERSION,
        "torch": torch.__version__,
        "base": base.digest,
        "compute": base.compute,
        "device": str(base.device),
        "threads": torch.get_num_threads(),
        "method": [type(method).__name__, asdict(method), source_digest(type(method))],
        "batch": batch,
    }
    # Said only where it is so: what was kept before stands.
    if checkpointing:
        facts["checkpointing"] = True
    if optimiser:
        facts["optimiser"] = optimiser[0]
    if frozen:
        facts["frozen"] = True
    if base.compute != "fp32" or base.source is not None:
        facts["step"] = "the trainer's"  # once of tensors in the base's precision, and without pooled text
    if (kept := stored_table("cost", facts)) is not None:
        return kept
    example = training_batch(base, batch)
    net = base.net
    if method.side != "denoiser":  # costs know no task: any word stands for the concept
        example = replace(example, ids=base.tokens([f"a {WORD}"] * batch).to(base.device))
        net = copy.copy(net)  # its tensors stay shared; `measure` makes copies of its own
        net.trigger = base.trigger(WORD)
    make = optimiser[1] if optimiser else None
    costs = measure(method, net, example, base.autocast, CALLS, checkpointing, make, frozen)
    store_table("cost", facts, costs)
    return costs


def training_batch(base: Base, batch: int) -> Example:
    """A batch in the shapes, dtypes and place of those that the trainer draws: float32 latents, the base's own text."""
    text = base.encode_text([""])
    states = text.states if isinstance(text, Context) else text
    like = torch.empty(0, device=base.device)
    _, tokens, wide = states.shape
    drawn = Example.random((batch, *base.latent_shape), tokens, wide, like, states.dtype)
    return replace(drawn, context=text[[0] * batch]) if isinstance(text, Context) else drawn
