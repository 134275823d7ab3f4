"""Extractors: pictures and prompts -> features, by frozen networks that never met a test subject or style.

"pocket": the world's own evaluators (bench/extractors/pocket.py, weights beside the base). "toy": random numbers.
"dino-clip" and others: published encoders (suites.py), for real pictures.
"""

from __future__ import annotations

from functools import lru_cache

from bench.core.errors import LitmusError, nearest
from bench.extractors.base import Extractors

__all__ = ["OWN", "Extractors", "extractors_digest", "load_extractors"]

OWN = ("pocket", "toy")  # this project's own: a digest needs no loading, and nothing is published to hold them against


@lru_cache(maxsize=2)
def load_extractors(name: str = "pocket") -> Extractors:
    """The extractors called `name`, loaded once per process. LitmusError for an unknown name or missing weights.

    `name` is one of OWN, one of suites.SUITES, or roles and encoders: `identity=dino:vits16,image=...`.
    """
    from bench.extractors import pocket, suites, toy

    if name in OWN:
        return {"pocket": pocket, "toy": toy}[name].load()
    if not suites.is_one(name):
        raise LitmusError(nearest(name, [*OWN, *suites.SUITES], "extractors", "litmus extractors"))
    return suites.load(name)


def extractors_digest(name: str) -> str:
    """The digest of the extractors called `name`, without loading them where a file says it."""
    from bench.extractors import pocket, toy

    if name in OWN:
        return pocket.digest() if name == "pocket" else toy.DIGEST
    return load_extractors(name).digest  # the weights lie in other libraries' caches: they are read to be named
