"""What every tuner of Hugging Face's peft needs to be a method here: `Tuner`, the base class of those methods.

A tuner wraps layers one by one, so a method says what peft's configuration is for a weight of shape (out, in) and how
many scalars that costs; layers of equal settings are wrapped in one go. A convolution's weight counts as
(out, in * kh * kw). What is random and frozen comes from a hyperparameter `projection_seed`, never from the run's own
stream, so that it need not be stored.

Written against peft 0.21.2; a tuner that the installed release lacks is refused when it is attached. What of peft is no
method here stands in methods/_unavailable.py, with the reason.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from bench.method import LitmusError, Method, Network
from bench.network.sites import sites

Shape = tuple[int, int]  # of a layer's weight: out, in
LINEAR = ("Linear",)
LINEAR_CONV = ("Linear", "Conv2d")
ADAPTER = "default"  # peft's own name for the one adapter of a network


@dataclass(frozen=True)
class Tuner(Method):
    """A tuner of peft on each layer at `targets`, a role of bench.network.sites."""

    lr = 1e-3
    config: ClassVar[str] = ""  # the name of peft's configuration class
    solid: ClassVar[bool] = False  # peft reads the weights' numbers, so on the meta device it is given zeros
    kinds: ClassVar[tuple[str, ...]] = LINEAR  # classes of layer that the tuner can wrap

    targets: str = "attn"

    def __post_init__(self) -> None:
        if self.size_field and (size := getattr(self, self.size_field)) is not None and size <= 0:
            raise LitmusError(f"{self.name}: {self.size_field} is above 0, not {size}")

    def settings(self, shape: Shape) -> dict[str, Any]:
        """Keywords of peft's configuration for a weight of this shape."""
        return {}

    def common(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        """Keywords that hang on all the weights together."""
        return {}

    def size(self, shape: Shape) -> int:
        """Trainable scalars at a weight of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must say what a layer costs: write size(self, shape)")

    def layers(self, net: Network) -> dict[str, Any]:
        """The layers to wrap by their path inside the denoiser, which is what peft is given."""
        found = sites(net.denoiser, self.targets)
        for path, layer in found.items():
            if type(layer).__name__ not in self.kinds:
                can = " and ".join(self.kinds)
                raise LitmusError(f"{self.name} wraps {can}, and {path} is a {type(layer).__name__}: narrow targets")
        return found

    def attach(self, net: Network, rng: torch.Generator) -> None:
        layers = self.layers(net)
        common = self.common([shape_of(layer) for layer in layers.values()])
        groups: dict[str, tuple[dict[str, Any], list[str]]] = {}
        for path, layer in layers.items():
            keywords = common | self.settings(shape_of(layer))
            groups.setdefault(self.group(path, layer, keywords), (keywords, []))[1].append(path)
        with drawn_from(rng), solid(net.denoiser, layers.values(), self.solid):
            for keywords, paths in groups.values():
                wrap(net.denoiser, self.config, paths, keywords)

    def group(self, path: str, layer: nn.Module, keywords: dict[str, Any]) -> str:
        """Layers of the same group are wrapped together, and share what the tuner shares."""
        return repr(keywords)

    def count(self, net: Network) -> int:
        return sum(self.cost(layer) for layer in self.layers(net).values())

    def cost(self, layer: Any) -> int:
        """Trainable scalars at one layer; `size` unless more than the weight's shape decides."""
        return self.size(shape_of(layer))

    def merge(self, net: Network) -> None:
        unwrap(net.denoiser)


def shape_of(layer: Any) -> Shape:
    return layer.weight.shape[0], layer.weight[0].numel()


def wrapped(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """(path, layer of peft) for each layer that is wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in part.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, module


def wrap(part: nn.Module, config: str, paths: Iterable[str], keywords: dict[str, Any]) -> None:
    """Wrap the layers at `paths` of `part` by the tuner of `config`, in place; peft draws from the global streams."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    # A pattern, since peft takes a name in a list for every path that ends in it.
    pattern = "|".join(re.escape(path) for path in paths)
    settings = getattr(peft, config)(target_modules=f"(?:{pattern})", **keywords)
    # The tuner itself, not inject_adapter_in_model, which refuses tuners whose layers share tensors: the layers hold
    # these tensors themselves, so the tuner can go.
    PEFT_TYPE_TO_TUNER_MAPPING[settings.peft_type](part, settings, ADAPTER)
    vars(part)["peft_parts"] = (*vars(part).get("peft_parts", ()), settings)  # peft keeps the last group's alone
    for _, layer in wrapped(part):
        layer.train(layer.get_base_layer().training)  # a new module is in training mode


def part_holders(net: Network, key: str) -> None:
    """Give each layer a holder of its own for the tensor that all share under `key`.

    torch.func.functional_call cannot put a module back as it was that is reached by two paths; tensors it can.
    """
    for _, layer in wrapped(net.denoiser):
        setattr(layer, key, nn.ParameterDict(dict(getattr(layer, key).items())))


@torch.no_grad()
def unwrap(part: nn.Module) -> None:
    """Fold every wrapped layer's change into its base layer and put that back in place."""
    for path, layer in list(wrapped(part)):
        layer.merge()
        parent, _, child = path.rpartition(".")
        setattr(part.get_submodule(parent), child, layer.get_base_layer())
    for name in ("peft_config", "peft_parts"):
        vars(part).pop(name, None)


@contextmanager
def solid(part: nn.Module, layers: Iterable[Any], wanted: bool) -> Iterator[None]:
    """Inside, `layers` that are on the meta device hold zeros where this is `wanted`; after, `part` is on it again."""
    hollow = [layer for layer in layers if layer.weight.is_meta] if wanted else []
    if not hollow:
        yield
        return
    for layer in hollow:
        layer.to_empty(device="cpu")
        for p in layer.parameters():
            p.data.zero_()
    with torch.device("cpu"):
        yield
    part.to("meta")


@contextmanager
def drawn_from(rng: torch.Generator) -> Iterator[None]:
    """Inside, the global streams of torch (on the CPU), numpy and random start from `rng`; after, they are as before.

    peft's remarks on settings that it bends are silenced: methods say in their docstrings what is bent.
    """
    seed = int(torch.randint(2**31 - 1, (), generator=rng, device="cpu"))
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would move the accelerators' streams too
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def divisor(most: float, *sizes: int) -> int:
    """The largest whole number that divides all `sizes` and is not above `most`; 1 at least."""
    common = int(np.gcd.reduce(sizes))
    return max(d for d in range(1, common + 1) if common % d == 0 and d <= max(most, 1))


def one_of(method: Method, field: str, known: tuple[str, ...]) -> None:
    """LitmusError where the hyperparameter `field` is none of the words in `known`."""
    if getattr(method, field) not in known:
        raise LitmusError(f"{method.name}: {field} is one of {', '.join(known)}, not {getattr(method, field)!r}")
