"""Which layer of a base a name in a foreign file means.

kohya-ss and LyCORIS write a layer's path with underscores for dots, so the base's own paths, written that way, tell
what is meant; diffusers has converters for the files whose networks name their layers otherwise (SDXL's and FLUX.1's
first code).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.core.errors import LitmusError
from bench.method import Network
from bench.network.family import family_of_denoiser

CLIP = "text_model."  # transformers before 5 had a module of that name around CLIP's text encoder; files still say it


def component(denoiser: nn.Module) -> str:
    """What diffusers calls the denoiser inside a pipeline."""
    family = family_of_denoiser(denoiser)
    if family is not None:
        return family.denoiser
    return "unet" if type(denoiser).__name__.startswith("UNet") else "transformer"


def prefix(denoiser: nn.Module) -> str:
    """How kohya-ss (U-Nets) and LyCORIS (anything else) begin the names of the denoiser's layers."""
    return "lora_unet_" if component(denoiser) == "unet" else "lycoris_"


def flat(path: str) -> str:
    return path.replace(".", "_")


def text_path(path: str) -> str:
    """The path of a layer of the text encoder as files write it."""
    return path if path.startswith(CLIP) else CLIP + path


def table(net: Network) -> dict[str, tuple[str, str]]:
    """A file's name of a layer -> (part, path): every Linear and Conv2d of the network, under every spelling."""
    renamed: dict[str, tuple[str, str]] = {}
    for path in _layers(net.denoiser):
        for start in ("lora_unet_", "lora_transformer_", "lycoris_"):
            renamed[start + flat(path)] = ("denoiser", path)
    for path in _layers(net.text) if net.text is not None else ():
        for start in ("lora_te_", "lora_te1_"):
            renamed[start + flat(text_path(path))] = ("text", path)
            renamed[start + flat(path)] = ("text", path)
    return renamed


def _layers(part: nn.Module) -> list[str]:
    return [path for path, module in part.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def respelled(tensors: dict[str, Tensor], denoiser: Any, file: object) -> dict[str, Tensor]:
    """kohya-ss's SDXL files name the blocks of Stability's first code: by diffusers' converter, as ours.

    Others come back as they are. LitmusError where the converter would leave something out.
    """
    if component(denoiser) != "unet" or not any("_blocks_" in key and _stability(key) for key in tensors):
        return tensors
    try:
        from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

        new = _maybe_map_sgm_blocks_to_diffusers(dict(tensors), denoiser.config)
    except (ImportError, ValueError, IndexError) as error:
        raise LitmusError(
            f"{file} names its layers as Stability's code does, and diffusers cannot tell: {error}"
        ) from None
    if len(new) != len(tensors):
        raise LitmusError(f"{file} mixes the names of Stability's code and of diffusers: which one counts is not known")
    ends = {"_input_blocks_": "_down_blocks_", "_middle_block_": "_mid_block_", "_output_blocks_": "_up_blocks_"}
    ends |= {"_in_layers_2.": "_conv1.", "_out_layers_3.": "_conv2.", "_emb_layers_1.": "_time_emb_proj."}
    ends |= {"_skip_connection.": "_conv_shortcut.", "_downsamplers_0_op.": "_downsamplers_0_conv."}
    return {_replaced(key, ends): x for key, x in new.items()}


def _stability(key: str) -> bool:
    return any(part in key for part in ("_input_blocks_", "_middle_block_", "_output_blocks_"))


def _replaced(key: str, ends: dict[str, str]) -> str:
    for old, new in ends.items():
        key = key.replace(old, new)
    return key


def by_pipeline(tensors: dict[str, Tensor], denoiser: nn.Module, file: object) -> dict[str, Tensor]:
    """The tensors under diffusers' own names, by the family's pipeline. LitmusError for what it does not know."""
    import diffusers

    family = family_of_denoiser(denoiser)
    name = family.adapter_pipeline if family else ""
    if not name or not hasattr(diffusers, name):
        raise LitmusError(
            f"{file}: its first name, {next(iter(tensors))}, is no layer of this base, and no converter is known"
        )
    try:
        converted: Any = getattr(diffusers, name).lora_state_dict(dict(tensors))
    except Exception as error:  # a converter meets names that it never expected
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise LitmusError(f"{file} is no adapter of {name}: diffusers' converter says: {text}") from None
    tensors, alphas = converted if isinstance(converted, tuple) else (converted, None)
    if alphas:
        raise LitmusError(f"{file}: diffusers reads scales (alpha) from it apart from its factors: not supported here")
    return tensors
