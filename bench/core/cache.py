"""Tensors and tables kept on disk by content, below results/.cache: it may be deleted at any time.

A file that cannot be read is made anew; one that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import whole
from bench.core.paths import results

if TYPE_CHECKING:
    from torch import Tensor


def cache_path(kind: str, facts: Any, suffix: str) -> Path:
    """The file that holds what belongs to `facts`, a value that JSON can carry; what it cannot counts as its text."""
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return results() / ".cache" / f"{kind}-{name}.{suffix}"


def cached(kind: str, facts: Any, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """`compute()`, or what it gave when it was last asked with the same `facts`."""
    tensors = stored(kind, facts)
    if tensors is None:
        tensors = compute()
        store(kind, facts, tensors)
    return tensors


def stored(kind: str, facts: Any) -> dict[str, Tensor] | None:
    """What was stored for `facts`, or None."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with suppress(OSError, SafetensorError):
        return load_file(cache_path(kind, facts, "safetensors"))
    return None


def store(kind: str, facts: Any, tensors: dict[str, Tensor]) -> None:
    """Keep `tensors` for `facts`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with suppress(SafetensorError):
        _write(cache_path(kind, facts, "safetensors"), lambda part: save_file(_laid(tensors), part))


def stored_table(kind: str, facts: Any) -> dict[str, Any] | None:
    """The table that was stored for `facts`, or None."""
    with suppress(OSError, ValueError):
        table = json.loads(cache_path(kind, facts, "json").read_text(encoding="utf-8"))
        return table if isinstance(table, dict) else None
    return None


def store_table(kind: str, facts: Any, table: dict[str, Any]) -> None:
    """Keep `table`, which JSON can carry, for `facts`."""
    text = json.dumps(table)
    _write(cache_path(kind, facts, "json"), lambda part: part.write_text(text, encoding="utf-8"))


def _laid(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: x.detach().cpu().contiguous() for key, x in tensors.items()}


def sha256_file(path: Path) -> str:
    """sha256 of a file; of a large one remembered by its name, size and time, since reading it can take a minute.

    The hub's own store names large files after their sha256, which is taken as it is.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and len(real.name) == 64 and all(c in "0123456789abcdef" for c in real.name):
        return real.name
    stat = real.stat()
    if stat.st_size < REMEMBERED:
        return hashlib.sha256(real.read_bytes()).hexdigest()
    file = cache_path("sha256", [str(real), stat.st_size, stat.st_mtime_ns], "txt")
    with suppress(OSError):
        return file.read_text(encoding="ascii")
    with real.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    _write(file, lambda part: part.write_text(digest, encoding="ascii"))
    return digest


REMEMBERED = 2**24  # bytes: 16 MiB are read in an instant


def _write(file: Path, write: Callable[[Path], object]) -> None:
    with suppress(OSError), whole(file) as part:
        write(part)
