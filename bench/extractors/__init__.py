"""Extractors: pictures and prompts -> features, by frozen networks that never met a test subject or style.

"pocket": the world's own evaluators (bench/extractors/pocket.py, weights beside the base). "toy": random numbers.
"dino-clip" and others: published encoders (suites.py), for real pictures. Each is a part of the registry EXTRACTORS, a
file in bench/extractors/kinds/; one of somebody else's is found the same way.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

from bench.core.device import working_device, working_on
from bench.core.errors import LitmusError, nearest
from bench.extractors.base import Extractors
from bench.extractors.kinds.roles import Roles
from bench.extractors.registry import EXTRACTORS, ExtractorsSource, SuiteSource
from bench.plugin.registry import source_digest

__all__ = [
    "EXTRACTORS", "Extractors", "ExtractorsSource", "SuiteSource", "extractors_digest", "extractors_names",
    "extractors_source", "load_extractors",
]  # fmt: skip


def extractors_source(name: str) -> ExtractorsSource:
    """The extractors that `name` means; LitmusError with the nearest name for unknown ones.

    `name` is a suite's, or roles and encoders: `identity=dino:vits16,image=...`.
    """
    if Roles.recognises(name):
        return Roles.of(name)
    EXTRACTORS.load()
    found = next((kind for kind in EXTRACTORS.values() if kind.recognises(name)), None)
    if found is None:
        raise LitmusError(nearest(name, extractors_names(), "extractors", EXTRACTORS.listing))
    return found.of(name)


def extractors_names() -> list[str]:
    """Those that have names of their own: this project's own nets, its suites, then those from outside."""
    EXTRACTORS.load()
    named = {name: kind for name, kind in EXTRACTORS.items() if kind.named}
    return sorted(named, key=lambda name: (bool(source_digest(named[name])), named[name].published, name))


def load_extractors(name: str = "pocket", device: str = "") -> Extractors:
    """The extractors called `name`, loaded once per process and device; they take pictures from any.

    `device` as for bench.bases.load_base: the networks of this project and the published encoders work there, those
    from outside where their `load` puts them (bench.extractors.base.device says where that should be). LitmusError for
    an unknown name, missing weights or a device that is not there.
    """
    return _load(name, str(working_device(device)))


@lru_cache(maxsize=2)
def _load(name: str, device: str) -> Extractors:
    source = extractors_source(name)
    with working_on(device):
        found = source.load()
    if source_digest(type(source)):
        return replace(found, name=source.spec, digest=_told(source, found.digest))
    return found


def extractors_digest(name: str, device: str = "") -> str:
    """The digest of the extractors called `name`, without loading them where their kind can tell it so.

    `device` as for load_extractors; no digest depends on it.

    The weights of published encoders lie in other libraries' caches: they are read to be named.
    """
    source = extractors_source(name)
    if type(source).digest is ExtractorsSource.digest:
        return load_extractors(name, device).digest
    with working_on(device):
        return _told(source, source.digest())


def _told(source: ExtractorsSource, digest: str) -> str:
    """A digest; of those from outside it changes with their settings and with the file that makes them."""
    written = source_digest(type(source))
    return hashlib.sha256(f"{digest} {source.spec} {written}".encode()).hexdigest() if written else digest
