"""Captions of the pocket world: one plain English form, parsed back into what it asks for."""

from __future__ import annotations

from bench.world.pen import COLOURS, PATTERNS
from bench.world.scenes import PHRASES
from bench.world.styles import PRETRAIN
from bench.world.things import CLASSES

IDENTIFIERS = ("sks", "zwx", "ktn", "qpl")  # in the vocabulary, in no caption that the base was trained on
FUNCTION_WORDS = ("a", "an", "the", "of", "in", "on", "at", "under", "next", "to", "style", "photo", "with", "and")


def noun(cls: str, colour: str | None = None, pattern: str = "plain", identifier: str | None = None) -> str:
    """'red striped car', 'sks robot', 'red sks robot': the thing without its article."""
    words = [colour, pattern if pattern != "plain" else None, identifier, cls]
    return " ".join(w for w in words if w)


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(nouns: list[str], scene: str | None = None, style: str = "photo") -> str:
    """'a red car next to a mug on the beach in sketch style'; a photo says nothing of its style."""
    text = " next to ".join(article(n) for n in nouns)
    if scene:
        text += " " + PHRASES[scene]
    return text + (f" in {style} style" if style != "photo" else "")


def vocabulary() -> list[str]:
    """Every word of the world, sorted: what the pocket tokenizer holds as whole words."""
    words = set(FUNCTION_WORDS) | set(IDENTIFIERS) | set(CLASSES) | set(COLOURS) | set(PATTERNS) | set(PRETRAIN)
    for phrase in PHRASES.values():
        words |= set(phrase.split())
    return sorted(words)
