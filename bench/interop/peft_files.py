"""Checkpoints of Hugging Face's peft (adapter_config.json, adapter_model.safetensors), for every tuner.

A checkpoint has one configuration for all its layers. Where a method here gives layers different settings and the
tuner's configuration has a pattern for them, they go there; where it has none (RoAd's groups, FRoD's shared tensors),
the folder holds several checkpoints, part-0, part-1, ..., to be loaded one after another.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import LitmusError
from bench.interop import files
from bench.interop.changes import Changes, LowRank, of_layers
from bench.interop.facts import Facts, header
from bench.interop.foreign import SIZE, A, B, lora_settings
from bench.method import state

INSIDE = "base_model.model."  # where peft's wrapper keeps the network
ADAPTER = "default"

# Class of the configuration -> setting -> the pattern that holds its exceptions, by path.
PATTERNS = {
    "C3AConfig": {"block_size": "block_size_pattern"},
    "DeloraConfig": {"r": "rank_pattern"},
    "FourierFTConfig": {"n_frequency": "n_frequency_pattern"},
    "HiraConfig": {"r": "rank_pattern"},
    "LoHaConfig": {"r": "rank_pattern", "alpha": "alpha_pattern"},
    "LoKrConfig": {"r": "rank_pattern", "alpha": "alpha_pattern"},
    "OSFConfig": {"effective_rank": "rank_pattern"},
    "WaveFTConfig": {"n_frequency": "n_frequency_pattern"},
}
UNWRITABLE = {
    "AdamssConfig": "peft groups the rows anew when it loads, by scikit-learn, ours by our own k-means",
}


# --- writing ------------------------------------------------------------------------------------------------------


def write(folder: Path, tuned: nn.Module, frozen: nn.Module, facts: Facts) -> Path:
    """Write what peft's layers in the denoiser `tuned` hold; `frozen` is the same denoiser as it was.

    LitmusError where peft would load something else than this.
    """
    configs = _configs(tuned)
    if reason := next((why for name, why in UNWRITABLE.items() if type(configs[0]).__name__ == name), None):
        raise LitmusError(f"no peft checkpoint of this can be written: {reason}")
    changes = of_layers(tuned, frozen)
    if changes and all(isinstance(change, LowRank) for change in changes.values()):
        pieces = [_lora(changes)]
    else:
        pieces = _pieces(_joined(configs, frozen), tuned, frozen)
    return _write(folder, pieces, facts)


def write_lora(folder: Path, changes: Changes, facts: Facts) -> Path:
    """Write LoRA changes of the denoiser as a checkpoint of LoRA. LitmusError for other changes."""
    if odd := next(
        (path for path, change in changes.items() if not isinstance(change, LowRank) or change.mid is not None), None
    ):
        raise LitmusError(f"{odd} is LoHa or LoKr in this file, which is written as peft's only from peft's own layers")
    return _write(folder, [_lora(changes)], facts)


def holds(part: nn.Module) -> bool:
    """Whether peft's layers are on this network."""
    return bool(_configs(part))


def _configs(part: nn.Module) -> list[Any]:
    return list(vars(part).get("peft_parts") or getattr(part, "peft_config", {}).values())


def _write(folder: Path, pieces: list[tuple[Any, dict[str, Tensor]]], facts: Facts) -> Path:
    with files.new_folder(folder) as part:
        for i, (config, tensors) in enumerate(pieces):
            one = part if len(pieces) == 1 else part / f"{files.PARTS}{i}"
            one.mkdir(exist_ok=True)
            config.inference_mode = True  # as peft saves it: what is loaded is not trained on unless asked
            config.save_pretrained(str(one))
            files.write(one / files.PEFT_NAME, tensors, header(facts))
    return folder


def _lora(changes: Changes) -> tuple[Any, dict[str, Tensor]]:
    """A plain LoRA, whatever its start was: the start would be cut out of the base's weight a second time."""
    from peft import LoraConfig

    tensors: dict[str, Tensor] = {}
    for path, change in changes.items():
        assert isinstance(change, LowRank)
        tensors |= {f"{INSIDE}{path}{A}": change.down, f"{INSIDE}{path}{B}": change.up}
        if change.size is not None:
            tensors[f"{INSIDE}{path}{SIZE}"] = change.size
    settings = lora_settings(changes)
    settings["target_modules"] = pattern(changes)
    return LoraConfig(**settings), tensors


def pattern(paths: Iterable[str]) -> str:
    """A pattern for these paths alone: a name in a list stands for every path that ends in it."""
    return "|".join(re.escape(path) for path in sorted(paths))


def _targets(config: Any, frozen: nn.Module) -> list[str]:
    wanted = config.target_modules
    if isinstance(wanted, str):
        return [path for path, _ in frozen.named_modules() if re.fullmatch(wanted, path)]
    return [path for path, _ in frozen.named_modules() if any(f".{path}".endswith(f".{one}") for one in wanted)]


def _joined(configs: list[Any], frozen: nn.Module) -> list[Any]:
    """The configurations as one, where its class has patterns for what differs."""
    if len(configs) == 1:
        return configs
    one, targets = copy.deepcopy(configs[0]), [_targets(config, frozen) for config in configs]
    kind = type(one).__name__
    if kind == "IA3Config":  # scaled at the input: all the layers of one, none of the other
        before = [
            path for config, paths in zip(configs, targets, strict=True) if config.feedforward_modules for path in paths
        ]
        one.feedforward_modules = pattern(before)
    elif kind in PATTERNS:
        for setting, exceptions in PATTERNS[kind].items():
            values = {path: getattr(c, setting) for c, paths in zip(configs, targets, strict=True) for path in paths}
            common = Counter(values.values()).most_common(1)[0][0]
            setattr(one, setting, common)
            setattr(one, exceptions, {path: value for path, value in values.items() if value != common})
    else:
        return configs
    one.target_modules = pattern(path for paths in targets for path in paths)
    return [one]


class _Shared(Exception):
    """peft shares a tensor between layers that have different ones here."""


def _pieces(configs: list[Any], tuned: nn.Module, frozen: nn.Module) -> list[tuple[Any, dict[str, Tensor]]]:
    try:
        return _filled(configs, tuned, frozen)
    except _Shared:
        # Given a pattern, Lily shares among all layers of a shape; given names, among those of a name, as ours do.
        named = [_named(config, frozen) for config in configs]
    try:
        return _filled(named, tuned, frozen)
    except _Shared:
        raise LitmusError("peft would share tensors between layers that have their own here: no checkpoint") from None


def _named(config: Any, frozen: nn.Module) -> Any:
    """The configuration with the layers' last names as its targets. LitmusError where they mean other layers too."""
    config, paths = copy.deepcopy(config), _targets(config, frozen)
    config.target_modules = {match.group() for path in paths if (match := re.search(r"[^.]+(\.\d+)*$", path))}
    if set(_targets(config, frozen)) != set(paths):
        names = ", ".join(sorted(config.target_modules))
        raise LitmusError(
            f"peft tells these layers apart by their last names, and {names} are others too: no checkpoint"
        )
    return config


@torch.no_grad()
def _filled(configs: list[Any], tuned: nn.Module, frozen: nn.Module) -> list[tuple[Any, dict[str, Tensor]]]:
    """For each configuration peft's own layers on a copy of the base, filled with the trained tensors, as it saves."""
    from peft import get_peft_model
    from peft.utils import get_peft_model_state_dict

    trained, pieces = state(tuned), []
    for config in configs:
        config = copy.deepcopy(config)
        paths = _targets(config, frozen)
        with _quiet():
            model: Any = get_peft_model(copy.deepcopy(frozen), config)  # type: ignore[arg-type]
        mine = {key: x for key, x in trained.items() if any(key.startswith(f"{path}.") for path in paths)}
        filled: dict[int, Tensor] = {}
        for key, x in mine.items():
            target = _at(model.base_model.model, key)
            if not filled.setdefault(id(target), x).equal(x):
                raise _Shared
            target.copy_(x)
        with _quiet():
            tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        pieces.append((config, tensors))
    return pieces


def _at(part: Any, key: str) -> Tensor:
    for name in key.split("."):
        part = getattr(part, name)
    return part


# --- reading ------------------------------------------------------------------------------------------------------


def part_folders(folder: Path) -> list[Path]:
    """The folders of a checkpoint: itself, or its parts in order."""
    if (folder / files.PEFT_CONFIG).is_file():
        return [folder]
    folders = [file.parent for file in folder.glob(f"{files.PARTS}*/{files.PEFT_CONFIG}")]
    return sorted(folders, key=lambda part: int(re.sub(r"\D", "", part.name) or 0))


def put(denoiser: nn.Module, folder: Path) -> dict[str, str]:
    """Put the checkpoint on `denoiser`, in place, by peft's own layers; returns the header's texts.

    LitmusError where a layer is not there, a tensor is of another shape, or tensors are missing or left over.
    """
    about: dict[str, str] = {}
    configs = []
    for part in part_folders(folder):
        tensors, head = files.read(part / files.PEFT_NAME)
        about |= head
        configs.append(_put_one(denoiser, part, tensors))
    vars(denoiser)["peft_parts"] = tuple(configs)
    return about


def _put_one(denoiser: nn.Module, folder: Path, tensors: dict[str, Tensor]) -> Any:
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise LitmusError(f"{folder}: peft cannot read its configuration ({error}): a newer peft may") from None
    if config.is_prompt_learning:
        raise LitmusError(f"{folder} is a prompt for language models ({config.peft_type.value}): no denoiser takes one")
    config.inference_mode = False
    copied = copy.deepcopy(config)
    before = {id(p) for p in denoiser.parameters()}  # the base's, and those of parts that are on it already
    with _quiet(), torch.random.fork_rng(devices=[]):
        try:
            model: Any = get_peft_model(denoiser, config)  # type: ignore[arg-type]
            result = set_peft_model_state_dict(model, tensors)
        except (ImportError, KeyError, RuntimeError, ValueError) as error:
            raise LitmusError(
                f"{folder} does not fit this base ({type(denoiser).__name__}): {_reason(error)}"
            ) from None
    if result.unexpected_keys:
        first = min(result.unexpected_keys).removeprefix(INSIDE)
        of = f"{len(result.unexpected_keys)} of {len(tensors)} tensors are"
        raise LitmusError(
            f"{folder} does not fit this base ({type(denoiser).__name__}): {first} is not there ({of} not)"
        )
    missing = set(result.missing_keys)
    every = list(model.named_parameters(remove_duplicate=False))
    given = {id(p) for key, p in every if key not in missing}
    lacking = sorted(key for key, p in every if p.requires_grad and id(p) not in given | before)
    if lacking:
        raise LitmusError(
            f"{folder} lacks {lacking[0].removeprefix(INSIDE)} ({len(lacking)} tensors): it was cut, get it anew"
        )
    model.eval().requires_grad_(False)
    return copied


def _reason(error: Exception) -> str:
    """peft's and torch's long messages as one line."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    sizes = [line for line in lines if "size mismatch" in line]
    return ((sizes or lines or [type(error).__name__])[0]).replace(INSIDE, "")[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's remarks on a second adapter, or on seeds that were given to it
        yield


def fold(part: nn.Module) -> None:
    """Fold every peft layer's change into its base layer, in place. LitmusError for a tuner that cannot."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    with torch.no_grad():
        for path, layer in [(p, m) for p, m in part.named_modules() if isinstance(m, BaseTunerLayer)]:
            try:
                layer.merge()
            except (NotImplementedError, ValueError, RuntimeError) as error:
                raise LitmusError(f"peft cannot merge this adapter: {_reason(error)}") from None
            parent, _, child = path.rpartition(".")
            setattr(part.get_submodule(parent), child, layer.get_base_layer())
    for name in ("peft_config", "peft_parts"):
        vars(part).pop(name, None)
