"""Published denoisers in shapes alone: the numbers of their config.json files, built on the meta device, no weights.

`shape(name)` gives a Network whose tensors have no storage; methods count on it (litmus params). Each model stands in
the file of its family (bench/families/), where only what differs from the class's own defaults in diffusers is written
down. The text side is there where it is a single CLIP, since a Network has one text side.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from torch import nn

from bench.core.errors import LitmusError, nearest
from bench.families import FAMILIES, Architecture
from bench.families.flux2 import LEADERBOARD_TARGETS
from bench.method import Network
from bench.network.family import models
from bench.plugin.view import View

__all__ = ["ARCHITECTURES", "LEADERBOARD_TARGETS", "Architecture", "build", "class_of", "shape"]


def _known() -> dict[str, Architecture]:
    """Those of every family, the oldest first, and the pocket base's."""
    return models() | {"pocket": Architecture("pocket", "UNet2DConditionModel", None, source="litmus pocket")}


ARCHITECTURES = View(_known)


@cache
def shape(name: str) -> Network:
    """The Network of an architecture on the meta device, frozen; built once per process, not to be changed.

    Raises LitmusError for an unknown name.
    """
    import diffusers  # noqa: F401  what it imports of torch 2.6 cannot be imported while the meta device is set

    with torch.device("meta"):
        return build(name)


def build(name: str) -> Network:
    """The same on the default device with the random numbers that its class starts from, frozen; a new one each time.

    Raises LitmusError for an unknown name.
    """
    if name not in ARCHITECTURES:
        raise LitmusError(nearest(name, ARCHITECTURES, "base"))
    one = _pocket() if name == "pocket" else ARCHITECTURES[name]
    denoiser = class_of(one.cls)(**one.config)
    return Network(denoiser, None if one.text is None else _clip(one.text)).requires_grad_(False)


def class_of(cls: str) -> Any:
    """A denoiser's class by its name: a family's own, else the one of diffusers. LitmusError where neither has it."""
    import diffusers

    own = next((found for family in FAMILIES.known() if (found := family.component(cls))), None)
    found = own or getattr(diffusers, cls, None)
    if found is None:
        raise LitmusError(f"diffusers {diffusers.__version__} has no {cls}: upgrade diffusers")
    return found


def _clip(config: dict[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config))


def _pocket() -> Architecture:
    """Read from the configurations that lie beside the weights."""
    from bench.bases.pocket import FOLDER

    configs = []
    for part in ("unet", "text_encoder"):
        file = FOLDER / part / "config.json"
        if not file.is_file():
            raise LitmusError("the pocket base is not there: reinstall, or `litmus pocket train`")
        found = json.loads(file.read_text(encoding="utf-8"))
        configs.append({key: value for key, value in found.items() if not key.startswith("_")})
    return Architecture("pocket", "UNet2DConditionModel", None, configs[0], configs[1])
