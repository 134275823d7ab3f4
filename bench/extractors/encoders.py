"""Published encoders by name: open_clip, timm, transformers, CSD, DreamSim. Each is frozen, in fp32, on one device.

openclip:ViT-B-32/openai      open_clip's model and its tag; openclip:FOLDER for one that is here
timm:vit_small_patch16_224.dino, timm:FOLDER
hf:facebook/dinov2-base       any vision model of transformers, its class token; hf:FOLDER; @REVISION pins one
csd                           contrastive style descriptors; csd:FILE, csd:FOLDER, csd:owner/name
dreamsim:ensemble             the perceptual distance's embedding, where the library dreamsim is installed
dino:vits16, dinov2:vitl14    short for the usual ones of these
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError, nearest
from bench.extractors.base import device
from bench.extractors.preprocess import IMAGENET, Preprocess

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# Raised when the same weights would give other features for a reason that neither they nor `preprocess` show.
VERSION = 1
# DINO as the re-implementations of DreamBooth's metric have it (CustomConcept101's evaluate.py): 256, centre 224.
DINO = Preprocess(256, 224, *IMAGENET)
SHORT: dict[str, tuple[str, Preprocess | None]] = {
    "dino:vits16": ("timm:vit_small_patch16_224.dino", DINO),
    "dino:vits8": ("timm:vit_small_patch8_224.dino", DINO),
    "dino:vitb16": ("timm:vit_base_patch16_224.dino", DINO),
    "dino:vitb8": ("timm:vit_base_patch8_224.dino", DINO),
    "dinov2:vits14": ("hf:facebook/dinov2-small", None),
    "dinov2:vitb14": ("hf:facebook/dinov2-base", None),
    "dinov2:vitl14": ("hf:facebook/dinov2-large", None),
    "dinov2:vitg14": ("hf:facebook/dinov2-giant", None),
    "csd": ("csd:tomg-group-umd/CSD-ViT-L", None),
}
TINY = 1e-12


@dataclass(frozen=True)
class Encoder:
    """One frozen encoder: pictures (B, 3, H, W) in [0, 1] at any size -> unit features (B, D), on the CPU.

    spec     as the user named it; `family` and `model` what that means
    weights  sha256 over the tensors, their names left out: libraries rename them
    texts    prompts -> features in the same space; None where the encoder reads no text
    """

    spec: str
    family: str
    model: str
    preprocess: Preprocess
    weights: str
    embed: Callable[[Tensor], Tensor]
    texts: Callable[[list[str]], Tensor] | None = None
    device: torch.device | str = "cpu"

    def image(self, images: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            return _unit(self.embed(self.preprocess(images.to(self.device))))

    def text(self, prompts: list[str]) -> Tensor:
        import torch

        if self.texts is None:
            raise LitmusError(f"the encoder {self.spec} reads no text: use an openclip encoder for image=")
        with torch.no_grad():
            return _unit(self.texts(prompts))

    def facts(self) -> dict[str, Any]:
        """What decides its features, for the record; a local folder's path is not told."""
        return {
            "family": self.family,
            "model": self.model,
            "preprocess": self.preprocess.facts(),
            "weights": self.weights,
            "version": VERSION,
        }

    @property
    def digest(self) -> str:
        """sha256 over the facts but the name: the same weights from the hub and from a folder are the same."""
        table = {key: value for key, value in self.facts().items() if key != "model"}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _unit(x: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.normalize(x.float().cpu(), dim=-1, eps=TINY)


def hash_weights(net: nn.Module) -> str:
    """sha256 over every tensor of `net`, whatever it is called."""
    import torch

    def of(x: Tensor) -> str:
        data = x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return hashlib.sha256(f"{x.dtype} {list(x.shape)} ".encode() + data.tobytes()).hexdigest()

    return hashlib.sha256("".join(sorted(of(x) for x in net.state_dict().values())).encode()).hexdigest()


def frozen(net: Any) -> Any:
    """`net` in fp32, for inference, where encoders run."""
    return net.float().eval().requires_grad_(False).to(device())


def library(name: str, spec: str, install: str) -> Any:
    """The module `name`; LitmusError with what to install."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise LitmusError(f"the encoder {spec} needs the library {install}: pip install {install}") from None


def _openclip(spec: str, model: str, chosen: Preprocess | None) -> Encoder:
    open_clip = library("open_clip", spec, "open_clip_torch")
    folder = Path(model).expanduser()
    if folder.is_dir():
        name, tag = f"local-dir:{folder}", None
    elif model.startswith("hf-hub:"):
        name, tag = model, None
    else:
        name, _, tag = model.partition("/")
        _known_openclip(open_clip, name, tag)
    net = open_clip.create_model(name, pretrained=tag, force_quick_gelu=_quick_gelu(name, tag), require_pretrained=True)
    net = frozen(net)
    cfg = net.visual.preprocess_cfg
    size = cfg["size"] if isinstance(cfg["size"], int) else max(cfg["size"])
    if cfg["resize_mode"] not in ("shortest", "squash"):
        raise LitmusError(f"the encoder {spec} wants resize_mode {cfg['resize_mode']}, which litmus does not do")
    squash = cfg["resize_mode"] == "squash"
    preprocess = Preprocess(size, size, tuple(cfg["mean"]), tuple(cfg["std"]), cfg["interpolation"], squash)
    tokens, where = open_clip.get_tokenizer(name), device()

    def texts(prompts: list[str]) -> Tensor:
        return net.encode_text(tokens(prompts).to(where))

    return Encoder(
        spec, "openclip", _told(model), chosen or preprocess, hash_weights(net), net.encode_image, texts, where
    )


def _known_openclip(open_clip: Any, name: str, tag: str) -> None:
    """LitmusError with the nearest for a model or a tag that open_clip does not list."""
    if name not in (models := open_clip.list_models()):
        raise LitmusError(nearest(name, models, "open_clip model"))
    if tag not in (tags := open_clip.list_pretrained_tags_by_model(name)) and not Path(tag).expanduser().is_file():
        raise LitmusError(nearest(tag, tags, f"weights of {name}"))


def _quick_gelu(name: str, tag: str | None) -> bool:
    """Whether these weights were trained with the fast GELU, as OpenAI's were: open_clip only warns of the mismatch."""
    from open_clip import pretrained

    found = pretrained.get_pretrained_cfg(name, tag) if tag else None
    return bool(found and found.get("quick_gelu"))


def _timm(spec: str, model: str, chosen: Preprocess | None) -> Encoder:
    timm = library("timm", spec, "timm")
    folder = Path(model).expanduser()
    if not folder.is_dir() and not model.startswith("hf-hub:") and not timm.is_model(model.partition(".")[0]):
        raise LitmusError(nearest(model.partition(".")[0], timm.list_models(), "timm model"))
    net = timm.create_model(f"local-dir:{folder}" if folder.is_dir() else model, pretrained=True, num_classes=0)
    net = frozen(net)
    cfg = timm.data.resolve_model_data_config(net)
    side = int(cfg["input_size"][-1])
    usual = Preprocess(int(side / cfg["crop_pct"]), side, cfg["mean"], cfg["std"], cfg["interpolation"])
    return Encoder(spec, "timm", _told(model), chosen or usual, hash_weights(net), net, device=device())


def _hf(spec: str, model: str, chosen: Preprocess | None) -> Encoder:
    transformers = library("transformers", spec, "transformers")
    place, _, revision = model.partition("@")
    where = str(folder) if (folder := Path(place).expanduser()).is_dir() else place
    options = {"revision": revision} if revision else {}
    net = transformers.AutoModel.from_pretrained(where, **options)
    if hasattr(net, "vision_model") and hasattr(net, "text_model"):
        raise LitmusError(f"{spec} reads pictures and text: use it through open_clip, openclip:MODEL/WEIGHTS")
    net = frozen(net)
    usual = _processor(transformers.AutoImageProcessor.from_pretrained(where, use_fast=True, **options), spec)

    def embed(images: Tensor) -> Tensor:
        return net(pixel_values=images).last_hidden_state[:, 0]  # the class token, after the last norm

    return Encoder(spec, "hf", _told(model), chosen or usual, hash_weights(net), embed, device=device())


def _processor(processor: Any, spec: str) -> Preprocess:
    """What an image processor of transformers does, as data."""
    size, crop = dict(processor.size), dict(processor.crop_size or {})
    side = size.get("shortest_edge") or size.get("height")
    if not side or size.get("width", side) != side or not processor.do_resize:
        raise LitmusError(f"the encoder {spec} resizes to {size}, which litmus does not do")
    kept = crop.get("height", side) if processor.do_center_crop else side
    mode = {0: "nearest", 2: "bilinear", 3: "bicubic"}[int(processor.resample)]
    squash = "height" in size
    # Without a cut the shorter side would leave a picture that is no square; the models take squares.
    return Preprocess(side, min(kept, side), tuple(processor.image_mean), tuple(processor.image_std), mode, squash)


def _csd(spec: str, model: str, chosen: Preprocess | None) -> Encoder:
    library("open_clip", spec, "open_clip_torch")
    from bench.extractors import csd

    net = frozen(csd.load(model))
    usual = csd.preprocess(net)
    return Encoder(spec, "csd", _told(model), chosen or usual, hash_weights(net), net, device=device())


def _dreamsim(spec: str, model: str, chosen: Preprocess | None) -> Encoder:
    dreamsim = library("dreamsim", spec, "dreamsim")
    net, _ = dreamsim.dreamsim(pretrained=True, dreamsim_type=model or "ensemble", device=str(device()))
    net = frozen(net)
    # The library's own transform: both sides to 224, bicubic; it normalises inside.
    usual = Preprocess(224, 224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), squash=True)
    return Encoder(
        spec, "dreamsim", model or "ensemble", chosen or usual, hash_weights(net), net.embed, device=device()
    )


FAMILIES: dict[str, Callable[[str, str, Preprocess | None], Encoder]] = {
    "openclip": _openclip,
    "timm": _timm,
    "hf": _hf,
    "csd": _csd,
    "dreamsim": _dreamsim,
}


def _told(model: str) -> str:
    """The model's name for the record; of a folder its last part, because paths are nobody's business."""
    path = Path(model).expanduser()
    return path.name if path.exists() else model


def check_spec(spec: str) -> None:
    """LitmusError for a name that cannot be an encoder, without loading anything."""
    family, _, model = spec.partition(":")
    if spec in SHORT or (family in FAMILIES and (model or family == "dreamsim")):
        return
    if family in FAMILIES or any(short.startswith(f"{family}:") for short in SHORT):
        known = [short for short in SHORT if short.startswith(f"{family}:")] or [f"{family}:MODEL"]
        raise LitmusError(nearest(spec, known, "encoder"))
    raise LitmusError(nearest(family, [*FAMILIES, *(s.partition(":")[0] for s in SHORT)], "family of encoders"))


def load_encoder(spec: str) -> Encoder:
    """The encoder called `spec`, loaded once per process and device (`bench.extractors.base.device`).

    Raises LitmusError with the remedy for an unknown name, a library that is not installed, and weights that are not
    here and cannot be had.
    """
    check_spec(spec)
    return _load(spec, str(device()))


@lru_cache(maxsize=4)
def _load(spec: str, where: str) -> Encoder:
    full, chosen = SHORT.get(spec, (spec, None))
    family, _, model = full.partition(":")
    try:
        return FAMILIES[family](spec, model, chosen)
    except LitmusError:
        raise
    except Exception as error:  # each library has a dozen types for a network, a name, a file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
        raise LitmusError(
            f"cannot load the encoder {spec} ({reason}): its weights come once from a network; without one, copy "
            f"a folder with them here and write {family}:FOLDER (docs/encoders.md)"
        ) from None
