"""A busy machine is told of before anything is timed."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from bench.core import busy


@pytest.mark.parametrize(("percent", "told"), [(3.0, False), (20.0, False), (63.0, True)])
def test_the_warning_hangs_on_what_others_take(percent, told, monkeypatch):
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: percent)
    line = busy.warning()
    assert bool(line) is told
    if told:
        assert "other programs take 63%" in line
        assert "OMP_NUM_THREADS=1" in line


def test_a_process_at_work_is_seen():
    """The real question: with every core at work the share is high."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(psutil.cpu_count() or 1)]
    try:
        time.sleep(0.2)
        assert busy.share(0.5) > busy.SHARE
        assert busy.warning()
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def test_a_machine_that_cannot_be_asked_is_not_warned_about(monkeypatch):
    def refuse(seconds):
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "cpu_percent", refuse)
    assert busy.warning() == ""
