"""The forwards of blocks with their positions named, for bypasses (bench.network.sites.bridge).

Each family brings those of its blocks (Family.insides). A forward computes what the block's own class computes, in the
same order of operations, and lets every tensor that has a position pass through `visit(block)`. Where a block has no
such tensor the position is left out of `widths`, and asking for it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench.network.family import insides


@dataclass(frozen=True)
class Inside:
    """What is known of one class of block: its forward, and the Linear or Conv2d that tells each position's width."""

    forward: Callable[..., Any]
    widths: dict[str, tuple[str, str]]  # position -> (path, attribute)
    fits: Callable[[Any], bool] = lambda block: True


def inside(block: nn.Module) -> Inside | None:
    """What is known of `block`; None where nothing is."""
    return next((one for one in insides(type(block).__name__) if one.fits(block)), None)


def visit(block: Any) -> Callable[[str, Tensor], Tensor]:
    """A function at(position, tensor) -> tensor for one pass through `block`, which is where its bypass acts."""
    source, target, name = block.bridged
    delta: Tensor | None = None

    def at(position: str, x: Tensor) -> Tensor:
        nonlocal delta
        if position == source:
            delta = getattr(block, name)(x)
        if position == target:
            assert delta is not None, f"{source} comes after {target}"
            x = x + delta
        return x

    return at


def widths(stream: str, *positions: str, text: str = "") -> dict[str, tuple[str, str]]:
    """Positions of the stream that the Linear at `stream` reads, and attn2c where one at `text` reads the text."""
    found = {position: (stream, "in_features") for position in positions}
    return found | ({"attn2c": (text, "in_features")} if text else {})
