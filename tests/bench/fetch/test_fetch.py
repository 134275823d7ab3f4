"""`litmus fetch` against a server that cuts, stalls, alters and refuses: whole, verified, or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.core.errors import LitmusError
from bench.core.paths import datasets
from bench.fetch import bundle as engine
from bench.fetch import http, sources
from bench.fetch.bundle import Bundle, Item, fetch
from bench.tasks import list_tasks, load

PHOTO = "dataset/dog6/02.jpg"

CLIENT = """
import sys
from pathlib import Path
from bench.fetch import sources
sources.MANIFEST = Path(sys.argv.pop(1))
from bench.__main__ import main
main()
"""


def tree(folder: Path) -> dict[str, str]:
    """{path: sha256} of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def whole(original: Path, target: Path | None = None) -> bool:
    """The target holds exactly the original and the manifest, and nothing is left of the way there."""
    target = target or datasets() / "dreambooth"
    had = tree(target)
    assert had.pop("manifest.json")
    return had == tree(original) and not (target.parent / ".fetch").exists()


def get(**options) -> engine.Outcome:
    bundle, target = sources.dreambooth()
    return fetch(bundle, target, pause=0.01, **options)


def test_all_of_it_arrives(original):
    seen = []
    outcome = get(show=lambda tally: seen.append((tally.bytes_done, tally.files_done, tally.seconds_left)))
    assert (outcome.received, outcome.kept) == (11, 0)
    assert whole(original)
    assert seen[-1] == (sum(p.stat().st_size for p in original.rglob("*") if p.is_file()), 11, 0)
    assert list_tasks() == ["dreambooth/backpack", "dreambooth/dog6"]
    assert len(load("dreambooth/dog6").train) == 4


def test_again_asks_for_nothing(original, server):
    get()
    server.asked.clear()
    outcome = get()
    assert (outcome.received, outcome.kept, server.asked) == (0, 11, [])


def test_what_was_altered_here_is_fetched_again(original, server):
    get()
    (datasets() / "dreambooth" / PHOTO).write_bytes(b"scribble")
    (datasets() / "dreambooth" / "mine.txt").write_text("kept")
    server.asked.clear()
    assert get().received == 1
    assert server.asked == [(PHOTO, None)]
    assert (datasets() / "dreambooth" / "mine.txt").read_text() == "kept"
    (datasets() / "dreambooth" / "mine.txt").unlink()
    assert whole(original)


@pytest.fixture
def client(litmus_home, tmp_path, monkeypatch):
    """A function that starts `litmus` in a process of its own, with the served manifest for ours."""
    file = tmp_path / "client.py"
    file.write_text(CLIENT)
    root = Path(engine.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])))

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(file), str(sources.MANIFEST), "fetch", *words]
        # A suite that a shell started in the background is deaf to SIGINT, and so would its children be.
        had = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGINT, had)

    return start


def _stop_half_way(original: Path, server, client, how: signal.Signals) -> tuple[int, str]:
    """Start a fetch, stop it in the middle of PHOTO; nothing is in place then. Its exit code and what it said."""
    half = (original / PHOTO).stat().st_size // 2
    server.faults[PHOTO] = [f"stall:{half}"]
    process = client("dreambooth")
    assert server.stalled.wait(120), process.communicate(timeout=10)
    part = datasets() / ".fetch" / "dreambooth" / f"{PHOTO}.part"
    for _ in range(200):  # until what was sent has been written
        if part.exists() and part.stat().st_size == half:
            break
        threading.Event().wait(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=120)
    assert not (datasets() / "dreambooth").exists()
    assert list_tasks() == []
    assert part.stat().st_size == half
    return process.returncode, said


def _goes_on(original: Path, server) -> None:
    """The second try receives what is missing, from where it was cut, and completes."""
    half = (original / PHOTO).stat().st_size // 2
    had = [path for path in tree(datasets() / ".fetch" / "dreambooth") if not path.endswith(".part")]
    server.go_on.set()
    server.asked.clear()
    outcome = get()
    assert whole(original)
    assert outcome.kept == len(had) > 0
    assert (PHOTO, f"bytes={half}-") in server.asked
    assert not set(had) & {path for path, _ in server.asked}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way_the_second_try_completes(original, server, client, how):
    code, said = _stop_half_way(original, server, client, how)
    if how is signal.SIGINT:
        assert code == 130
        assert "the same command resumes it" in said
        assert "Traceback" not in said
    _goes_on(original, server)


def test_dreambooths_own_pictures_stopped_and_completed(real, server, client):
    _stop_half_way(real, server, client, signal.SIGKILL)
    _goes_on(real, server)
    assert [len(list_tasks(split)) for split in ("test", "tuning")] == [26, 4]
    assert [len(load("dreambooth/dog6").train), len(load("dreambooth/dog6").heldout)] == [4, 1]


def test_a_connection_that_breaks_is_taken_up_again(original, server):
    server.faults[PHOTO] = ["cut:100", "cut:50", ""]
    get()
    assert [asked for path, asked in server.asked if path == PHOTO] == [None, "bytes=100-", "bytes=150-"]
    assert whole(original)


def test_a_server_without_ranges_begins_again(original, server):
    server.faults[PHOTO] = ["cut:100", "no ranges"]
    get()
    assert whole(original)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(original, server, status):
    server.faults[PHOTO] = [f"status:{status}", f"status:{status}", ""]
    troubles = set()
    get(show=lambda tally: troubles.add(tally.trouble))
    assert any(f"{PHOTO} answers {status}" in trouble for trouble in troubles)
    assert whole(original)


def test_a_file_altered_on_the_way_is_asked_for_again(original, server):
    server.faults[PHOTO] = ["altered", ""]
    get()
    assert whole(original)


def test_another_file_than_listed_is_refused(original, server):
    server.faults[PHOTO] = ["altered!"]
    with pytest.raises(LitmusError, match=r"02\.jpg gives another file than the list says .* files are kept"):
        get()
    assert not (datasets() / "dreambooth").exists()
    assert [path for path, _ in server.asked].count(PHOTO) == 2
    server.faults.clear()
    get()
    assert whole(original)


def test_a_longer_file_than_listed_is_cut_off(original, server):
    (original / PHOTO).write_bytes((original / PHOTO).read_bytes() + b"more")
    with pytest.raises(LitmusError, match="is longer than the [0-9]+ bytes that the list says"):
        get()


def test_what_is_not_there_is_said_at_once(original, server):
    server.faults[PHOTO] = ["status:404!"]
    with pytest.raises(LitmusError) as fault:
        get()
    line = str(fault.value)
    assert f"{PHOTO} answers 404" in line
    assert "files are kept for the next try" in line
    assert "--source CLONE" in line
    assert "\n" not in line
    assert [path for path, _ in server.asked].count(PHOTO) == 1
    server.faults.clear()
    get()
    assert whole(original)


def test_without_a_network_it_says_so_with_the_remedy(original, server, monkeypatch):
    server.shutdown()
    server.socket.close()
    with pytest.raises(LitmusError, match=r"cannot reach 127\.0\.0\.1:\d+ \(connection refused\); 0 of 11 .* --source"):
        get(tries=2)
    monkeypatch.setattr(http, "TIMEOUT", 5)
    item = Item("a.jpg", "http://nowhere.invalid/a.jpg", "0" * 64)
    with pytest.raises(LitmusError, match="cannot reach nowhere.invalid"):
        fetch(Bundle("x", (item,)), datasets() / "x", tries=1)


def test_from_a_clone_without_a_network(original, server):
    clone = original.rename(original.with_name("a clone"))
    bundle, target = sources.dreambooth(str(clone))
    fetch(bundle, target)
    assert server.asked == []
    assert whole(clone)
    (clone / PHOTO).unlink()
    bundle, _ = sources.dreambooth(str(clone))
    with pytest.raises(LitmusError, match=r"02\.jpg is not there"):
        fetch(bundle, target.with_name("other"))
    with pytest.raises(LitmusError, match="no folder"):
        sources.dreambooth(str(clone / "nowhere"))


def test_some_subjects_first_and_the_rest_later(original):
    bundle, target = sources.dreambooth(only=["dog6"])
    fetch(bundle, target)
    assert list_tasks() == ["dreambooth/dog6"]
    assert get().kept == 7  # five pictures, two texts
    assert whole(original)
    with pytest.raises(LitmusError, match="unknown DreamBooth subject 'dog5': did you mean 'dog6'"):
        sources.dreambooth(only=["dog5"])


def test_an_exchange_that_was_cut_off_is_mended(original):
    get()
    target = datasets() / "dreambooth"
    old = datasets() / ".fetch" / "dreambooth.old"
    old.parent.mkdir()
    target.rename(old)  # cut between the two renames
    assert get().received == 0
    assert whole(original)
    shutil.copytree(target, old.parent / "dreambooth.old")  # cut after them
    (old / "mine.txt").write_text("kept")
    get()
    assert (target / "mine.txt").read_text() == "kept"
    assert not old.exists()


def test_two_at_once_do_not_meet(original):
    bundle, target = sources.dreambooth()

    def other(tally) -> None:
        with pytest.raises(LitmusError, match="another litmus is fetching dreambooth"):
            fetch(bundle, target)

    fetch(bundle, target, show=other)


def test_a_link_and_a_full_disk_are_one_line(original, tmp_path, monkeypatch):
    (datasets() / "dreambooth").parent.mkdir(parents=True)
    (datasets() / "dreambooth").symlink_to(tmp_path)
    with pytest.raises(LitmusError, match="no plain folder: remove it"):
        get()
    (datasets() / "dreambooth").unlink()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda place: usage._replace(free=10))
    with pytest.raises(LitmusError, match="free some, or give another folder with --to"):
        get()


@pytest.mark.parametrize("path", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "~/a.jpg", "a\\b.jpg", ""])
def test_a_list_writes_nowhere_else(path):
    with pytest.raises(LitmusError, match="outside its folder"):
        Item(path, "http://x/a.jpg", "0" * 64)


def test_the_shipped_manifest_is_the_original_s():
    """What the manifest is about: the pinned commit's own pictures, as git names them."""
    bundle, target = sources.dreambooth()
    pictures = [item for item in bundle.items if item.path.endswith(".jpg")]
    assert (len(pictures), len(bundle.items)) == (158, 162)
    assert len({item.path.split("/")[1] for item in pictures}) == 30
    assert all("/4f887af7970a06fc0cd3adaa1d0b368547d6a1d0/" in item.url for item in bundle.items)
    assert target == datasets() / "dreambooth"
