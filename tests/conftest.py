"""Shared fixtures: a base and a task small enough for every test, and a home of its own for each test's files."""

from __future__ import annotations

from pathlib import Path

import pytest

TOY_TOML = """
format = 1
name = "subject-toy"
kind = "{kind}"
split = "tuning"
class_word = "{class_word}"
identifier = "sks"
resolution = 32
"""


def pytest_runtest_setup(item):
    """What draws the world is skipped where skia cannot be loaded, and says what is lacking."""
    if item.get_closest_marker("draws"):
        from bench.core.errors import LitmusError
        from bench.world.canvas import load

        try:
            load()
        except LitmusError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests share a machine: one thread each, and the same rounding everywhere."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _registered():
    """The registry is full before a test may put another in its place: it is filled once in a process."""
    from bench.method import load_plugins
    from bench.objectives import OBJECTIVES

    load_plugins()
    OBJECTIVES.load()


@pytest.fixture
def registry():
    """The methods; what a test registers is forgotten after it."""
    from bench.method import METHODS

    with METHODS.kept():
        yield METHODS


@pytest.fixture(autouse=True)
def litmus_home(tmp_path, monkeypatch) -> Path:
    """$LITMUS_HOME for this test: datasets/, results/ and the cache lie in its temporary folder."""
    home = tmp_path / "litmus_home"
    monkeypatch.setenv("LITMUS_HOME", str(home))
    monkeypatch.delenv("LITMUS_DREAMBOOTH", raising=False)
    return home


@pytest.fixture(scope="session")
def toy_base():
    """The toy base, shared: fork it before training."""
    from bench.bases import load_base

    return load_base("toy")


@pytest.fixture(scope="session")
def toy_extractors():
    from bench.extractors import load_extractors

    return load_extractors("toy")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A function: tiny_base("sdxl") -> the folder of a tiny pipeline like that published base, made once."""
    from bench.bases import tiny

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tiny.write(name, tmp_path_factory.mktemp("tiny") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def picture():
    """A function that writes a picture file of a colour with noise: picture(path, size=(w, h), seed=0) -> path."""
    import numpy as np
    from PIL import Image

    def write(path: Path, size: tuple[int, int] = (32, 32), seed: int = 0) -> Path:
        r = np.random.default_rng(seed)
        pixels = r.integers(0, 256, 3) * 0.7 + r.integers(0, 77, (size[1], size[0], 3))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def write_task(picture):
    """A function that writes a complete task: write_task(folder, kind="subject") -> folder."""

    def write(folder: Path, kind: str = "subject", truth: int = 2) -> Path:
        subject = kind == "subject"
        lines = [TOY_TOML.format(kind=kind, class_word="robot" if subject else "")]

        def told(what: str, place: str) -> tuple[str, str]:
            if subject:
                return f"a sks robot {place}", f"a robot {place}"
            return f"a {what} {place} in sks style", f"a {what} {place} in style"

        seed = 0
        for part, places in (("train", ["on the beach", "in the city", "in the snow"]), ("heldout", ["on a table"])):
            for i, place in enumerate(places):
                picture(folder / part / f"{i}.png", seed=(seed := seed + 1))
                text, plain = told("dog", place)
                lines.append(f'[[{part}]]\nfile = "{part}/{i}.png"\ncaption = "{text}"\nplain = "{plain}"\n')
        for i, place in enumerate(["in the forest", "in the snow", "on the beach"]):
            files = [f"truth/{i}-{k}.png" for k in range(truth)]
            for file in files:
                picture(folder / file, seed=(seed := seed + 1))
            text, plain = told("car", place)
            asks = f'{{ class = "{"robot" if subject else "car"}", scene = "{place.split()[-1]}" }}'
            lines.append(f'[[prompts]]\ntext = "{text}"\nplain = "{plain}"\ntruth = {files}\nasks = {asks}\n')
        lines.append('[[prior]]\ntext = "a robot in the snow"\n[[prior]]\ntext = "a robot on a table"\n')
        lines.append('[[drift]]\ntext = "a red car on the beach"\nasks = { class = "car" }\n')
        lines.append('[[drift]]\ntext = "a house in the forest"\n')
        (folder / "task.toml").write_text("\n".join(lines), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def task_folder(tmp_path, write_task):
    """A function that writes a complete task into this test's folder: task_folder(kind="subject") -> path."""
    return lambda kind="subject", name="toy", truth=2: write_task(tmp_path / "tasks" / name, kind, truth)


@pytest.fixture
def toy_task(task_folder):
    """A subject task for the toy base: 3 training pictures, 1 held out, 3 prompts with 2 truth pictures each."""
    from bench.tasks.folder import load

    return load(task_folder())


@pytest.fixture
def toy_style(task_folder):
    """The same shape as a style task."""
    from bench.tasks.folder import load

    return load(task_folder("style", name="toy-style"))
