"""Reading and writing safetensors, and which format a file or folder has."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import LitmusError
from bench.core.files import DiskError, disk_line, whole
from bench.records.features import SUFFIX

if TYPE_CHECKING:
    from torch import Tensor

DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"  # the name that load_lora_weights looks for in a folder
PEFT_CONFIG, PEFT_NAME = "adapter_config.json", "adapter_model.safetensors"
PARTS = "part-"  # folders of a peft checkpoint that one configuration cannot say
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "lora_transformer_", "lycoris_")
DIFFUSERS = ("unet.", "transformer.", "text_encoder")


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors on the CPU, header). LitmusError when it cannot be read as safetensors."""
    from safetensors import SafetensorError, safe_open

    if file.suffix in PICKLES:
        raise LitmusError(
            f"{file} may be a pickle, which can run code and is not opened here: convert it to safetensors"
        )
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise LitmusError(f"no file {file}: give a .safetensors file, or the folder that holds it") from None
    except (OSError, SafetensorError) as error:
        raise LitmusError(f"cannot read {file} as safetensors: {error}") from None


def metadata(file: Path) -> dict[str, str]:
    """The header's texts, without reading a tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise LitmusError(f"cannot read {file} as safetensors: {error}") from None


def write(file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> Path:
    """Write the file whole or not at all; tensors come from any device and may share memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # A copy of each: safetensors refuses tensors that share memory.
    copies = {key: x.detach().to("cpu", copy=True).contiguous() for key, x in tensors.items()}
    try:
        with whole(file) as part:
            save_file(copies, part, dict(header))
    except (OSError, SafetensorError) as error:
        raise DiskError(disk_line(file.parent, error if isinstance(error, OSError) else OSError(str(error)))) from error
    return file


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name only when all is in it. LitmusError where something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LitmusError(f"{folder} is there already: choose another --out, or remove it")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    except OSError as error:
        raise DiskError(disk_line(folder.parent, error)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def locate(path: Path) -> tuple[str, Path]:
    """(format, the file or folder itself) of what somebody calls an adapter.

    format is "litmus", "diffusers", "kohya" (one safetensors file) or "peft" (a folder). A run's record stands for the
    adapter that was saved with it. LitmusError for anything else, with what to do.
    """
    path = path.expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.suffix == ".json" and path.is_file():
        return locate(_of_record(path))
    if not path.is_file():
        raise LitmusError(f"no adapter {path}: give a .safetensors file, or the folder that holds it")
    return _kind(path), path


def _in_folder(folder: Path) -> tuple[str, Path]:
    if (folder / PEFT_CONFIG).is_file() or any(folder.glob(f"{PARTS}*/{PEFT_CONFIG}")):
        return "peft", folder
    if (folder / "model_index.json").is_file():
        raise LitmusError(f"{folder} is a whole pipeline, not an adapter: give it as --base")
    candidates = sorted(file for file in folder.glob("*.safetensors") if not file.name.endswith(SUFFIX))
    if (folder / DIFFUSERS_NAME) in candidates:
        candidates = [folder / DIFFUSERS_NAME]
    if len(candidates) != 1:
        what = "no .safetensors file" if not candidates else f"{len(candidates)} .safetensors files"
        raise LitmusError(f"{folder} has {what} and no {PEFT_CONFIG}: name the adapter's file")
    return _kind(candidates[0]), candidates[0]


def _of_record(file: Path) -> Path:
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["files"].get("adapter")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise LitmusError(f"{file} is neither an adapter nor a run's record") from None
    if not name:
        raise LitmusError(f"{file}: this run's adapter was not saved: run it again with litmus run ... --save")
    return file.parent / name


def _kind(file: Path) -> str:
    from safetensors import SafetensorError, safe_open

    if file.suffix in PICKLES:
        raise LitmusError(
            f"{file} may be a pickle, which can run code and is not opened here: convert it to safetensors"
        )
    try:
        with safe_open(file, "pt") as opened:
            keys, header = list(opened.keys()), opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise LitmusError(f"cannot read {file} as safetensors: {error}") from None
    from bench.interop import facts

    known = facts.read(header, file)
    if known is not None and known.kind == "litmus":
        return "litmus"
    if not keys:
        raise LitmusError(f"{file} holds no tensor: get it anew")
    if all(key.startswith(KOHYA) for key in keys):
        return "kohya"
    if all(key.startswith(DIFFUSERS) for key in keys):
        return "diffusers"
    if file.name == PEFT_NAME:
        raise LitmusError(f"{file}: a peft checkpoint is a folder with {PEFT_CONFIG} beside it: give the folder")
    return "unknown"  # a transformer's LoRA in its makers' own names: diffusers may know them
