"""The evaluators' networks: identity and style encoders, attribute classifiers, and a text–image model of open_clip."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FEATURES = 96  # width of identity and style embeddings


def _conv(cin: int, cout: int, k: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, k, stride, k // 2, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.a = _conv(width, width, 3)
        self.b = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.b(self.a(x)))


class Trunk(nn.Sequential):
    """Pictures (B, 3, 64, 64) in [-1, 1] to features (B, 2 * 160): mean and maximum over the 4×4 cells."""

    out = 320

    def __init__(self):
        widths = (32, 48, 96, 160)
        layers: list[nn.Module] = [_conv(3, widths[0], 5, 2)]
        for a, b in itertools.pairwise(widths):
            layers += [_conv(a, b, 3, 2), Residual(b)]
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        x = super().forward(input)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class Encoder(nn.Module):
    """A metric-learning encoder: unit vectors (B, 96), near for one identity (or one style), far for another."""

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Sequential(nn.Linear(Trunk.out, 192), nn.ReLU(inplace=True), nn.Linear(192, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.head(self.trunk(x)), dim=-1)


class Classifier(nn.Module):
    """One trunk, one linear head per attribute."""

    def __init__(self, labels: dict[str, tuple[str, ...]]):
        super().__init__()
        self.trunk = Trunk()
        self.heads = nn.ModuleDict({f"head_{k}": nn.Linear(Trunk.out, len(v)) for k, v in labels.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x)
        return {k.removeprefix("head_"): f(h) for k, f in self.heads.items()}


def clip_config(words: int, tokens: int) -> dict:
    return {
        "embed_dim": 96,
        # a residual tower: convolutions learn from tens of thousands of pictures what a transformer would not
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 24, "head_width": 64, "image_size": 64},
        "text_cfg": {
            "context_length": tokens,
            "vocab_size": words,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "pool_type": "eos",
            "eos_id": 1,
        },
    }


def clip(config: dict) -> nn.Module:
    """open_clip's CLIP of `config`, weights random."""
    from open_clip.model import CLIP

    return CLIP(**config)


class Evaluators:
    """All four, frozen. Pictures come as (B, 3, 64, 64) in [0, 1]."""

    def __init__(self, labels: dict[str, tuple[str, ...]], config: dict, tokenizer):
        self.labels, self.config, self.tokenizer = labels, config, tokenizer
        self.device = torch.device("cpu")
        self.nets: dict[str, nn.Module] = {
            "identity": Encoder(),
            "style": Encoder(),
            "attributes": Classifier(labels),
            "clip": clip(config),
        }

    def to(self, device: torch.device | str) -> Evaluators:
        """Itself, its networks on another device: pictures come from any, features go back to theirs."""
        self.device = torch.device(device)
        for net in self.nets.values():
            net.to(self.device)
        return self

    def _seen(self, images: Tensor) -> Tensor:
        return images.to(self.device) * 2 - 1

    def identity(self, images: Tensor) -> Tensor:
        return self.nets["identity"](self._seen(images)).to(images.device)

    def style(self, images: Tensor) -> Tensor:
        return self.nets["style"](self._seen(images)).to(images.device)

    def attributes(self, images: Tensor) -> dict[str, Tensor]:
        return {name: x.to(images.device) for name, x in self.nets["attributes"](self._seen(images)).items()}

    def image(self, images: Tensor) -> Tensor:
        net: Any = self.nets["clip"]
        return net.encode_image(self._seen(images), normalize=True).to(images.device)

    def text(self, prompts: list[str]) -> Tensor:
        net: Any = self.nets["clip"]
        return net.encode_text(self.ids(prompts).to(self.device), normalize=True).cpu()

    def ids(self, prompts: list[str]) -> Tensor:
        n = self.tokenizer.model_max_length
        return self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=n, return_tensors="pt"
        ).input_ids

    def save(self, folder: Path) -> None:
        """fp16 safetensors, one file a network, and config.json; the tokenizer is the base's."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        for name, net in self.nets.items():
            half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()}
            save_file(half, folder / f"{name}.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps({"labels": self.labels, "clip": self.config}, indent=1) + "\n")


def load_evaluators(folder: Path, tokenizer_folder: Path | None = None) -> Evaluators:
    """The evaluators saved in `folder`, in float32, frozen."""
    from safetensors.torch import load_file
    from transformers import CLIPTokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer_folder or folder.parent / "pocket_weights" / "tokenizer"
    labels = {k: tuple(v) for k, v in config["labels"].items()}
    out = Evaluators(labels, config["clip"], CLIPTokenizer.from_pretrained(str(vocabulary)))
    for name, net in out.nets.items():
        state = load_file(folder / f"{name}.safetensors")
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        net.eval().requires_grad_(False)
    return out
