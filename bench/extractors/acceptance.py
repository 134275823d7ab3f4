"""Is an evaluator the published one? Real pictures against real pictures must come out at the published similarity.

Ruiz et al., "DreamBooth", CVPR 2023, arXiv:2208.12242, table 1, row "Real Images": DINO 0.774, CLIP-I 0.885. The paper
does not name its CLIP; ViT-B/32 is what CustomConcept101 and DreamBench++ use. Here: the mean cosine of all pairs of
different pictures of a subject, then the mean over the 30 subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.cache import store_table, stored_table
from bench.core.errors import LitmusError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.extractors.base import Extractors

# Encoder -> (the metric's name in the paper, its value for real pictures).
PUBLISHED = {"dino:vits16": ("DINO", 0.774), "openclip:ViT-B-32/openai": ("CLIP-I", 0.885)}
TOLERANCE = 0.01
SUBJECTS = 30


@dataclass(frozen=True)
class Verdict:
    """One encoder's result. `expected` None: nothing is published for it, so nothing is judged."""

    role: str
    encoder: str
    metric: str
    found: float
    expected: float | None = None

    @property
    def same(self) -> bool | None:
        """Within the tolerance of the published value; None where there is none."""
        return None if self.expected is None else abs(self.found - self.expected) <= TOLERANCE

    @property
    def line(self) -> str:
        """What to say of it."""
        if self.expected is None:
            return f"{self.encoder}: {self.found:.3f}, no published value to hold it against"
        word = "the published evaluator" if self.same else "a different evaluator"
        return f"{self.encoder}: {self.metric} {self.found:.3f}, published {self.expected:.3f}: {word}"


def self_similarity(image: Callable[[Tensor], Tensor], groups: Mapping[str, Sequence[Path]]) -> float:
    """Mean cosine of different pictures of one subject, mean over subjects. `image` gives unit features (B, D)."""
    import torch

    from bench.tasks.task import open_picture

    means = []
    for files in groups.values():
        features = []
        for file in files:  # one by one: each has a shape of its own, which the encoder's own preprocessing cuts
            pixels = np.asarray(open_picture(file), dtype=np.float32) / 255  # (H, W, 3)
            features.append(image(torch.from_numpy(pixels).permute(2, 0, 1)[None]).cpu().double())
        x = torch.cat(features).numpy()  # (N, D)
        n = len(x)
        if n > 1:
            means.append(float(((x @ x.T).sum() - np.square(x).sum()) / (n * (n - 1))))
    if not means:
        raise LitmusError("no subject has two pictures to compare: litmus fetch dreambooth brings the 30")
    return float(np.mean(means))


def pictures() -> tuple[dict[str, list[Path]], list[str]]:
    """The pictures of every DreamBooth subject that is here, and what speaks against a verdict on them."""
    from bench.tasks import dreambooth

    names = dreambooth.subjects()
    if not names:
        raise LitmusError("no DreamBooth pictures here: litmus fetch dreambooth brings them")
    doubts = [f"{len(names)} of {SUBJECTS} subjects"] if len(names) != SUBJECTS else []
    groups = {}
    for name in names:
        task = dreambooth.load(name)
        groups[name] = sorted(p.file for p in (*task.train, *task.heldout))
        doubts += [note for note in task.notes if note == dreambooth.REDUCED]
    return groups, list(dict.fromkeys(doubts))


def check(extractors: Extractors, groups: Mapping[str, Sequence[Path]]) -> list[Verdict]:
    """A verdict for the roles identity and image, each encoder once."""
    encoders = extractors.nets.encoders
    found = []
    for role in ("identity", "image"):
        spec = encoders[role].spec
        if spec not in {verdict.encoder for verdict in found}:
            metric, expected = PUBLISHED.get(spec, ("", None))
            found.append(Verdict(role, spec, metric, self_similarity(encoders[role].image, groups), expected))
    return found


def keep(digest: str, verdicts: Sequence[Verdict], doubts: Sequence[str]) -> None:
    """Remember the verdicts on the extractors with this digest; whoever cannot write is asked again."""
    store_table("acceptance", digest, {"verdicts": [asdict(v) for v in verdicts], "doubts": list(doubts)})


def known(digest: str) -> tuple[list[Verdict], list[str]] | None:
    """What `keep` remembered; None where nothing was checked."""
    table = stored_table("acceptance", digest) or {}
    try:
        return [Verdict(**one) for one in table["verdicts"]], list(table["doubts"])
    except (KeyError, TypeError):
        return None


def told(extractors: Extractors) -> dict[str, Any]:
    """The acceptance as a record has it: metric -> found, expected, same; empty where nothing was checked."""
    verdicts, doubts = known(extractors.digest) or ([], [])
    table: dict[str, Any] = {
        v.encoder: {"found": round(v.found, 4), "expected": v.expected, "same": v.same} for v in verdicts
    }
    return {**table, "doubts": doubts} if table and doubts else table


def judged(name: str, digest: str) -> tuple[list[Verdict], list[str]] | None:
    """What is known of these extractors, found out now (a minute) where DreamBooth's 30 subjects are; else None."""
    from bench.extractors import load_extractors
    from bench.tasks import dreambooth

    if (had := known(digest)) or len(dreambooth.subjects()) != SUBJECTS:
        return had
    groups, doubts = pictures()
    found = check(load_extractors(name), groups)
    keep(digest, found, doubts)
    return found, doubts


def notes(name: str, digest: str) -> list[str]:
    """What a user should know of these extractors before numbers are made with them.

    LitmusError for a DreamBooth copy with a missing or altered picture.
    """
    from bench.extractors import extractors_source

    source = extractors_source(name)
    if not source.published or not set(source.roles().values()) & PUBLISHED.keys():
        return []
    if not (had := judged(name, digest)):
        return [f"the evaluator {name} was not held against published values here: litmus extractors check {name}"]
    verdicts, doubts = had
    said = f" (judged on: {', '.join(doubts)})" if doubts else ""
    return [f"{v.line}: its scores do not compare with papers'{said}" for v in verdicts if v.same is False]
