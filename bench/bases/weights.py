"""Whether the weight files of a base are whole, and those of the network that its configuration describes.

A file's header names its tensors with their shapes, so both are known before anything is loaded. diffusers and
transformers fill what a file lacks with random numbers and pass over what they do not want, and say so in a warning
alone: here that is an error. What a class itself leaves out of a file (buffers, tied embeddings) is no fault.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.cache import cache_path
from bench.core.errors import LitmusError, nearest
from bench.core.files import whole

if TYPE_CHECKING:
    from bench.bases.source import Source

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}  # how each calls its weights
VERSION = 1  # raised whenever `check` looks at more


def hush() -> None:
    """Let diffusers and transformers speak of errors only, without progress bars for every component."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def listed(folder: Path, library: str, variant: str = "") -> list[Path]:
    """The weight files that `library` loads from a component's folder, whether they are there or not.

    LitmusError for an index of pieces that cannot be read.
    """
    stem, dot = STEMS[library], f".{variant}" if variant else ""
    single, index = folder / f"{stem}{dot}.safetensors", folder / f"{stem}.safetensors.index{dot}.json"
    if not index.is_file() or (library == "transformers" and single.is_file()):
        return [single]
    pieces = read_json(index).get("weight_map")
    if not isinstance(pieces, dict):
        raise LitmusError(f"{index} names no weight files: fetch or save it again")
    return [folder / str(name) for name in sorted(set(pieces.values()))]


def variant_of(folder: Path, library: str, variant: str) -> str:
    """`variant` where the component has weights of it, else "": its plain ones are loaded."""
    return variant if variant and all(file.is_file() for file in listed(folder, library, variant)) else ""


def variants(folders: Iterable[Path]) -> list[str]:
    """The variants that weights in `folders` come in."""
    pattern = re.compile(r"\.([A-Za-z_]\w*?)(-\d+-of-\d+)?\.safetensors$")
    return sorted(
        {found[1] for one in folders for file in one.glob("*.safetensors") if (found := pattern.search(file.name))}
    )


def read_json(file: Path) -> dict[str, Any]:
    """A table from a file; LitmusError for one that is missing, no JSON or no table."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LitmusError(f"no {file}: fetch or save the base again") from None
    except (OSError, ValueError) as error:
        raise LitmusError(f"cannot read {file}: {error}") from None
    if not isinstance(table, dict):
        raise LitmusError(f"cannot read {file}: it holds a {type(table).__name__}, not a table")
    return table


def shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Every tensor of `files` with its shape, from the headers; LitmusError for one that is missing or cut off."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        if not file.is_file():
            raise LitmusError(_absent(file))
        try:
            with safe_open(file, "np") as handle:
                found |= {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise LitmusError(f"{file} is cut off or no weight file ({reason}): fetch it again") from None
    return found


def _absent(file: Path) -> str:
    folder = file.parent
    if others := variants([folder]):
        return f"no {file}: its weights come as {', '.join(others)}, so write ?variant={others[0]} behind the base"
    if any(folder.glob("*.bin")):
        return f"no {file}, only pickled weights (.bin), which are not loaded: save_pretrained writes safetensors"
    return f"no {file}: fetch or save the base again"


def class_of(library: str, cls: str, what: str) -> Any:
    """The class `cls` of `library`; LitmusError for one that the installed release has not. `what` names the place."""
    module = importlib.import_module(library)
    found = getattr(module, cls, None)
    if not isinstance(found, type):
        raise LitmusError(f"{what} is a {cls}, which {library} {module.__version__} does not have: upgrade {library}")
    return found


def refuse(what: str, cls: str, missing: Collection[Any], unexpected: Collection[Any], other: Collection[Any]) -> None:
    """LitmusError if a component's files lack tensors, have some that its class does not know, or of `other` shapes."""
    faults = {"missing": missing, "not its own": unexpected, "of another shape": other}
    names = {how: sorted(x[0] if isinstance(x, tuple) else str(x) for x in keys) for how, keys in faults.items()}
    said = [f"{len(keys)} {how} ({keys[0]})" for how, keys in names.items() if keys]
    if said:
        raise LitmusError(
            f"the weights in {what} are not those of the {cls} that its config.json describes: "
            f"of its tensors {', '.join(said)}; fetch or save the base again"
        )


def check(source: Source) -> None:
    """LitmusError if a component's files are not of its network. Loads no weights; remembered by the base's digest."""
    import diffusers
    import transformers

    hush()
    versions = [diffusers.__version__, transformers.__version__]
    done = cache_path("whole", [VERSION, source.digest, *versions], "txt")
    if done.is_file():
        return
    for name in source.weighted():
        library, cls = source.index[name]
        folder = source.folder / name
        files = listed(folder, library, variant_of(folder, library, source.spec.variant))
        made = source.class_of(name)
        hollow = _hollow if library == "diffusers" else _hollow_of_transformers
        try:
            faults = hollow(made, folder, shapes(files))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise LitmusError(broken(folder, cls, error)) from None
        refuse(str(folder), cls, *faults)
    try:
        with whole(done) as part:
            part.write_text("", encoding="ascii")
    except OSError:
        pass  # looked at again next time


def broken(folder: Path, cls: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"cannot make a {cls} of {folder} ({type(error).__name__}: {reason}): look at its config.json"


Faults = tuple[Collection[Any], Collection[Any], Collection[Any]]


def _hollow(made: Any, folder: Path, found: dict[str, tuple[int, ...]]) -> Faults:
    """(missing, unexpected, other) of a model of diffusers, as its own from_pretrained counts them."""
    import torch

    with torch.device("meta"):
        model = made.from_config(made.load_config(folder))
    tensors = {key: torch.empty(shape, device="meta") for key, shape in found.items()}
    model._fix_state_dict_keys_on_load(tensors)  # attention layers of old VAEs have other names
    own = model.state_dict()
    ignored = made._keys_to_ignore_on_load_unexpected or ()
    extra = [key for key in tensors if key not in own and not any(re.search(pattern, key) for pattern in ignored)]
    odd = [key for key, x in tensors.items() if key in own and own[key].shape != x.shape]
    return own.keys() - tensors.keys(), extra, odd


def _hollow_of_transformers(made: Any, folder: Path, found: dict[str, tuple[int, ...]]) -> Faults:
    """The same of a model of transformers: it loads tensors without storage, under its own rules for names."""
    import torch

    # Of two tied tensors one: transformers 5.6 asks whether they are equal, which those without storage cannot say.
    tied = {key: source for key, source in dict(made._tied_weights_keys or {}).items() if key in found}
    alike = {key for key, source in tied.items() if found.get(source) == found[key]}
    tensors = {key: torch.empty(shape, device="meta") for key, shape in found.items() if key not in alike}
    config = made.config_class.from_pretrained(folder)
    _, info = made.from_pretrained(
        None, config=config, state_dict=tensors, device_map={"": "meta"}, output_loading_info=True,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    # A configuration that ties nothing (tie_word_embeddings) has both, and both are in the files.
    return set(info["missing_keys"]) - alike, info["unexpected_keys"], info["mismatched_keys"]


def check_variant(folders: Collection[Path], variant: str, libraries: Collection[str]) -> None:
    """LitmusError for a variant that none of the components has."""
    if variant and not any(variant_of(f, x, variant) for f, x in zip(folders, libraries, strict=True)):
        known = variants(folders)
        if not known:
            raise LitmusError(f"no weights of the variant '{variant}', only plain ones: leave ?variant out")
        raise LitmusError(nearest(variant, known, "variant"))
