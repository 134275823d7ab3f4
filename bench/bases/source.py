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

from bench.bases.spec import INDEX, SUFFIXES, Spec, pinned
from bench.bases.weights import (
    STEMS,
    broken,
    check_variant,
    class_of,
    hush,
    listed,
    read_json,
    refuse,
    shapes,
    variant_of,
)
from bench.core.cache import sha256_file
from bench.core.errors import LitmusError
from bench.network.family import FAMILIES, Family, family_of
from bench.plugin.registry import source_digest


@dataclass(frozen=True)
class Source:
    """A base's files.

    spec       as it was asked for, with revision and resolution filled in: str(spec) is the base's name in a record
    folder     in diffusers' layout
    pipeline   the pipeline's class, as model_index.json names it
    index      component -> (library, class), of those that are there
    revision   the hub's commit; "" for a folder
    licence    as the README's card says; "" where it says nothing
    digest     over every file that decides a picture, and the settings and options that do
    text_digest, vae_digest  of the text side and of the VAE alone
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
    vae_digest: str

    def text_pipeline(self) -> Any:
        """The pipeline of diffusers with its text side alone, in the base's dtype, on the CPU."""
        kept = self.family.encoders + self.family.tokenizers
        return self.load_pipeline(
            {x: None for x, at in self.settings().items() if isinstance(at, list) and x not in kept}
        )

    def load_pipeline(self, components: dict[str, Any]) -> Any:
        """The pipeline with `components` in place of the folder's own, which come in the base's dtype.

        LitmusError where weights are not those of their component, as of `component`.
        """
        import diffusers

        hush()
        cls: Any = self.family.component(self.pipeline) or getattr(diffusers, self.pipeline)
        components = {name: None for name in ASIDE if name in self.settings()} | components
        components |= {name: self.component(name) for name in self.weighted() if name not in components}
        word = dtype_word("diffusers")
        return cls.from_pretrained(self.folder, **{word: self.dtype}, **components)

    def component(self, name: str, dtype: Any = None, **options: Any) -> Any:
        """One component, by its own class: weights in `dtype` or the base's, on the CPU unless `options` say more.

        LitmusError for weights that are not those of the class: what is missing would be random numbers.
        """
        library, cls = self.index[name]
        folder = self.folder / name
        made = self.class_of(name)
        try:
            if name not in self.weighted():
                return made.from_pretrained(folder, **options)
            if variant := variant_of(folder, library, self.spec.variant):
                options["variant"] = variant
            if library == "transformers":
                options["ignore_mismatched_sizes"] = True  # they are refused below, in words
            options = {dtype_word(library): dtype or self.dtype, "use_safetensors": True, **options}
            model, info = made.from_pretrained(folder, output_loading_info=True, **options)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LitmusError(broken(folder, cls, error)) from error
        refuse(str(folder), cls, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
        return model

    def class_of(self, name: str) -> Any:
        """The class of a component: the family's own, else its library's. LitmusError where that has none."""
        library, cls = self.index[name]
        return self.family.component(cls) or class_of(library, cls, f"{name} of {self.folder}")

    def weighted(self) -> tuple[str, ...]:
        """The components that have weights."""
        return (self.family.denoiser, "vae", *self.family.encoders)

    def settings(self) -> dict[str, Any]:
        """The components and settings that model_index.json lists."""
        return {key: x for key, x in read_index(self.folder).items() if not key.startswith("_")}

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
    """model_index.json; LitmusError for a folder that has none, or one that names no pipeline."""
    file = folder / INDEX
    if not file.is_file():
        single = any(folder.glob("*.safetensors")) or any(folder.glob("*.ckpt"))
        remedy = (
            "convert it with from_single_file(...).save_pretrained(...)" if single else "save_pretrained writes one"
        )
        raise LitmusError(f"{folder} is no folder in diffusers' layout (no {INDEX}): {remedy}")
    table = read_json(file)
    if not isinstance(table.get("_class_name"), str):
        raise LitmusError(f"{file} names no pipeline (_class_name): fetch or save the base again")
    return table


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
    pipeline = table["_class_name"]
    family = family_of(pipeline)
    if family is None:
        classes = sorted(cls for one in FAMILIES.values() for cls in one.pipelines)
        raise LitmusError(f"{spec.where} is a {pipeline}, which is not known here: {', '.join(classes)} are")
    index = {name: (x[0], x[1]) for name in family.parts if isinstance(x := table.get(name), list) and all(x[:2])}
    # A class of the family's own saves and loads as diffusers' do.
    index = {name: ("diffusers" if family.component(cls) else library, cls) for name, (library, cls) in index.items()}
    if missing := [name for name in family.parts if name not in index or not (folder / name).is_dir()]:
        raise LitmusError(f"{spec.where} is incomplete (no {', '.join(missing)}): fetch or save it again")
    if odd := next((name for name, (library, _) in index.items() if library not in STEMS), None):
        said = f"{odd} of {spec.where} is of '{index[odd][0]}'"
        raise LitmusError(f"{said}, and only components of diffusers and transformers are loaded: code is not run")
    weighted = {name: folder / name for name in (family.denoiser, "vae", *family.encoders)}
    check_variant(list(weighted.values()), spec.variant, [index[name][0] for name in weighted])
    for name, at in weighted.items():
        library = index[name][0]
        shapes(listed(at, library, variant_of(at, library, spec.variant)))
    configs = {name: read_json(at / "config.json") for name, at in weighted.items()}
    _agree(spec, family, configs)
    resolution = _resolution(spec, family, configs)
    spec = pinned(spec, revision, resolution)
    words = (*family.encoders, *family.tokenizers)
    settings = {key: x for key, x in table.items() if not key.startswith("_") and not isinstance(x, list)}
    said = f"{pipeline} {json.dumps(settings, sort_keys=True)}"
    said += source_digest(type(family))  # a family from outside may change while its author works on it
    text = hashlib.sha256(f"{said} {_digest(folder, words, spec.variant)}".encode()).hexdigest()
    rest = _digest(folder, (n for n in index if n not in words), spec.variant)
    options = str(spec).partition("?")[2]
    whole = hashlib.sha256(f"{text} {rest} {options}".encode()).hexdigest()
    vae = _digest(folder, ["vae"], spec.variant)
    return Source(spec, folder, pipeline, family, index, revision, licence(folder), whole, text, vae)


def _agree(spec: Spec, family: Family, configs: dict[str, dict[str, Any]]) -> None:
    """LitmusError for a denoiser that takes other text states or latents than the parts beside it give."""
    denoiser, at = configs[family.denoiser], f"{spec.where}: {family.title}'s {family.denoiser}"
    widths: list[Any] = [configs[name].get("hidden_size") or configs[name].get("d_model") for name in family.encoders]
    takes = next((x for key in STATES if isinstance(x := denoiser.get(key), int)), None)
    if takes and all(isinstance(width, int) for width in widths):
        gives = sum(widths) if family.denoiser == "unet" else widths[-1]  # elsewhere T5's, and CLIP's are padded
        if takes not in (gives, 3 * gives):  # FLUX.2 joins three layers of its encoder
            raise LitmusError(f"{at} takes text states of {takes} and its encoders give {gives}: two models are mixed")
    takes, gives = denoiser.get("in_channels"), configs["vae"].get("latent_channels")
    if takes and gives and takes not in (gives, 4 * gives):  # FLUX packs 2 x 2 latents
        raise LitmusError(f"{at} takes {takes} channels and its vae gives {gives}: two models are mixed")


STATES = ("caption_channels", "joint_attention_dim", "cross_attention_dim")  # what denoisers call the states' width


def _resolution(spec: Spec, family: Family, configs: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """(height, width) that was asked for, else the side that the denoiser was made for.

    FLUX names none, and takes the 1024 px of its pipeline's default. LitmusError for sides that the VAE and the
    denoiser cannot divide.
    """
    denoiser = configs[family.denoiser]
    try:
        factor = 2 ** (len(configs["vae"].get("block_out_channels", (1,) * 4)) - 1)
        halvings = len(denoiser["block_out_channels"]) - 1 if family.denoiser == "unet" else 0
        side = (denoiser.get("sample_size") or 1024 // factor) * factor
    except (KeyError, TypeError) as error:
        part = f"{family.denoiser}/config.json and vae/config.json"
        raise LitmusError(f"{spec.where}: {part} are not those of {family.title} ({error}): fetch them again") from None
    multiple = family.multiple // 8 * factor  # 8 of a family's multiple are its published VAE's
    least = max(multiple, factor * 2**halvings)
    found = spec.resolution or (side, side)
    if any(x % multiple or x < least for x in found):
        sides = f"{found[1]} x {found[0]}"
        said = f"multiples of {multiple} px" + (f", from {least} px" if least > multiple else "")
        raise LitmusError(f"{family.title} makes pictures whose sides are {said}: {sides} is not possible")
    return found


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
