"""What a training step would take: bytes and FLOPs of each method on each published denoiser, from shapes alone.

The step itself is run on the meta device, where no weight exists and nothing is computed, and every operation is
counted as it passes (bench.cost.step). It is the trainer's step: what is trained is float32, and on a base in bfloat16
the forward pass runs under autocast. What the count cannot see is told in docs/costs.md.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from bench.bases.architectures import ARCHITECTURES, shape
from bench.bases.toy import toy_network, toy_text
from bench.core.errors import LitmusError, nearest
from bench.core.rng import rng
from bench.cost.autocast import casting, checkpointing
from bench.cost.hollow import hollow, matched
from bench.cost.measure import Example
from bench.cost.small import small
from bench.cost.step import Step, counted
from bench.method import METHODS, Method, Network, attached, load_plugins, make, parse_spec, state
from bench.network.calls import shapes
from bench.training.attach import attached_copy

GIB = 2**30
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
AIM = "cuda"  # the device whose autocast a forecast follows
ATTENTION = ("fused", "math")
LATENT = 8  # pixels of one latent's side; the pocket base has POCKET
POCKET = 4
RESOLUTION = {"pocket": 64}
SOLID = 100_000_000  # scalars that a method which cannot start from shapes is given as zeros
FITS, WITH, NOT = "fits", "fits with checkpointing", "does not fit"
RESERVE = 1.0  # GiB of a card that tensors cannot have: context, workspaces, rounding and gaps of the allocator


@dataclass(frozen=True)
class Setting:
    """How is trained. Without `resolution` 512, on the pocket base 64; `vram` and `reserve` in GiB.

    dtype    "fp32", or "bf16": a base in bfloat16 and its arithmetic; the pocket base keeps its float32 weights
    trained  "fp32" as the trainer has it, or "bf16": the trained tensors too, without autocast
    """

    batch: int = 1
    resolution: int | None = None
    dtype: str = "bf16"
    attention: str = "fused"
    checkpointing: bool = False
    vram: float = 24.0
    reserve: float = RESERVE
    trained: str = "fp32"

    def __post_init__(self) -> None:
        for value, known, kind in (
            (self.dtype, DTYPES, "dtype"),
            (self.trained, DTYPES, "dtype of trained tensors"),
            (self.attention, ATTENTION, "attention"),
        ):
            if value not in known:
                raise LitmusError(nearest(value, known, kind))
        if self.trained == "bf16" and self.dtype != "bf16":
            raise LitmusError("tensors trained in bf16 go with a base in bf16: add --dtype bf16")

    def pixels(self, base: str) -> int:
        """The side of the picture in pixels."""
        return self.resolution or RESOLUTION.get(base, 512)

    def side(self, base: str) -> int:
        """Latents along one side of the picture."""
        pixels, each = self.pixels(base), _pixels(base)
        if pixels <= 0 or pixels % (2 * each):
            raise LitmusError(f"{base} takes a resolution that is a multiple of {2 * each}, not {pixels}")
        return pixels // each

    @property
    def mixed(self) -> bool:
        """Whether the forward pass runs under autocast."""
        return self.dtype == "bf16" and self.trained == "fp32"

    def weights(self, base: str) -> torch.dtype:
        """That of the frozen weights."""
        return torch.float32 if base == "pocket" and self.mixed else DTYPES[self.dtype]

    def autocast(self) -> AbstractContextManager[Any]:
        """What the forward pass runs in on the meta device."""
        return casting(AIM) if self.mixed else nullcontext()


@dataclass(frozen=True)
class Row:
    """One method on one base; without a place there, `note` says why and the numbers are None.

    plain, checkpointed  the step without and with gradient checkpointing; None where it was not asked for or needed
    """

    base: str
    method: str
    scalars: int | None = None
    share: float | None = None  # of the denoiser
    bytes_stored: int | None = None
    plain: Step | None = None
    checkpointed: Step | None = None
    verdict: str = ""
    note: str = ""


def rows(
    methods: Sequence[str] = (),
    bases: Sequence[str] = (),
    setting: Setting | None = None,
    skip: Callable[[str, str], bool] = lambda base, method: False,
) -> Iterator[Row]:
    """A row per base and method (a spec; all that train something without it), base after base, as they are counted.

    Raises LitmusError for an unknown name. `skip` says which (base, method) are not wanted.
    """
    setting = setting or Setting()
    for base, method in wanted(methods, bases, setting, skip):
        yield row(base, method, setting)


def wanted(
    methods: Sequence[str],
    bases: Sequence[str],
    setting: Setting,
    skip: Callable[[str, str], bool] = lambda base, method: False,
) -> list[tuple[str, Method]]:
    """What `rows` counts, in its order. Raises LitmusError for an unknown name or a resolution that a base has not."""
    made, named = chosen(methods), [base_name(b) for b in bases] or list(ARCHITECTURES)
    for base in named:
        setting.side(base)
    return [(base, method) for base in named for method in made if not skip(base, method.spec)]


def chosen(methods: Sequence[str] = ()) -> list[Method]:
    """The methods of these specs; all that train something without them, or for "all"."""
    load_plugins()
    wanted = sorted(METHODS) if not methods or list(methods) == ["all"] else methods
    made = [make(name, **hyper) for name, hyper in map(parse_spec, wanted)]
    return [method for method in made if method.trains]


def base_name(text: str) -> str:
    """The architecture that `text` names, in full or by a beginning that no other has."""
    if text in ARCHITECTURES:
        return text
    matches = [name for name in ARCHITECTURES if name.startswith(text.lower())]
    if len(matches) == 1:
        return matches[0]
    raise LitmusError(nearest(text, ARCHITECTURES, "base", "litmus fit --help"))


def assumed(bases: Sequence[str], setting: Setting) -> list[str]:
    """What a verdict rests on, in lines: the setting, and which bases are made for larger pictures than it says."""
    sizes = dict.fromkeys(f"{setting.pixels(base)} px" for base in bases)
    own = {base: side for base in bases if (side := own_resolution(base)) > setting.pixels(base)}
    precision = f"{setting.dtype}, what is trained in {setting.trained}"
    lines = [f"assumed: batch {setting.batch}, {' or '.join(sizes)}, {precision}, {setting.attention} attention, AdamW"]
    for side in sorted(set(own.values())):
        named = ", ".join(ARCHITECTURES[base].title for base in bases if own.get(base) == side)
        lines.append(f"note: {named}: made for {side} px, which takes more: --resolution {side}")
    return lines


def own_resolution(base: str) -> int:
    """Side in pixels of the pictures that a base was made for; FLUX names none, and its pipelines take 1024."""
    latents = getattr(shape(base).denoiser.config, "sample_size", None)
    return 1024 if latents is None or "FLUX" in ARCHITECTURES[base].title else latents * _pixels(base)


def _pixels(base: str) -> int:
    return POCKET if base == "pocket" else LATENT


def row(base: str, method: Method, setting: Setting) -> Row:
    """Count one method on one base; a step with checkpointing only where one without does not fit, or it is asked."""
    name = method.spec
    try:
        with hollow(setting.attention == "fused"):
            dtype = setting.weights(base)
            frozen = _frozen(base, dtype)
            _refuse(method, frozen)
            net = tuned(frozen, method, setting.trained)
            if dtype is not torch.float32:
                with torch.device("cpu"):
                    real = tuned(_example(base, dtype), method, setting.trained)
                matched(net, real)
            picture = torch.float32 if setting.trained == "fp32" else dtype
            example = batch(net, setting.batch, setting.side(base), tokens(base), picture, dtype)
            steps = _steps(method, net, example, setting)
    except LitmusError as error:
        return Row(base, name, note=str(error))
    except Exception as error:  # whatever a method meets where tensors have no numbers: the others' rows go on
        line = str(error).strip().partition("\n")[0][:200]
        return Row(base, name, note=f"cannot be counted from shapes: {type(error).__name__}: {line}")
    trained = state(net).values()
    scalars, whole = sum(p.numel() for p in trained), ARCHITECTURES[base].scalars or _scalars(base)
    stored = sum(p.numel() * p.element_size() for p in trained)
    return Row(base, name, scalars, scalars / whole, stored, *steps, verdict(*steps, setting))


def _refuse(method: Method, net: Network) -> None:
    """Raise LitmusError where peft would have to decompose more zeros than anybody waits for."""
    if not getattr(method, "solid", False):
        return
    layers: Any = method
    scalars = sum(layer.weight.numel() for layer in layers.layers(net).values())
    if scalars > SOLID:
        raise LitmusError(
            f"peft starts from the numbers of the weights, {scalars / 1e6:,.0f} million here: not counted"
        )


def tuned(net: Network, method: Method, trained: str = "fp32") -> Network:
    """A copy of the frozen `net` with `method` attached; without the text side where the method leaves it alone.

    Texts are encoded once before training and their encoders dropped, unless a method trains them. With `trained`
    "fp32" as the trainer attaches it, else in the precision that the method's own attach gives.
    """
    adapted = bare(net, method)
    if trained != "fp32":
        return attached(method, copy.deepcopy(adapted), rng("fit"))
    return attached_copy(adapted, method, lambda: rng("fit"))


def bare(net: Network, method: Method) -> Network:
    """The tensors of `net` that are in memory while `method` is trained, shared with it."""
    text = net.text if method.side != "denoiser" else None
    return Network(net.denoiser, text, trigger=(5,) if text is not None else ())


def batch(
    net: Network,
    size: int,
    side: int,
    tokens: int,
    picture: torch.dtype | None = None,
    text: torch.dtype | None = None,
) -> Example:
    """A training batch in the shapes that the denoiser's configuration asks for, on its device.

    `picture` is the dtype of the noisy latents, float32 in training, `text` that of the text states, which have the
    frozen base's; that of the network where they are not given.
    """
    channels, _, wide = shapes(net.denoiser)
    with torch.device("cpu"):
        like = next(net.denoiser.parameters())
        like = torch.empty(0, dtype=picture or like.dtype, device=like.device)
        example = Example.random((size, channels, side, side), tokens, wide, like, text)
        if net.text is None:
            return example
        ids = torch.full((size, tokens), 5)
        ids[:, 0] = 1
        return replace(example, ids=ids.to(like.device))


def tokens(base: str) -> int:
    """Length of a padded prompt."""
    text: Any = shape(base).text
    return ARCHITECTURES[base].tokens if text is None else text.config.max_position_embeddings


def verdict(plain: Step | None, checkpointed: Step | None, setting: Setting) -> str:
    """FITS, WITH or NOT: whether peak and reserve go into the card's memory."""
    for step, word in ((plain, FITS), (checkpointed, WITH)):
        if step and step.peak + setting.reserve * GIB <= setting.vram * GIB:
            return word
    return NOT


def _steps(method: Method, net: Network, example: Example, setting: Setting) -> tuple[Step | None, Step | None]:
    plain = None if setting.checkpointing else counted(method, net, example, setting.autocast)
    if plain and verdict(plain, None, setting) == FITS:
        return plain, None
    checkpointing(net.denoiser, setting.autocast)
    return plain, counted(method, net, example, setting.autocast)


@lru_cache(maxsize=1)
def _frozen(base: str, dtype: torch.dtype) -> Network:
    """The base in shapes alone, in `dtype`, as it is loaded: not to be changed."""
    network = shape(base)
    net = copy.deepcopy(network).to(dtype).to("meta")
    if base == "pocket":
        from diffusers.models.attention_processor import AttnProcessor

        denoiser: Any = net.denoiser
        denoiser.set_attn_processor(AttnProcessor())
    return net.requires_grad_(False)


@lru_cache(maxsize=1)
def _example(base: str, dtype: torch.dtype) -> Network:
    """A small network of the same class with real tensors: not to be changed."""
    if base != "pocket":
        return small(base).to(dtype=dtype)
    net = toy_network()
    net.text = toy_text()
    return net.to(dtype=dtype)


@lru_cache
def _scalars(base: str) -> int:
    return sum(p.numel() for p in shape(base).denoiser.parameters())


def gigabytes(text: str) -> float:
    """Memory as people write it, in GiB: "12", "12GB", "12 GiB", "11264MB". Cards are sold in GB and hold GiB."""
    parsed = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([GM])i?B?)?\s*", text, re.IGNORECASE)
    if not parsed:
        raise LitmusError(f"cannot read the memory {text!r}: write 12GB or 11264MB")
    return float(parsed[1]) / (1024 if (parsed[2] or "G").upper() == "M" else 1)
