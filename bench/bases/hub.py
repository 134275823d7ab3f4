"""Real bases: pipelines of diffusers from a folder or the hub, as bases that every method and task can use.

load(spec)                    a Base: denoiser and VAE loaded by their own classes, the text side read once and dropped
pipeline(base, denoiser)      the whole diffusers pipeline again, with a trained or merged denoiser in it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.bases.source import Source, hush, locate
from bench.bases.spec import Spec, parse
from bench.core.device import working_device
from bench.core.errors import LitmusError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.bases.base import Base

__all__ = ["Source", "Spec", "load", "locate", "parse", "pipeline"]


def load(text: str, where: str = "") -> Base:
    """The base that `text` writes (bench.bases.spec). Its network waits on the CPU; copies run on the device `where`
    (see bench.core.device).

    A quantised network is put on the device at once, since bitsandbytes quantises there.
    """
    from bench.bases.base import Base
    from bench.bases.texts import Texts
    from bench.method import Network

    source = locate(parse(text))
    spec, family, device = source.spec, source.family, working_device(where)
    hush()
    denoiser = source.component(family.denoiser, **_quantised(spec, device))
    vae = source.component("vae", _float32())  # SDXL's overflows in half precision, and none is large
    vae.to(device)
    height, width = spec.resolution or (0, 0)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    shape = (vae.config.latent_channels, height // factor, width // factor)
    try:
        schedule = family.schedule(source.component("scheduler"), shape[1] * shape[2] // 4)
    except ValueError as error:
        raise LitmusError(f"{spec.where}: {error}") from None
    notes: dict[str, Any] = {"pipeline": source.pipeline, "family": family.title}
    if source.revision:
        notes["revision"] = source.revision
    return Base(
        name=str(spec),
        net=Network(denoiser),
        tokenizer=None,
        vae=vae,
        schedule=schedule,
        resolution=width if width == height else (height, width),
        latent_shape=shape,
        words=None,
        digest=source.digest,
        licence=source.licence,
        notes=notes,
        compute=spec.dtype,
        execution_device=device,
        guidance=family.guidance(denoiser, source.settings()),
        texts=Texts(source, device),
        source=source,
    )


def can_quantise(spec: Spec, device: torch.device) -> None:
    """LitmusError where `spec` asks for a quantised base and bitsandbytes or a GPU is missing."""
    from importlib.util import find_spec

    if spec.quantise and find_spec("bitsandbytes") is None:
        raise LitmusError("a quantised base needs bitsandbytes: pip install 'peft-litmus[quantised]'")
    if spec.quantise and device.type not in QUANTISERS[spec.quantise]:
        can = " or ".join(QUANTISERS[spec.quantise])
        said = f"diffusers quantises to {spec.quantise} on {can}, and this works on {device}"
        raise LitmusError(f"{said}: leave out --quantise")


QUANTISERS = {"nf4": ("cuda", "xpu", "mps"), "int8": ("cuda", "xpu")}  # as its BnB*DiffusersQuantizer ask


def _quantised(spec: Spec, device: torch.device) -> dict[str, Any]:
    if not spec.quantise:
        return {}
    can_quantise(spec, device)
    import diffusers

    half = _dtype(spec)
    if spec.quantise == "nf4":
        config = diffusers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=half)
    else:
        config = diffusers.BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": config, "device_map": {"": device}}


def _dtype(spec: Spec) -> Any:
    import torch

    return torch.bfloat16 if spec.dtype == "bf16" else torch.float32


def _float32() -> Any:
    import torch

    return torch.float32


def pipeline(base: Base, denoiser: nn.Module | None = None, text: nn.Module | None = None, **components: Any) -> Any:
    """The whole pipeline of `base` as diffusers loads it, with `denoiser` and `text` in place of its own.

    What is not given is loaded anew from the base's files, in the base's dtype. `save_pretrained` of the result is a
    folder that `load` reads. The pocket base has such a pipeline too. LitmusError for a base that has no files.
    """
    source = base.source
    if source is None and base.name == "pocket":
        from bench.bases.pocket import FOLDER

        source = locate(Spec(str(FOLDER), dtype="fp32"))
    if source is None:
        raise LitmusError(f"the base {base.name} has no pipeline of diffusers behind it")
    if denoiser is not None:
        components[source.family.denoiser] = denoiser
    if text is not None:
        components["text_encoder"] = text
    return source.load_pipeline(components)
