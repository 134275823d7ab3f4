"""The image metrics of torchmetrics as metrics of ours: `torchmetrics.KernelInceptionDistance[subset_size=20]`.

Their cards are read from torchmetrics' source text (class attributes, signatures, first lines of docstrings), because a
plan and a report need them and import no torch. What computes them is bench.evaluation.pictures.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from bench.core.errors import LitmusError, nearest
from bench.metrics.base import INF, Metric
from bench.plugin.spec import Value, label

PREFIX = "torchmetrics."
LISTING = "litmus metrics torchmetrics"
PACKAGES = ("image", "multimodal")
ROLES = ("identity", "style", "image")  # networks of our extractors, in place of one that torchmetrics downloads
NETWORKS = ("feature", "model_name_or_path")  # the parameters that take one

# What `update` is given, by its signature.
PAIRS, SETS, TEXTS, ALONE = "pairs", "sets", "texts", "alone"
FED = {
    PAIRS: "each picture beside each truth picture of the same prompt, mean over the prompts",
    SETS: "all pictures against all truth pictures, or the training pictures where there is no truth",
    TEXTS: "each picture beside its prompt without the identifier, mean over the prompts",
    ALONE: "all pictures, without a reference",
}


@dataclass(frozen=True)
class TorchMetric(Metric):
    """A metric of torchmetrics: the class of each has its card, an instance the settings that were asked for."""

    table = "details"
    order = 2000
    digits = 3
    unit = "as torchmetrics has it"
    sees = "pictures"
    module: ClassVar[str]  # "torchmetrics.image"
    cls: ClassVar[str]  # "TotalVariation"
    fed: ClassVar[str]  # a key of FED
    takes: ClassVar[dict[str, Any]]  # parameters that a protocol can set, with their defaults; ... where there is none

    floats: ClassVar[frozenset[str]]  # those of them that take no whole number

    settings: tuple[tuple[str, Value], ...] = ()

    def hyper(self) -> dict[str, Any]:
        return dict(self.settings)

    @property
    def spec(self) -> str:
        return label(self.name, dict(self.settings))


@lru_cache(maxsize=1)
def _classes() -> dict[str, tuple[str, ast.ClassDef]]:
    """Public class -> (package, source) of torchmetrics' image metrics; empty where it is not installed."""
    spec = find_spec("torchmetrics")
    found: dict[str, tuple[str, ast.ClassDef]] = {}
    for root in (spec.submodule_search_locations or []) if spec else []:
        for package in PACKAGES:
            folder = Path(root) / package
            if not (folder / "__init__.py").is_file():
                continue
            public = _names(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
            for file in sorted(folder.glob("[a-z]*.py")):
                for node in ast.parse(file.read_text(encoding="utf-8")).body:
                    if isinstance(node, ast.ClassDef) and node.name in public:
                        found.setdefault(node.name, (package, node))
    return found


def _names(tree: ast.Module) -> set[str]:
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == name), None)


def _fact(node: ast.ClassDef, name: str) -> Any:
    """The class attribute `name` as a plain value; None where it is not written there."""
    for x in node.body:
        target = x.target if isinstance(x, ast.AnnAssign) else x.targets[0] if isinstance(x, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == name and x.value is not None:  # type: ignore[union-attr]
            return _literal(x.value)  # type: ignore[union-attr]
    return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _fed(node: ast.ClassDef) -> str | None:
    """What `update` wants, None for what a board has not (generators, vertices, several resolutions)."""
    update = _method(node, "update")
    given = [(a.arg, ast.unparse(a.annotation) if a.annotation else "") for a in update.args.args[1:]] if update else []
    names, kinds = [name for name, _ in given], [kind for _, kind in given]
    if kinds == ["Tensor", "bool"] and names[1] == "real":
        return SETS
    if kinds == ["Tensor"] and names[0].startswith("im"):  # img, imgs, images
        return ALONE
    if kinds == ["Tensor", "Tensor"] and names in (["preds", "target"], ["img1", "img2"]):
        return PAIRS
    if len(kinds) == 2 and all("Tensor" in kind and "dict" not in kind for kind in kinds) and "str" in kinds[1]:
        return TEXTS
    return None


def _takes(node: ast.ClassDef) -> dict[str, Any]:
    """Parameters of the constructor and their defaults as plain values, `...` where there is none."""
    init = _method(node, "__init__")
    if init is None:
        return {}
    names = [a.arg for a in init.args.args[1:]]
    defaults: list[Any] = [_literal(d) for d in init.args.defaults]
    return dict(zip(names, [...] * (len(names) - len(defaults)) + defaults, strict=True))


def _floats(node: ast.ClassDef) -> frozenset[str]:
    """Parameters of the constructor that take a number with a point and refuse a whole one."""
    init = _method(node, "__init__")
    given = [(a.arg, ast.unparse(a.annotation) if a.annotation else "") for a in init.args.args[1:]] if init else []
    return frozenset(name for name, kind in given if re.search(r"\bfloat\b", kind) and not re.search(r"\bint\b", kind))


def names() -> list[str]:
    """Every metric of torchmetrics that can stand in a protocol, sorted."""
    return sorted(PREFIX + name for name, (_, node) in _classes().items() if _fed(node))


def words(name: str) -> str:
    """A class name as words: "CLIPScore" -> "CLIP score"."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|\d+", name)
    return " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts)


def _title(name: str, first: str) -> str:
    """What people call it: the acronym that its docstring gives ("SSIM"), or its name as words."""
    acronym = re.search(r"\(([A-Z][A-Z0-9-]{2,})\)", first)
    return acronym.group(1) if acronym else words(name)


def _initials(name: str) -> str:
    """ "torchmetrics.FrechetInceptionDistance" -> "fid"."""
    return "".join(re.findall(r"[A-Z]", name)).lower()


def likely(short: str) -> str | None:
    """The metric that somebody means by the beginning of a class name, or by its initials: "fid", "Frechet"."""
    low = short.lower()
    fits = (one for one in names() if low == _initials(one) or one.removeprefix(PREFIX).lower().startswith(low))
    return next(fits, None) if len(low) > 2 else None


@lru_cache(maxsize=64)
def card(name: str) -> type[TorchMetric]:
    """The class of `torchmetrics.X`. LitmusError for an unknown one, and for one that a board cannot feed."""
    short = name.removeprefix(PREFIX)
    if not _classes():
        raise LitmusError(f"{name} needs torchmetrics: pip install 'torchmetrics[image]'")
    if short not in _classes():
        if meant := likely(short):
            raise LitmusError(f"unknown metric '{name}': did you mean '{meant}'? ({LISTING} lists {len(names())})")
        raise LitmusError(nearest(name, names(), "metric", LISTING))
    package, node = _classes()[short]
    fed = _fed(node)
    if fed is None:
        update = _method(node, "update")
        given = ", ".join(a.arg for a in update.args.args[1:]) if update else "nothing"
        raise LitmusError(f"{name} compares {given}, which no board has: choose another ({LISTING})")
    low, high = _fact(node, "plot_lower_bound"), _fact(node, "plot_upper_bound")
    first = re.sub(r"[`_]", "", (ast.get_docstring(node) or short).split("\n\n")[0])
    facts = {
        "name": PREFIX + short,
        "title": _title(short, first),
        "definition": f"{' '.join(first.split()).rstrip('.')}; {FED[fed]}",
        "higher_is_better": _fact(node, "higher_is_better"),
        "bounds": (-INF if low is None else float(low), INF if high is None else float(high)),
        "source": f"torchmetrics.{package}.{short}",
        "module": f"torchmetrics.{package}",
        "cls": short,
        "fed": fed,
        "takes": _takes(node),
        "floats": _floats(node),
    }
    return type(short, (TorchMetric,), {**facts, "__module__": __name__, "__doc__": first})


def make(name: str, hyper: Mapping[str, Value]) -> TorchMetric:
    """The metric with these settings. LitmusError for an unknown one, and for one that has to be given and is not."""
    cls = card(name)
    for key in hyper:
        if key not in cls.takes:
            raise LitmusError(nearest(key, cls.takes, f"setting of {name}", f"litmus metrics {name}"))
    given = {**ours(cls), **hyper}
    if lacking := [key for key, default in cls.takes.items() if default is ... and key not in given]:
        raise LitmusError(f"{name} must be told {lacking[0]}: write {name}[{lacking[0]}=...]")
    pointed = {k: float(v) if k in cls.floats and type(v) is int else v for k, v in hyper.items()}
    return cls(tuple(pointed.items()))


def ours(cls: type[TorchMetric]) -> dict[str, Value]:
    """What our pictures decide where a protocol says nothing: they are numbers from 0 to 1."""
    found: dict[str, Value] = {}
    if "data_range" in cls.takes:
        found["data_range"] = 1.0
    if cls.takes.get("normalize") is False:  # "the pictures are from 0 to 1, not bytes or -1 to 1"
        found["normalize"] = True
    return found
