"""Every method on the other families of transformers: it starts as declared, counts and merges, or refuses in words.

SD 3 gets every check in test_contract.py; these three get those that a change of layers can break.
"""

from __future__ import annotations

import pytest

from bench.bases.toy_transformers import toy_transformer
from bench.checks import contract as checks
from bench.method import METHODS, load_plugins, make

load_plugins()
NAMES = [name for name, cls in METHODS.items() if cls.__module__.startswith("methods.") and cls.side == "denoiser"]
WHICH = (checks.starts_at_base, checks.counts_by_formula, checks.merges_into_base)
UP = "it is a method for U-Nets"
# Who has no place where, and the word of its own refusal that says why.
REFUSE = {
    "pixart": {
        "blora": UP,
        "ln_tuning": "no module with role 'norm'",  # its norms have no weights: the timestep brings them
        "lora_norm": "have no weights",
        "norm": "no module with role 'norm'",
    },
    "flux": {"blora": UP, "mam": "mam[attn=parallel]"},
    "flux2": {"blora": UP, "mam": "mam[attn=parallel]", "bias": "no module with role 'bias'"},
}


@pytest.fixture(scope="module")
def places():
    """One arena per kind of network, shared by all methods."""
    return {kind: checks.make_arena(lambda kind=kind: toy_transformer(kind)) for kind in REFUSE}


@pytest.mark.parametrize("kind", REFUSE)
@pytest.mark.parametrize("name", NAMES)
def test_on_a_transformer(name, kind, places):
    place = places[kind]
    refusal = checks.refusal(make(name), place.make)
    if name in REFUSE[kind]:
        assert REFUSE[kind][name] in (refusal or "nothing refused")
        return
    assert refusal is None
    results = [checks.attempt(check, make(name), place) for check in WHICH]
    assert [f"{r.name}: {r.message}" for r in results if not r.ok] == []
