"""What is said of the methods: lists for the command line, and docs/methods.md, all read from the code.

Where a method trains is not declared but seen: it is attached to the toy base, and what became trainable is looked up.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench.checks.arena import fresh, make_arena
from bench.core.errors import LitmusError
from bench.core.files import write_bytes
from bench.core.text import markdown
from bench.method import METHODS, Method, Network, load_plugins, state
from bench.network.sites import sites

END = "<!-- Written by `litmus methods --write docs/methods.md` up to here; what follows is kept. -->"
GALLERY = """## What they learn

Each method at the learning rate that one search gave it (`litmus sweep zoo-tuning`), on the subject which that search
used, so that its scores there are a little optimistic, and on a style that no rate was chosen on; one seed. Scores are
normalised: concept 0 is the frozen base and 1 is truth; follows 0 is the text score of a wrong prompt and 1 is truth's.
Pictures: prompts of the subject, then of the style, with the same noise in each line. One seed and two tasks rank
nobody: that is what boards with intervals are for.
"""
GALLERY_END = (
    "<!-- Written by `litmus methods --write docs/methods.md --board zoo` up to here; what follows is kept. -->"
)
KINDS = {nn.Linear: "linear", nn.Conv2d: "conv", nn.Embedding: "embedding"}
ORDER = ("attn1", "attn2", "ff", "resnet", "block", "other", "text", "linear", "conv", "norm", "bias", "embedding")
HEAD = """# The methods

The {count}, read from the code; `litmus methods NAME` shows one with its settings. The columns
from mergeable to side are declarations, and each is tested in both directions by `bench.checks`. Sites and layers are
what the method makes trainable at its defaults on a small U-Net with a text encoder.

- **mergeable**: after training it can be folded into the base's own tensors, so that inference costs nothing more.
- **packable**: two seeds can be trained as one program (`torch.func.vmap`).
- **exact start**: attached and untrained, the network computes what the base computes.
- **data**: its start is computed from batches of the task's training pictures.
- **side**: what it trains, the denoiser or the text encoder.
"""


@dataclass(frozen=True)
class Place:
    """Where a method trains: attn1, attn2, ff, resnet, block, other, text; and in which kinds of layer."""

    sites: tuple[str, ...]
    kinds: tuple[str, ...]


def builtin() -> dict[str, type[Method]]:
    """This project's methods by name, without plug-ins."""
    load_plugins()
    return {name: cls for name, cls in sorted(METHODS.items()) if cls.__module__.startswith("methods.")}


def unavailable() -> dict[str, str]:
    """What was looked at and cannot be a method here, with the reason: UNAVAILABLE of the modules of methods/."""
    load_plugins()
    reasons: dict[str, str] = {}
    for name in sorted(name for name in sys.modules if name.startswith("methods.")):
        reasons |= getattr(sys.modules[name], "UNAVAILABLE", {})
    return dict(sorted(reasons.items()))


def counted(methods: Mapping[str, type[Method]]) -> str:
    """How many there are, as it is said everywhere: without settings of one method, and without what trains nothing.

    "73 methods, and base, which trains nothing".
    """
    idle = [name for name, cls in methods.items() if not cls.trains]
    line = f"{len(methods) - len(idle)} methods"
    return line + (f", and {', '.join(idle)}, which train{'s' * (len(idle) == 1)} nothing" if idle else "")


def yes(fact: bool) -> str:
    return "yes" if fact else "no"


def first(thing: Any) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(thing) or "").strip().partition("\n")[0]


def listing() -> tuple[list[str], list[list[str]]]:
    """Header and rows of `litmus methods`, plug-ins included."""
    load_plugins()
    header = [
        "method",
        "learning rate",
        "size",
        "mergeable",
        "packable",
        "exact start",
        "side",
        "paper",
        "what it does",
    ]
    body = []
    for name, cls in sorted(METHODS.items()):
        try:
            one = cls()
        except (LitmusError, TypeError) as error:  # somebody's file, half written: the list must not fail with it
            body.append([name, "", "", "", "", "", "", cls.paper, f"cannot be made with its defaults: {error}"])
            continue
        facts = [yes(fact) for fact in (one.mergeable, one.packable, one.exact_start)]
        rate = f"{cls.lr:g}" if cls.trains else ""
        body.append([name, rate, cls.size_field or "", *facts, cls.side, cls.paper, first(cls)])
    return header, body


def settings(cls: type[Method]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one method's hyperparameters: default, and what a tuning run may search."""
    values: dict[str, Any] = {"lr": cls.lr, **cls().hyper()}
    body = []
    for key, value in values.items():
        span = cls.space.get(key)
        searched = f"{span[0]:g} to {span[1]:g}, {span[2]}" if span else ""
        text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        body.append([key, text, searched, "size" if key == cls.size_field else ""])
    return ["setting", "default", "searched", ""], body


def place_of(method: Method) -> Place | None:
    """Where `method` trains on the toy base; None where it does not apply to it."""
    arena = make_arena(text=True)
    plain = arena.make()
    modules = dict(plain.named_modules())
    try:
        net = fresh(method, arena)
    except LitmusError:
        return None
    roles = _roles(plain)
    where, kinds = set(), set()
    for key in state(net):
        path, _, leaf = key.rpartition(".")
        inherited = path in modules and isinstance(getattr(modules[path], leaf, None), nn.Parameter)
        while path not in modules:
            path = path.rpartition(".")[0]
        module = modules[path]
        where.add(_site(path, roles))
        norm = type(module).__name__.endswith("Norm")
        kind = "norm" if norm else next((word for cls, word in KINDS.items() if isinstance(module, cls)), "block")
        kinds.add("bias" if inherited and leaf == "bias" else kind)
    return Place(_sorted(where), _sorted(kinds))


def _roles(net: Network) -> dict[str, set[str]]:
    paths = {role: set(sites(net, role, optional=True)) for role in ("attn1", "attn2", "ff")}
    return paths | {"resnet": set(sites(net, "resblock", optional=True)), "block": set(sites(net, "block"))}


def _site(path: str, roles: dict[str, set[str]]) -> str:
    if path.startswith("text"):
        return "text"
    for role, paths in roles.items():
        if any(path == one or path.startswith(f"{one}.") for one in paths):
            return role
    return "other"


def _sorted(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(words, key=lambda word: ORDER.index(word)))


def page() -> str:
    """docs/methods.md up to its END line: the table of capabilities, and a paragraph for each method."""
    header = ["method", "mergeable", "packable", "exact start", "data", "side", "sites", "layers", "size"]
    table, parts = [], []
    for name, cls in builtin().items():
        one = cls()
        place = place_of(one)
        facts = [yes(fact) for fact in (one.mergeable, one.packable, one.exact_start, cls.needs_data)]
        seen = [", ".join(place.sites), ", ".join(place.kinds)] if place else ["–", "–"]
        table.append([f"[{name}](#{name})", *facts, cls.side, *seen, cls.size_field or ""])
        parts.append(_paragraph(name, cls))
    text = [HEAD.format(count=counted(builtin())), markdown(header, table), "", *parts]
    if gone := unavailable():
        lines = [f"- **{name}**: {reason}" for name, reason in gone.items()]
        text += ["## Looked at, and not here", "", *lines, ""]
    return "\n".join([*text, END]) + "\n"


def _paragraph(name: str, cls: type[Method]) -> str:
    about = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    formula = f"`{cls.formula}`. " if cls.formula else ""
    cited = " ".join((sys.modules[cls.__module__].__doc__ or "").strip().split("\n\n")[0].split())
    lines = [
        f"### {name}",
        "",
        f"{cls.__name__}. {formula}{about}",
        "",
        f"{cited} ({cls.paper})" if cited else cls.paper,
    ]
    return "\n".join([*lines, ""])


def write(path: Path, gallery: str = "") -> None:
    """Write the page to `path`; what stands below its END lines is kept.

    `gallery` (Markdown, from bench.report.gallery) goes between the two END lines; "" keeps the one that is there.
    """
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    tail = old.partition(END + "\n")[2]
    shown, mark, rest = tail.rpartition(GALLERY_END + "\n")
    if gallery:
        shown, mark = f"\n{GALLERY}\n{gallery}\n\n", GALLERY_END + "\n"
    write_bytes(path, (page() + shown + mark + rest).encode())
