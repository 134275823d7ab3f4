"""The pocket world's own evaluators, whose weights travel with the package (bench/extractors/pocket_nets.py)."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import LitmusError
from bench.core.files import digest_files
from bench.extractors.base import Extractors

FOLDER = Path(__file__).parents[1] / "bases" / "pocket_evaluators"


def digest() -> str:
    """sha256 over the files, which loads nothing. LitmusError where they are missing."""
    if not any(FOLDER.glob("*.safetensors")):
        raise LitmusError(
            "the pocket evaluators' weights are missing (bench/bases/pocket_evaluators): reinstall, or "
            "`litmus pocket train`"
        )
    return digest_files((p for p in FOLDER.rglob("*") if p.is_file()), FOLDER)


def load() -> Extractors:
    known = digest()  # first, since it says what to do where the weights are missing
    from bench.extractors.base import device
    from bench.extractors.pocket_nets import load_evaluators

    nets = load_evaluators(FOLDER).to(device())
    return Extractors("pocket", known, 64, {name: list(words) for name, words in nets.labels.items()}, nets)
