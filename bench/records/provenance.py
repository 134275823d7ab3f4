"""Where and with what a run was made: versions, machine, code, time. Names no user and no host; imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from bench.core.paths import clone
from bench.records.record import Machine, Provenance

DISTRIBUTIONS = (
    "peft-litmus",
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "open_clip_torch",
    "numpy",
    "pillow",
    "safetensors",
    "timm",
    "torchmetrics",
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@lru_cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a bare clone has no distribution of its own
            continue
    return found


@lru_cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def commit() -> str:
    """The clone's git commit, with "+" where tracked files differ from it; "" outside a clone."""

    here = clone()
    if here is None or not (here / ".git").exists():
        return ""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def bytes_process() -> int:
    """This process's high-water mark of resident memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes everywhere but on macOS


def provenance(started: str, workers: int = 1, threads: int = 1, device: str = "") -> Provenance:
    """The provenance of a run that began at `started` and ends now; `device` as bench.core.device.described says it."""
    import psutil

    machine = Machine(
        cpu=_cpu(),
        cores=cores(),
        bytes_ram=psutil.virtual_memory().total,
        platform=f"{platform.system()}-{platform.machine()}",
        python=platform.python_version(),
        threads=threads,
        workers=workers,
        device=device,
    )
    return Provenance(versions=_versions(), machine=machine, commit=commit(), started=started, finished=now())
