"""Places in a denoiser by role, so that one method file works on U-Nets and transformers alike.

A role is
  attn1.to_q .to_k .to_v .to_out                  attention of the picture on itself (in a joint block: its own stream)
  attn2.to_q .to_k .to_v .to_out                  attention of the picture on the text (there: the text's stream)
  ff.up ff.down                                   the feed-forward's two layers
  attn1, attn2, ff; attn for both; attn.to_v ...  all of them, or one layer of both
  linear conv norm bias                           every Linear, every Conv2d, every affine norm, everything with a bias
  block resblock                                  whole transformer blocks, whole residual blocks
  .to_q .proj_in ...                              every Linear and Conv2d whose path ends so: a layer by its own name
or several with a plus: "attn+ff". Which paths inside a block play a role, its family says (Family.roles).

The ten positions that a bypass can read from or write to are those of Xiang, Bao, Li, Su, Zhu, "A Closer Look at
Parameter-Efficient Tuning in Diffusion Models", arXiv:2303.18181, section 3. Which of them a block has, its family says
(Family.insides, bench.network.forwards).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import nn

from bench.core.errors import LitmusError, nearest
from bench.network.family import FAMILIES, Roles, block_roles
from bench.network.forwards import Inside, inside
from bench.plugin.view import Names, View


def attention(role: str, at: str, out: str = "to_out.0") -> Roles:
    """The four layers of diffusers' attention at the path `at`, as those of `role` ("attn1")."""
    layers = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": out}
    return {f"{role}.{layer}": (f"{at}.{path}",) for layer, path in layers.items()}


BLOCKS = View(block_roles)  # class of a block -> role -> paths inside it
KINDS = ("linear", "conv", "norm", "bias", "block", "resblock")
ROLES = Names(lambda: sorted({role for roles in BLOCKS.values() for role in roles}))


def sites(net: nn.Module, role: str, optional: bool = False) -> dict[str, Any]:
    """The modules of `net` that play `role`, by path, in the network's own order.

    Paths are relative to the module that is given, so that `net.get_submodule(path)` is the module found:

      sites(net, ...)           a Network: its denoiser alone is searched, and paths begin with "denoiser."
      sites(net.denoiser, ...)  the same modules, with paths inside the denoiser, as peft's target_modules takes them
      sites(net.text, ...)      the text encoder's modules, with paths inside it
      sites(block, ...)         any other module, with paths inside it

    To put another module in the place of one, `net.set_submodule(path, new)` with a path from the same `net`. Raises
    LitmusError for an unknown role, and for one that no module of `net` has, unless it is `optional`: a method must not
    train nothing in silence.
    """
    part: Any = net
    prefix = ""
    if isinstance(getattr(net, "denoiser", None), nn.Module):
        part, prefix = net.denoiser, "denoiser."
    paths = {path for one in role.split("+") for path in _paths(part, one.strip())}
    if not paths and not optional:
        raise LitmusError(
            f"{type(part).__name__} has no module with role {role!r}; available: {', '.join(_roles_of(part))}"
        )
    return {prefix + path: module for path, module in part.named_modules() if path in paths}


def _roles_of(part: nn.Module) -> list[str]:
    """The roles that at least one module of `part` has, as they are written most shortly."""
    # The path of `part` itself is "", so what counts is that there is one.
    return [role for role in ("attn1", "attn2", "ff", *KINDS, *POSITIONS) if [*_paths(part, role)]]


def _paths(part: nn.Module, role: str) -> Iterator[str]:
    if role.startswith("."):
        yield from (path for path, m in part.named_modules() if f".{path}".endswith(role) and _is(m, "weighted"))
        return
    blocks = block_roles()
    wanted = {r for roles in blocks.values() for r in roles if _covers(role, r)}
    if not wanted and role not in KINDS and role not in POSITIONS:
        raise LitmusError(nearest(role, [*ROLES, "attn", "attn1", "attn2", "ff", *KINDS, *POSITIONS], "role"))
    for path, module in part.named_modules():
        if _has(module, role) if role in POSITIONS else _is(module, role):
            yield path
        roles = blocks.get(type(module).__name__, {})
        for inner in {p for r in wanted for p in roles.get(r, ())}:
            if _get(module, inner) is not None:
                yield f"{path}.{inner}".lstrip(".")


def _covers(role: str, exact: str) -> bool:
    """Whether `role` (attn, attn1, attn.to_q, attn1.to_q, ...) names `exact` (attn1.to_q)."""
    place, _, layer = role.partition(".")
    exact_place, _, exact_layer = exact.partition(".")
    return place in (exact_place, exact_place.rstrip("12")) and layer in ("", exact_layer)


def _is(module: nn.Module, kind: str) -> bool:
    name = type(module).__name__
    match kind:
        case "linear":
            return isinstance(module, nn.Linear)
        case "weighted":
            return isinstance(module, nn.Linear | nn.Conv2d)
        case "conv":
            return isinstance(module, nn.Conv2d)
        case "norm":  # by name, since diffusers has norms of its own; AdaLayerNorm and the like hold a Linear instead
            return name.endswith("Norm") and isinstance(getattr(module, "weight", None), nn.Parameter)
        case "bias":
            return isinstance(getattr(module, "bias", None), nn.Parameter)
        case "block":
            return name in BLOCKS
        case "resblock":
            return any(name in family.resblocks for family in FAMILIES.known())
    return False


def _has(block: nn.Module, position: str) -> bool:
    found = inside(block)
    return found is not None and position in found.widths


def _get(module: Any, path: str) -> nn.Module | None:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


@dataclass(frozen=True)
class Position:
    """A tensor inside a block. `order` counts along the data's way; a bypass never runs against it."""

    paper: str  # the paper's name
    block: str  # "block" or "resblock"
    order: int
    target: bool  # writing to the others would be the same as writing to the next one


POSITIONS: dict[str, Position] = {
    "attn1i": Position("SA_in", "block", 0, True),  # the block's input, before the norm
    "attn1o": Position("SA_out", "block", 1, False),  # self-attention's output, before the residual sum
    "attn2i": Position("CA_in", "block", 2, True),
    "attn2o": Position("CA_out", "block", 3, False),
    "attn2c": Position("CA_c", "block", 3, True),  # the text states that this block's cross-attention reads
    "ffni": Position("FFN_in", "block", 4, True),
    "ffno": Position("FFN_out", "block", 5, False),
    "transo": Position("Trans_out", "block", 6, True),  # the block's output
    "resi": Position("Res_in", "resblock", 0, True),
    "reso": Position("Res_out", "resblock", 1, True),
}


def _legal(source: str, target: str) -> bool:
    a, b = POSITIONS[source], POSITIONS[target]
    if "attn2c" in (source, target):  # text states have a width and a length of their own
        return source == target
    return b.target and a.block == b.block and a.order <= b.order


PAIRS: tuple[tuple[str, str], ...] = tuple((a, b) for a in POSITIONS for b in POSITIONS if _legal(a, b))  # 20


def ways(net: nn.Module, source: str, target: str) -> dict[str, Any]:
    """The blocks of `net` that have both positions, by path from `net` as in `sites`.

    Raises LitmusError where none has both.
    """
    found = sites(net, source)
    both = {path: block for path, block in found.items() if target in _known(block).widths}
    if not both:
        kinds = " and ".join(sorted({type(block).__name__ for block in found.values()}))
        raise LitmusError(f"no way from {source} to {target}: a {kinds} has no {target}")
    return both


def features(block: Any, position: str) -> int:
    """Features (or channels) of the tensor at `position` of `block`."""
    path, size = _width(block, position)
    return getattr(_get(block, path), size)


def bridge(block: Any, source: str, target: str, module: nn.Module, name: str) -> None:
    """Make `block` add `module(tensor at source)` to its tensor at `target`, and keep `module` as `block.<name>`.

    The block keeps its class and the names of its parameters. Raises LitmusError for a block whose inside is not known
    here, or that lacks one of the positions.
    """
    for position in (source, target):
        _width(block, position)
    setattr(block, name, module)
    # A bound method in the block's own dict: deepcopy binds it to the copy, and checkpointing calls it as any forward.
    block.forward = MethodType(_known(block).forward, block)
    block.bridged = (source, target, name)


def _known(block: nn.Module) -> Inside:
    if (found := inside(block)) is None:
        raise LitmusError(f"the inside of a {type(block).__name__} of this network is not known: no bridge across it")
    return found


def _width(block: nn.Module, position: str) -> tuple[str, str]:
    widths = _known(block).widths
    if position not in widths:
        raise LitmusError(f"a {type(block).__name__} has no {position}: it has {', '.join(widths)}")
    return widths[position]
