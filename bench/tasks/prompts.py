"""Evaluation prompts for a concept that comes without any of its own.

Subjects: the 25 prompts of DreamBooth (Ruiz et al., CVPR 2023, arXiv:2208.12242), from prompts_and_classes.txt of
github.com/google/dreambooth at 4f887af7970a06fc0cd3adaa1d0b368547d6a1d0 (CC-BY-4.0).
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import LitmusError
from bench.tasks.task import Prompt, without

LIVE = ("cat", "dog")  # the classes that DreamBooth asks the live prompts of

_BOTH = (
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
)
_PROPERTY = ("a red {}", "a purple {}", "a shiny {}", "a wet {}", "a cube shaped {}")
OBJECT_PROMPTS = (
    *_BOTH,
    "a {} with a wheat field in the background",
    "a {} with a tree and autumn leaves in the background",
    "a {} with the Eiffel Tower in the background",
    "a {} floating on top of water",
    "a {} floating in an ocean of milk",
    "a {} on top of green grass with sunflowers around it",
    "a {} on top of a mirror",
    "a {} on top of the sidewalk in a crowded street",
    "a {} on top of a dirt road",
    "a {} on top of a white rug",
    *_PROPERTY,
)
LIVE_PROMPTS = (
    *_BOTH,
    "a {} wearing a red hat",
    "a {} wearing a santa hat",
    "a {} wearing a rainbow scarf",
    "a {} wearing a black top hat and a monocle",
    "a {} in a chef outfit",
    "a {} in a firefighter outfit",
    "a {} in a police outfit",
    "a {} wearing pink glasses",
    "a {} wearing a yellow shirt",
    "a {} in a purple wizard outfit",
    *_PROPERTY,
)
# Contents for a style: everyday things in everyday places, none of which a style's own pictures are likely to show.
CONTENTS = (
    "a cat",
    "a dog on the beach",
    "a car in the city",
    "a house in the forest",
    "a tree in a meadow",
    "a teapot on a table",
    "a boat under a bridge",
    "a robot in the snow",
    "a bird in the mountains",
    "a chair in a room",
)
PLACES = (
    "a {}",
    "a {} in the snow",
    "a {} on the beach",
    "a {} in the forest",
    "a {} in the city",
    "a {} in a room",
    "a {} in a meadow",
    "a {} in the mountains",
)
UNRELATED = (
    "a red car on the beach",
    "a blue house in the forest",
    "a boat under water",
    "a green tree in the desert",
    "a yellow chair in a room",
    "a bird at night",
    "a bridge in the mountains",
    "a bowl of fruit on a table",
)


@dataclass(frozen=True)
class Concept:
    """The words of a concept: "sks", "dog", "subject"; `live` for animals and people."""

    identifier: str
    class_word: str
    kind: str
    live: bool = False

    @property
    def text(self) -> str:
        return f"{self.identifier} {self.class_word}" if self.kind == "subject" else f"{self.identifier} style"

    def prompts(self, own: list[str]) -> tuple[Prompt, ...]:
        """Evaluation prompts: the user's `own` lines if any, with {} for the concept, else the standard ones."""
        if not own:
            if self.kind == "style":
                own = [f"{content} in {{}}" for content in CONTENTS]
            else:
                own = list(LIVE_PROMPTS if self.live else OBJECT_PROMPTS)
        for line in own:
            if line.count("{}") != 1:
                raise LitmusError(f"prompts.txt: write {{}} once in each line, where the concept goes, not {line!r}")
        return tuple(self._prompt(line.replace("{}", self.text)) for line in own)

    def prior(self) -> tuple[Prompt, ...]:
        """Eight plain prompts of the class; for a style, contents without any style."""
        if self.kind == "style":
            return tuple(self._prompt(text) for text in CONTENTS[:8])
        return tuple(self._prompt(text.replace("{}", self.class_word)) for text in PLACES)

    def drift(self) -> tuple[Prompt, ...]:
        """Eight prompts that have nothing to do with the concept."""
        return tuple(self._prompt(text) for text in UNRELATED)

    def _prompt(self, text: str) -> Prompt:
        return Prompt(text, without(text, self.identifier))
