"""Whether other programs are at work on this machine, which what is timed here would be taken for."""

from __future__ import annotations

from bench.core.errors import LitmusError

SHARE = 0.2  # of the processor time of all cores that idle services may take
LOOK = 0.5  # seconds


def share(seconds: float = LOOK) -> float:
    """Processor time that others take while this process sleeps for `seconds`, as a share of all cores (0 to 1)."""
    try:
        import psutil

        return psutil.cpu_percent(seconds) / 100
    except (ImportError, OSError, ValueError) as error:
        raise LitmusError(f"cannot look at this machine's load: {error}") from None


def warning(seconds: float = LOOK) -> str:
    """One line where the machine is busy before anything is timed; "" where it is quiet, or cannot be asked."""
    import os

    try:
        busy = share(seconds)
    except LitmusError:
        return ""
    if busy <= SHARE:
        return ""
    return (
        f"warning: other programs take {busy:.0%} of this machine's {os.cpu_count()} cores: times come out long and "
        "uneven. Stop them; where that cannot be, OMP_NUM_THREADS=1, since torch's threads wait for each other and two "
        "beside a busy process can take 50 times as long"
    )
