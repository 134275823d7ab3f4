"""Tiny encoders with random weights of the true classes, saved as their libraries save them."""

from __future__ import annotations

import argparse
import inspect
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


def openclip(folder: Path) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    folder.mkdir(parents=True)
    table = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"}}
    (folder / "open_clip_config.json").write_text(json.dumps(table))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def timm(folder: Path) -> Path:
    import timm
    import torch

    torch.manual_seed(1)
    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2}
    net = timm.create_model("vit_tiny_patch16_224", pretrained=False, **sizes)
    config = {"input_size": (3, 32, 32), "mean": MEAN, "std": STD, "interpolation": "bicubic", "crop_pct": 0.8}
    made: Any = net
    told: dict[str, Any] = {"data_config": config}
    if "data_config" not in inspect.signature(timm.models.save_for_hf).parameters:  # older timm writes the model's own
        made.pretrained_cfg, told = {**made.pretrained_cfg, **config}, {}
    timm.models.save_for_hf(made, str(folder), model_args=sizes, safe_serialization=True, **told)
    return folder


def dinov2(folder: Path) -> Path:
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(2)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    cut: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}
    BitImageProcessor(**cut, image_mean=MEAN, image_std=STD, resample=3).save_pretrained(folder)
    return folder


def csd(file: Path) -> Path:
    """A training checkpoint as the published one: tensors under module., options and numpy scalars beside them."""
    import torch
    from open_clip.transformer import QuickGELU, VisionTransformer

    torch.manual_seed(3)
    net = VisionTransformer(28, 14, 64, 2, 1, 4.0, act_layer=QuickGELU)
    state = {f"module.backbone.{k}": v for k, v in net.state_dict().items() if k != "proj"}
    state |= {"module.last_layer_style": torch.randn(64, 8), "module.last_layer_content": torch.randn(64, 8)}
    file.parent.mkdir(parents=True, exist_ok=True)
    options = argparse.Namespace(lr=0.1, loss=np.float64(0.5))
    torch.save({"model_state_dict": state, "iter": 3, "args": options}, file)
    with zipfile.ZipFile(file) as packed:
        parts = {part: packed.read(part) for part in packed.namelist()}
    with zipfile.ZipFile(file, "w") as packed:  # numpy 1's name for its scalars, as the published file has it
        for part, data in parts.items():
            if part.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data or b"numpy.core.multiarray" in data  # the latter of numpy 1
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            packed.writestr(part, data)
    return file


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> SimpleNamespace:
    """Specs of the four, by family."""
    root = tmp_path_factory.mktemp("encoders")
    return SimpleNamespace(
        openclip=f"openclip:{openclip(root / 'openclip')}",
        timm=f"timm:{timm(root / 'timm')}",
        hf=f"hf:{dinov2(root / 'dinov2')}",
        csd=f"csd:{csd(root / 'csd' / 'checkpoint.pth')}",
        root=root,
    )


@pytest.fixture
def photo(tmp_path, picture) -> Path:
    """One picture that is no square."""
    return picture(tmp_path / "photo.png", size=(75, 50), seed=4)


@pytest.fixture(autouse=True)
def _forget():
    """Encoders and suites are loaded once per process: not across tests."""
    from bench import extractors
    from bench.extractors import encoders

    yield
    encoders._load.cache_clear()
    extractors._load.cache_clear()
