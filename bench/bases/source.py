"""Where a base's files are: a folder in diffusers' layout, or a snapshot of a hub repository pinned to its commit.

`locate(spec)` finds or downloads them, and turns what may go wrong on the way into one line with the remedy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bases.cache import sha256_file
from bench.bases.families import FAMILIES, Family, family_of
from bench.bases.spec import INDEX, Spec, pinned
from bench.config import LitmusError

COMMIT = re.compile(r"[0-9a-f]{40}")
SUFFIXES = ("json", "txt", "model", "jinja", "safetensors")  # of what a component is loaded from


@dataclass(frozen=True)
class Source:
    """A base's files.

    spec       as it was asked for, with revision and resolution filled in: str(spec) is the base's name in a record
    folder     in diffusers' layout
    pipeline   the pipeline's class, as model_index.json names it
    index      component -> (library, class), of those that are there
    revision   the hub's commit; "" for a folder
    licence    as the README's card says; "" where it says nothing
    digest     over every file that decides a picture, and the options that do; text_digest: of the text side alone
    """

    spec: Spec
    folder: Path
    pipeline: str
    family: Family
    index: dict[str, tuple[str, str]]
    revision: str
    licence: str
    digest: str
    text_digest: str

    def text_pipeline(self) -> Any:
        """The pipeline of diffusers with its text side alone, in the base's dtype, on the CPU."""
        kept = self.family.encoders + self.family.tokenizers
        return self.load_pipeline(
            {x: None for x, at in self.settings().items() if isinstance(at, list) and x not in kept}
        )

    def load_pipeline(self, components: dict[str, Any]) -> Any:
        """The pipeline with `components` in place of the folder's own, which come in the base's dtype."""
        import diffusers

        hush()
        cls: Any = getattr(diffusers, self.pipeline)
        components = {name: None for name in ASIDE if name in self.settings()} | components
        word = dtype_word("diffusers")
        return cls.from_pretrained(self.folder, **{word: self.dtype}, **self.weights(), **components)

    def component(self, name: str, dtype: Any = None, **options: Any) -> Any:
        """One component, by its own class: weights in `dtype` or the base's, on the CPU unless `options` say more."""
        import importlib

        library, cls = self.index[name]
        made: Any = getattr(importlib.import_module(library), cls)
        if name == self.family.denoiser or name == "vae" or name in self.family.encoders:
            options = {dtype_word(library): dtype or self.dtype, **self.weights(), **options}
        return made.from_pretrained(self.folder, subfolder=name, **options)

    def settings(self) -> dict[str, Any]:
        """The components and settings that model_index.json lists."""
        return {key: x for key, x in read_index(self.folder).items() if not key.startswith("_")}

    def weights(self) -> dict[str, Any]:
        """Which weight files to load."""
        return {"variant": self.spec.variant} if self.spec.variant else {}

    @property
    def dtype(self) -> Any:
        import torch

        return torch.bfloat16 if self.spec.dtype == "bf16" else torch.float32


def dtype_word(library: str) -> str:
    """What from_pretrained of a library calls the weights' dtype; the newer word came at different times."""
    import diffusers
    import transformers

    if library == "transformers":
        return "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    renamed = hasattr(getattr(diffusers.utils, "deprecation_utils", None), "_resolve_dtype")
    return "dtype" if renamed else "torch_dtype"


# Components that judge or look at finished pictures, or read pictures: no prompt and no picture of ours passes them.
ASIDE = ("safety_checker", "feature_extractor", "image_encoder")


def read_index(folder: Path) -> dict[str, Any]:
    """model_index.json; LitmusError for a folder that has none or one that is no JSON."""
    file = folder / INDEX
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        single = any(folder.glob("*.safetensors")) or any(folder.glob("*.ckpt"))
        remedy = (
            "convert it with from_single_file(...).save_pretrained(...)" if single else "save_pretrained writes one"
        )
        raise LitmusError(f"{folder} is no folder in diffusers' layout (no {INDEX}): {remedy}") from None
    except (OSError, ValueError) as error:
        raise LitmusError(f"cannot read {file}: {error}") from None


def hush() -> None:
    """Let diffusers and transformers speak of errors only, without progress bars for every component."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def locate(spec: Spec) -> Source:
    """The files of `spec`, downloaded if they must be. LitmusError with the remedy for whatever is amiss."""
    if Path(spec.where).is_dir():
        if spec.revision:
            raise LitmusError(f"{spec.where} is a folder and has no revision: leave @{spec.revision} out")
        folder, revision = Path(spec.where), ""
    else:
        from bench.bases.download import snapshot

        folder, revision = snapshot(spec)
    table = read_index(folder)
    pipeline = str(table.get("_class_name"))
    known = family_of(pipeline)
    if known is None:
        classes = sorted(cls for one in FAMILIES.values() for cls in one.pipelines)
        raise LitmusError(f"{spec.where} is a {pipeline}, which is not known here: {', '.join(classes)} are")
    family = known[1]
    index = {name: (x[0], x[1]) for name in family.parts if isinstance(x := table.get(name), list) and x[0] and x[1]}
    if missing := [name for name in family.parts if name not in index or not (folder / name).is_dir()]:
        raise LitmusError(f"{spec.where} is incomplete (no {', '.join(missing)}): fetch or save it again")
    resolution = spec.resolution or _resolution(folder, family)
    if any(side % family.multiple for side in resolution):
        raise LitmusError(f"{family.title} makes pictures whose sides are multiples of {family.multiple} px")
    spec = pinned(spec, revision, resolution)
    text = _digest(folder, (n for n in index if n in family.encoders + family.tokenizers), spec.variant)
    rest = _digest(folder, (n for n in index if n not in family.encoders + family.tokenizers), spec.variant)
    options = str(spec).partition("?")[2]
    whole = hashlib.sha256(f"{pipeline} {text} {rest} {options}".encode()).hexdigest()
    return Source(spec, folder, pipeline, family, index, revision, licence(folder), whole, text)


def _resolution(folder: Path, family: Family) -> tuple[int, int]:
    """The side that the denoiser was made for; FLUX names none, and takes the 1024 px of its pipeline's default."""
    config, vae = (json.loads((folder / part / "config.json").read_text()) for part in (family.denoiser, "vae"))
    factor = 2 ** (len(vae.get("block_out_channels", (1,) * 4)) - 1)
    side = (config.get("sample_size") or 1024 // factor) * factor
    return side, side


def weight_files(folder: Path, variant: str = "") -> list[Path]:
    """The files that a component in `folder` is loaded from: the plain ones, or those of a variant.

    A variant's weights are called name.VARIANT.safetensors, or name.VARIANT-00001-of-2.safetensors in pieces.
    """

    def is_variant(name: str, which: str) -> bool:
        return re.search(rf"\.{which}(-\d+-of-\d+)?\.safetensors$", name) is not None

    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix[1:] in SUFFIXES]
    weights = [p for p in found if p.suffix == ".safetensors"]
    plain = [p for p in weights if not is_variant(p.name, r"(?!safetensors)[A-Za-z_][\w]*")]
    chosen = [p for p in weights if is_variant(p.name, re.escape(variant))] if variant else plain
    return [p for p in found if p.suffix != ".safetensors"] + (chosen or plain)


def _digest(folder: Path, parts: Iterable[str], variant: str) -> str:
    h = hashlib.sha256()
    for part in sorted(parts):
        for file in weight_files(folder / part, variant):
            h.update(f"{file.relative_to(folder).as_posix()} {sha256_file(file)}\n".encode())
    return h.hexdigest()


def licence(folder: Path) -> str:
    """The licence that a model's card names (README.md), "" where there is no card or it names none."""
    from huggingface_hub import metadata_load

    try:
        card = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError):
        return ""
    name = str(card.get("license") or "")
    if name == "other" and card.get("license_name"):
        name = str(card["license_name"])
    link = str(card.get("license_link") or "")
    return f"{name} ({link})" if name and link.startswith("http") else name


def weights_digest(source: Source, text: bool = False) -> str:
    """sha256 over the tensors' files of the denoiser alone, or with `text` of the text encoders alone.

    Unlike Source.digest it says nothing of options (dtype, resolution), settings, codec or schedule: what is trained on
    a base fits every base with these weights.
    """
    parts = source.family.encoders if text else (source.family.denoiser,)
    h = hashlib.sha256()
    for part in sorted(parts):
        for file in weight_files(source.folder / part, source.spec.variant):
            if file.suffix == ".safetensors":
                h.update(f"{part} {sha256_file(file)}\n".encode())
    return h.hexdigest()
