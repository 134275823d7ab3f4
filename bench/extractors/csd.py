"""Contrastive style descriptors: CLIP's ViT with a head that sees style.

Somepalli et al., "Measuring Style Similarity in Diffusion Models", ECCV 2024, arXiv:2404.01292, section 4. Weights:
tomg-group-umd/CSD-ViT-L (CC-BY-4.0); 297 tensors: OpenAI's CLIP ViT-L/14 without its projection, a style head and a
content head. The published file is a training checkpoint; a safetensors file with the same names is read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError
from bench.extractors.preprocess import CLIP, Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = ("model.safetensors", "pytorch_model.bin", "checkpoint.pth")
STYLE, CONTENT, BACKBONE = "last_layer_style", "last_layer_content", "backbone."
HEAD = 64  # width of an attention head in every CLIP ViT


def load(model: str) -> nn.Module:
    """The style encoder in a file, a folder or a repository of the hub: normalised pictures (B, 3, S, S) -> (B, D)."""
    return build(_tensors(_file(model)), model)


def preprocess(net: Any) -> Preprocess:
    """CLIP's: the shorter side to the network's size, then the centre."""
    side = net.backbone.image_size[0]
    return Preprocess(side, side, *CLIP)


def _file(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in FILES:
            if (path / name).is_file():
                return path / name
        raise LitmusError(f"no CSD weights in {path}: one of {', '.join(FILES)} is needed")
    from huggingface_hub import hf_hub_download, list_repo_files

    place, _, revision = model.partition("@")
    there = list_repo_files(place, revision=revision or None)
    for name in FILES:
        if name in there:
            return Path(hf_hub_download(place, name, revision=revision or None))
    raise LitmusError(f"{model} holds no CSD weights: one of {', '.join(FILES)} is needed")


def _tensors(file: Path) -> dict[str, Tensor]:
    """Name -> tensor. A pickle is read as data only: its code is not run."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    import argparse

    import numpy as np
    import torch

    # What a training checkpoint holds beside tensors: its options, and numpy's scalars, by the names of numpy 1 and 2.
    scalar: Any = np.float64(0).__reduce__()[0]
    allowed = [argparse.Namespace, np.dtype, np.dtypes.Float64DType, np.dtypes.Int64DType]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([*allowed, *names]):
        found = torch.load(file, map_location="cpu", weights_only=True)
    return found.get("model_state_dict", found)


def build(tensors: dict[str, Tensor], name: str) -> nn.Module:
    """The network that `tensors` are of; its sizes are read from their shapes. LitmusError when they are no CSD's."""
    import torch
    from open_clip.transformer import QuickGELU, VisionTransformer
    from torch import nn

    tensors = {key.removeprefix("module."): x for key, x in tensors.items()}
    backbone = {key.removeprefix(BACKBONE): x for key, x in tensors.items() if key.startswith(BACKBONE)}
    odd = [key for key in tensors if not key.startswith(BACKBONE) and key not in (STYLE, CONTENT)]
    if STYLE not in tensors or "conv1.weight" not in backbone or odd:
        raise LitmusError(f"{name} holds no CSD weights ({odd[0] if odd else STYLE}): see docs/encoders.md")
    width, _, patch, _ = backbone["conv1.weight"].shape
    grid = round((len(backbone["positional_embedding"]) - 1) ** 0.5)
    layers = len([key for key in backbone if key.endswith(".ln_1.weight")])
    ratio = len(backbone["transformer.resblocks.0.mlp.c_fc.weight"]) / width

    class StyleNet(nn.Module):
        """Style head on the pooled class token, before CLIP's projection (section 4)."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = VisionTransformer(
                grid * patch, patch, width, layers, max(1, width // HEAD), ratio, act_layer=QuickGELU
            )
            self.backbone.proj = None
            self.register_buffer(STYLE, torch.empty_like(tensors[STYLE]))

        def forward(self, images: Tensor) -> Tensor:
            return self.backbone(images) @ getattr(self, STYLE)  # (B, width) @ (width, D)

    net = StyleNet()
    try:
        net.load_state_dict({**{BACKBONE + key: x for key, x in backbone.items()}, STYLE: tensors[STYLE]})
    except RuntimeError as error:
        raise LitmusError(f"{name} holds no CSD weights ({str(error).splitlines()[-1].strip()[:120]})") from None
    return net
