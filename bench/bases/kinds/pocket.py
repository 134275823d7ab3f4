"""pocket: trained on the procedural world, travels with Litmus."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.bases.base import Base
from bench.bases.registry import BASES, BaseSource


@BASES.register
@dataclass(frozen=True)
class Pocket(BaseSource):
    """64 x 64 px, SD's architecture with some 2 M scalars; it knows the words of its world."""

    name = "pocket"
    title = "trained on the procedural world (docs/pocket-base.md)"
    extractors = "pocket"
    open_words = False

    def load(self) -> Base:
        from bench.bases.pocket import load

        return load()

    def digest(self) -> str:
        from bench.bases.pocket import digest

        return digest()

    def card(self) -> dict[str, str]:
        from bench.bases.pocket import FOLDER

        unet = json.loads((FOLDER / "unet" / "config.json").read_text(encoding="utf-8"))
        vae = json.loads((FOLDER / "vae" / "config.json").read_text(encoding="utf-8"))
        about = json.loads((FOLDER / "pocket.json").read_text(encoding="utf-8"))
        side = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
        return {
            "resolution": str(side),
            "denoiser": unet["_class_name"],
            "licence": about.get("licence", "Apache-2.0"),
            "digest": self.digest(),
        }
