"""A hub repository's snapshot, pinned to a commit, with only the files that its pipeline is loaded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.bases.spec import COMMIT, INDEX, SUFFIXES, Spec
from bench.bases.weights import read_json
from bench.core.errors import LitmusError
from bench.network.family import family_of

CARDS = ("README.md", "LICENSE*")


def snapshot(spec: Spec) -> tuple[Path, str]:
    """(folder, commit) of `spec`, from the hub's cache where that commit is whole, else downloaded.

    LitmusError for a repository that is missing, private or gated, and for one that is not here when offline.
    """
    from huggingface_hub import constants, snapshot_download

    where, revision = spec.where, spec.revision or "main"
    try:
        if constants.HF_HUB_OFFLINE or COMMIT.fullmatch(revision):
            found = _cached(spec, revision)
            if found is not None:
                return found
            if constants.HF_HUB_OFFLINE:
                raise LitmusError(
                    f"{where} is no folder, its revision {revision} is not in the hub's cache, and this is offline: "
                    f"fetch it where there is a network (`hf download {where}`) and give the folder"
                )
        commit = _commit(where, revision)
        index = Path(snapshot_download(where, revision=commit, allow_patterns=[INDEX]), INDEX)
        patterns = wanted(read_json(index))
        folder = snapshot_download(where, revision=commit, allow_patterns=patterns, ignore_patterns=unwanted(spec))
        return Path(folder), commit
    except LitmusError:
        raise
    except Exception as error:
        line = explain(error, where, revision)
        if line is None:
            raise
        raise LitmusError(line) from error


def cached(spec: Spec) -> tuple[Path, str] | None:
    """(folder, commit) of `spec` in the hub's cache, None where it is not whole there; asks no network."""
    return _cached(spec, spec.revision or "main")


def _cached(spec: Spec, revision: str) -> tuple[Path, str] | None:
    """The snapshot in the hub's cache, if every component is in it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        local: Any = {"repo_id": spec.where, "revision": revision, "local_files_only": True}
        folder = Path(snapshot_download(allow_patterns=[INDEX], **local))
        if not (folder / INDEX).is_file():
            return None
        index = read_json(folder / INDEX)
        # newer libraries know what the repository lists, and say so where some of it is missing
        snapshot_download(allow_patterns=wanted(index), ignore_patterns=unwanted(spec), **local)
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    whole = all(any((folder / part).glob("*.*")) for part in _parts(index))
    return (folder, folder.name) if whole else None


def _commit(where: str, revision: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().model_info(where, revision=revision).sha)


def _parts(index: dict[str, Any]) -> list[str]:
    known = family_of(str(index.get("_class_name")))
    names = known.parts if known else ()
    return [name for name in names if isinstance(x := index.get(name), list) and x[0]]


def wanted(index: dict[str, Any]) -> list[str]:
    """Patterns of the files to download: the components that are used, the card and the licence."""
    return [INDEX, *CARDS, *(f"{part}/*.{suffix}" for part in _parts(index) for suffix in SUFFIXES)]


def unwanted(spec: Spec) -> list[str]:
    """Patterns of weights that would be downloaded twice: other precisions and forms of the same."""
    others = [v for v in ("fp16", "bf16", "non_ema") if v != spec.variant]
    return [f"*.{v}*" for v in others] + ["*openvino*", "*onnx*", "*flax*"]


def explain(error: Exception, where: str, revision: str) -> str | None:
    """What went wrong with the hub, as one line with the remedy; None for what is not the hub's."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{where}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{where} is gated: accept its terms at {page} with your account, then `hf auth login` (or set HF_TOKEN) "
            "and run again"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{where} has no revision '{revision}': leave it out, or look at {page}/commits"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"no folder {where}, and no such model on the hub, or it is private: check the spelling, or `hf auth login`"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{where} is not in diffusers' layout (no {INDEX}): look for a repository that is"
    if isinstance(error, errors.HFValidationError):
        return f"'{where}' is no hub id: write owner/name or owner/name@revision"
    if isinstance(error, OSError):  # the library's own errors of the network are among these
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        return f"cannot reach the hub for {where} ({reason}): mend the network, or use a copy with --offline"
    if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
        return f"cannot reach the hub for {where} ({type(error).__name__}): mend the network, or use --offline"
    return None
