"""Bases: a frozen text-to-image model with the four things that fine-tuning needs of it.

A Base holds the network that methods attach to, the text side, the picture codec and the noise schedule. It is shared
by every cell of a process, so nobody changes it: who trains takes `base.fork()`. Importing this loads no torch.

pocket, toy                              this project's own
PATH, owner/name[@revision][?options]    a pipeline of diffusers (bench/bases/spec.py, bench/bases/hub.py)
NAME, NAME[key=value]                    one file of somebody else's (docs/adding-a-base.md)

Each kind is a part of the registry BASES, a file in bench/bases/kinds/, and says how it is recognised, loaded and run.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

from bench.bases.base import Base
from bench.bases.kinds import pocket as _pocket  # noqa: F401  registered before a plug-in is looked for
from bench.bases.kinds import toy as _toy  # noqa: F401
from bench.bases.kinds.pipeline import Pipeline
from bench.bases.registry import BASES, BaseSource, Facts
from bench.core.device import settled
from bench.core.errors import LitmusError, nearest
from bench.plugin.registry import source_digest

__all__ = [
    "BASES", "Base", "BaseSource", "base_digest", "base_facts", "base_names", "find_source", "load_base", "source_of",
]  # fmt: skip

PRECISIONS = ("fp32", "bf16")
OWN = ("pocket", "toy")


def find_source(text: str) -> BaseSource | None:
    """The base that `text` means, None where no kind recognises it. LitmusError for settings that it has not.

    This project's own come first and a path is a pipeline, so that files of plug-ins are loaded for other names alone.
    """
    for name in OWN:
        if name in BASES and BASES[name].recognises(text):
            return BASES[name].of(text)
    if "/" in text.partition("?")[0] and (made := Pipeline(text)).there:
        return made
    BASES.load()
    kinds = sorted(BASES.values(), key=lambda kind: (not kind.named, kind is Pipeline))
    found = next((kind for kind in kinds if kind.recognises(text)), None)
    return None if found is None else found.of(text)


def source_of(text: str) -> BaseSource:
    """The same; LitmusError with the nearest name for an unknown one."""
    found = find_source(text)
    if found is None:
        line = nearest(text, base_names(), "base", BASES.listing)
        raise LitmusError(f"{line}; or a folder in diffusers' layout, or owner/name of the hub")
    return found


def base_names() -> list[str]:
    """The bases that have names of their own, this project's first."""
    BASES.load()
    return [*OWN, *sorted(name for name, kind in BASES.items() if kind.named and name not in OWN)]


def load_base(name: str, dtype: str = "fp32", device: str = "") -> Base:
    """The base called `name`, computing in "fp32" or "bf16"; loaded once per process and shared.

    A base of diffusers has its dtype in its name, and `dtype` is not asked. Every base works on `device` ("cuda:1",
    "cpu"; "": as $LITMUS_DEVICE says, else a GPU where there is one): its codec lies there, and its network waits on
    the CPU for copies of it to run there. LitmusError for an unknown name or dtype, a device or weights not there.
    """
    where = str(settled(device))
    source = source_of(name).on(where)
    if source.dtype is None and dtype not in PRECISIONS:
        raise LitmusError(nearest(dtype, PRECISIONS, "dtype"))
    base = (_load_large if source.large else _load)(source, where)
    return base if source.dtype else replace(base, compute=dtype)


@lru_cache
def _load(source: BaseSource, device: str) -> Base:
    return _at_rest(source, device)


@lru_cache(maxsize=2)  # they are large
def _load_large(source: BaseSource, device: str) -> Base:
    return _at_rest(source, device)


def _at_rest(source: BaseSource, device: str) -> Base:
    import torch

    base = source.load()
    for part in (base.net, base.vae):
        part.requires_grad_(False).eval()
    if base.execution_device is None:
        base = replace(base, execution_device=torch.device(device))
        base.vae.to(base.execution_device)
    if source_digest(type(source)):
        base = replace(base, name=source.spec, digest=_told(source, base.digest))
    return base


def _told(source: BaseSource, digest: str) -> str:
    """The digest of a base; one from outside changes with its settings and with the file that makes it."""
    written = source_digest(type(source))
    return hashlib.sha256(f"{digest} {source.spec} {written}".encode()).hexdigest() if written else digest


def base_digest(name: str) -> str:
    """The digest of the base called `name`, without loading its network where its kind can tell it so.

    Raises LitmusError for an unknown name and when the weights are not there.
    """
    return base_facts(name)[1]


def base_facts(name: str, device: str = "") -> Facts:
    """(name, digest, notes) of a base: its name with everything filled in that was left open, such as a hub's commit.

    Downloads what is not there yet; loads no network unless the kind cannot tell its digest otherwise ("toy", whose
    weights are no file); `device` as for `load_base`. LitmusError for weights that are not those of their component.
    """
    source = source_of(name).on(device)
    if type(source).digest is BaseSource.digest and type(source).facts is BaseSource.facts:
        return source.spec, load_base(name, device=device).digest, ()
    named, digest, notes = source.facts()
    return named, _told(source, digest), notes
