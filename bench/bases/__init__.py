"""Bases: a frozen text-to-image model with the four things that fine-tuning needs of it.

A Base holds the network that methods attach to, the text side, the picture codec and the noise schedule. It is shared
by every cell of a process, so nobody changes it: who trains takes `base.fork()`. Importing this loads no torch.

pocket, toy                              this project's own
PATH, owner/name[@revision][?options]    a pipeline of diffusers (bench/bases/spec.py, bench/bases/hub.py)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from bench.bases.base import Base

__all__ = ["BASES", "Base", "base_digest", "base_facts", "load_base"]

PRECISIONS = ("fp32", "bf16")


def _pocket() -> Base:
    from bench.bases.pocket import load

    return load()


def _toy() -> Base:
    from bench.bases.toy import toy_base

    return toy_base()


BASES: dict[str, Callable[[], Base]] = {"pocket": _pocket, "toy": _toy}


def load_base(name: str, dtype: str = "fp32", device: str = "") -> Base:
    """The base called `name`, computing in "fp32" or "bf16"; loaded once per process and shared.

    A base of diffusers has its dtype in its name, and `dtype` is not asked; it works on `device` ("cuda:1", "cpu"; "":
    as $LITMUS_DEVICE says, else a GPU where there is one). Raises LitmusError for an unknown name or dtype, and when
    the weights are not there.
    """
    from bench.bases.spec import is_spec
    from bench.core.errors import LitmusError, nearest

    if name not in BASES and is_spec(name):
        return _load_hub(name, device)
    if name not in BASES:
        line = nearest(name, BASES, "base")
        raise LitmusError(f"{line}; or a folder in diffusers' layout, or owner/name of the hub")
    if dtype not in PRECISIONS:
        raise LitmusError(nearest(dtype, PRECISIONS, "dtype"))
    return replace(_load(name), compute=dtype)


@lru_cache
def _load(name: str) -> Base:
    return _at_rest(BASES[name]())


@lru_cache(maxsize=2)  # they are large
def _load_hub(name: str, device: str) -> Base:
    from bench.bases.hub import load

    return _at_rest(load(name, device))


def _at_rest(base: Base) -> Base:
    for part in (base.net, base.vae):
        part.requires_grad_(False).eval()
    return base


def base_digest(name: str) -> str:
    """The digest of the base called `name` without loading its network, except for "toy", whose weights are no file.

    Raises LitmusError for an unknown name and when the weights are not there.
    """
    return base_facts(name)[1]


def base_facts(name: str, device: str = "") -> tuple[str, str, tuple[str, ...]]:
    """(name, digest, notes) of a base: its name with everything filled in that was left open, such as a hub's commit.

    Downloads what is not there yet, loads no network (see `base_digest`); `device` as for `load_base`. LitmusError for
    weights that are not those of their component.
    """
    from bench.bases.spec import is_spec

    if name == "pocket":
        from bench.bases.pocket import digest

        return name, digest(), ()
    if name not in BASES and is_spec(name):
        from bench.bases.hub import can_quantise, locate, parse, working_device
        from bench.bases.weights import check

        source = locate(parse(name))
        if source.spec.quantise:
            can_quantise(source.spec, working_device(device))
        check(source)
        said = source.licence or "none said: look at where it comes from"
        return str(source.spec), source.digest, (f"base {source.spec} ({source.family.title}), licence: {said}",)
    return name, load_base(name).digest, ()
