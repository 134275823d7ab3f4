"""The command line: what each command says, and one clear line with a non-zero exit for every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bench import __main__ as command
from bench import commands
from bench.commands import shared
from bench.runner import board, resolve


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a refused command."""
        assert self.code == 2, (self.code, self.out, self.err)
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err
        return line


@pytest.fixture
def litmus(monkeypatch, capsys):
    """A function: litmus("plan", "quick") -> what it said, in this process."""
    monkeypatch.setattr(board, "ask", resolve.look_up)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["litmus", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            command.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        return Said(code if isinstance(code, int) else int(code is not None), out, err)

    return call


@pytest.fixture
def acted(monkeypatch, actor):
    """Boards are run by workers that act instead of training."""
    whole = board.run
    monkeypatch.setattr(board, "run", lambda it, say: whole(it, say, actor))


# --- lists and help -----------------------------------------------------------------------------------------------


def test_help_teaches_every_command_by_examples(litmus):
    said = litmus("--help")
    assert said.code == 0
    for name in ("bench", "plan", "run", "sweep", "report"):
        assert name in said.out
        assert f"litmus {name} " in litmus(name, "--help").out, f"{name} shows no example"


def every_command() -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words that call a command, and the command; groups and the whole program too."""

    def below(words: tuple[str, ...], group: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, group
        for name, one in getattr(group, "commands", {}).items():
            yield from below((*words, name), one)

    return below((), typer.main.get_command(command.app))


EVERY = {" ".join(words) or "litmus": (words, one) for words, one in every_command()}


@pytest.mark.parametrize("name", EVERY)
def test_the_help_shows_every_word_that_is_written_for_it(litmus, name):
    """Markdown drops what it takes for markup: `<protocol>` outside backticks, for one."""
    words, one = EVERY[name]
    said = re.sub(r"[\s│]+", " ", litmus(*words, "--help").out)
    texts = [one.help, *(param.help for param in one.params if not param.hidden)]
    written = [word for text in texts for word in re.sub(r"[`*]+", "", text or "").split()]
    assert len(written) > 5
    assert [word for word in written if word not in said] == []


def test_the_list_of_commands_is_one_line_each_in_a_narrow_terminal(litmus, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = litmus("--help").out.splitlines()
    for panel, names in commands.PANELS.items():
        start = next(i for i, line in enumerate(lines) if line.startswith(f"╭─ {panel} ─"))
        rows = lines[start + 1 : lines.index(next(line for line in lines[start:] if line.startswith("╰")), start)]
        assert [row.split()[1] for row in rows] == list(names), "a first sentence that is too long"


def test_a_command_is_a_file_and_a_file_is_a_command():
    files = {path.stem for path in Path(commands.__file__).parent.glob("[a-z]*.py")} - {"shared", "options", "outputs"}
    assert files == {name.replace("-", "_") for names in commands.PANELS.values() for name in names}


def test_help_is_fast_because_it_loads_nothing_heavy():
    code = (
        "import sys, bench.__main__; print([m for m in ('torch', 'pandas', 'numpy', 'rich.table') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lists(litmus):
    assert "lora" in litmus("methods").out
    assert "rank" in litmus("methods", "lora").out
    assert "identity" in litmus("metrics").out
    assert "quick" in litmus("protocols").out
    assert litmus("--version").out.startswith("litmus ")


def test_tasks_are_those_that_are_there(litmus, toy_protocol):
    toy_protocol()
    assert litmus("tasks", "--names").out.split() == ["toy/style-a", "toy/subject-a"]
    assert litmus("tasks", "--names", "--split", "test").out.split() == []
    table = litmus("tasks").out
    assert re.search(r"toy/subject-a +subject +tuning +robot +3 ", table)
    assert "folder:PATH?class_word=dog" in table
    assert "identifier  sks" in litmus("tasks", "toy/subject-a").out


def test_names_for_completion_need_no_torch():
    assert "lora" in shared.method_names()
    assert "quick" in shared.protocol_names()


def test_check_method(litmus, tmp_path):
    good = tmp_path / "good.py"
    good.write_text(
        "from dataclasses import dataclass\n"
        "from bench.method import Method, register\n\n\n"
        "@register\n@dataclass(frozen=True)\nclass Norms(Method):\n"
        '    """Train the biases of norms."""\n\n    name = "cli_norms"\n    paper = "none"\n    lr = 1e-2\n\n'
        "    def attach(self, net, rng):\n"
        "        for key, p in net.named_parameters():\n"
        '            p.requires_grad_("norm" in key and key.endswith("bias"))\n\n'
        "    def count(self, net):\n"
        "        return sum(p.numel() for k, p in net.named_parameters() if 'norm' in k and k.endswith('bias'))\n"
    )
    said = litmus("check-method", good)
    assert said.code == 0, said.out
    assert "FAILED" not in said.out
    bad = tmp_path / "bad.py"
    bad.write_text(good.read_text().replace("cli_norms", "cli_bad").replace("return sum(", "return 1 + sum("))
    said = litmus("check-method", bad)
    assert said.code == 1
    assert "FAILED" in said.out
    assert "no_file.py" in litmus("check-method", tmp_path / "no_file.py").error


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bench", "quikc"], ["protocol 'quikc'", "did you mean 'quick'?"]),
        (["plan", "no/such.toml"], ["no/such.toml"]),
        (["sweep", "smoke"], ["no [sweep] table"]),
        (["methods", "lroa"], ["method 'lroa'", "did you mean 'lora'?"]),
        (["report", "nowhere"], ["board 'nowhere'"]),
        (["tasks", "--split", "tset"], ["'tset'", "did you mean 'test'?"]),
        (["run", "--task", "pocket/nope", "-m", "lora"], ["task 'pocket/nope'"]),
        (["run", "--task", "fodler:x", "-m", "lora"], ["'fodler:'", "did you mean 'folder:'"]),
        (["run", "--task", "pocket/x", "-m", "lora", "--objective", "prior["], ["objective", "cannot read 'prior['"]),
        (["objectives", "prir"], ["unknown objective 'prir'", "did you mean 'prior'"]),
        (["check-task", "pocket/nope"], ["task 'pocket/nope'"]),
        (["run", "--task", "folder:no-such-folder?class_word=dog", "-m", "lora"], ["no-such-folder"]),
        (["run", "--task", "pocket/x", "--class-word", "dog", "-m", "lora"], ["--class-word", "folder:"]),
        (["run", "--task", "pocket/x", "-m", "lora", "--lr", "-0.1"], ["lr", "greater than 0", "-0.1"]),
        (["run", "--task", "pocket/x", "-m", "lora", "--seeds", "a"], ["seeds 'a'", "0-4"]),
        (["run", "--task", "pocket/x", "-m", "lora[rank"], ["lora[rank"]),
        (["run", "--task", "pocket/x", "-m", "lora", "--steps", "0"], ["steps"]),
    ],
)
def test_a_mistake_is_one_line(litmus, words, expected):
    line = litmus(*words).error
    assert all(word in line for word in expected), line


def test_a_picture_that_cannot_be_used_is_named(litmus, tmp_path, picture):
    def run() -> str:
        return litmus(
            "run", "--task", f"folder:{tmp_path / 'mine'}", "--class-word", "dog", "-m", "lora", "--base", "toy"
        ).error

    (tmp_path / "mine").mkdir()
    assert "no pictures in" in run()
    picture(tmp_path / "mine" / "dot.png", size=(1, 1))
    assert "dot.png is only 1×1 px" in run()
    (tmp_path / "mine" / "dot.png").write_bytes(b"no picture")
    assert "dot.png is broken" in run()


def test_a_protocol_with_a_misspelt_key(litmus, toy_protocol):
    line = litmus("bench", toy_protocol(("steps = 3", "stpes = 3"))).error
    assert "toy.toml: unknown key 'stpes': did you mean 'steps'?" in line


def test_results_that_cannot_be_written(litmus, toy_protocol, tmp_path):
    (tmp_path / "file").write_text("")
    line = litmus("bench", toy_protocol(), "--results", tmp_path / "file" / "below").error
    assert "cannot write" in line
    assert "--results" in line


def test_a_full_disk(litmus, toy_protocol, small_disk, acted):
    (small_disk / "filler").write_bytes(b"x" * 255 * 1024)
    line = litmus("bench", toy_protocol(), "--results", small_disk / "board").error
    assert "no space left on" in line


def test_a_record_with_a_bad_byte_is_named_by_report_and_by_bench_until_it_is_deleted(
    litmus, toy_protocol, litmus_home, acted
):
    protocol = toy_protocol()
    assert litmus("bench", protocol).code == 0
    runs = litmus_home / "results" / "toy" / "runs"
    bad = sorted(runs.glob("*.json"))[0]
    bad.write_bytes(bad.read_bytes().replace(b'"status"', b'"\xfftatus"'))
    said = litmus("report", "toy")
    assert said.code == 1
    assert str(bad) in said.err
    assert (litmus_home / "results" / "toy" / "table.md").is_file()
    spoilt = bad.read_bytes()
    said = litmus("bench", protocol)
    assert said.code == 1
    assert "0 to run, 1 that cannot be read" in said.err
    assert f"{bad} is not a record" in said.err
    assert "delete it, and the next call runs it again" in said.err
    assert bad.read_bytes() == spoilt
    bad.unlink()
    said = litmus("bench", protocol)
    assert said.code == 0
    assert "1 to run" in said.err
    assert litmus("report", "toy").code == 0


# --- boards -------------------------------------------------------------------------------------------------------


def test_plan_counts_what_is_missing_and_runs_nothing(litmus, toy_protocol, litmus_home):
    said = litmus("plan", toy_protocol())
    assert said.code == 0
    assert "toy: 10 runs, 0 done, 10 to run" in said.err
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == ["base", "truth", "truth_raw", "lora", "bias"]
    assert len(litmus("plan", toy_protocol_path(litmus_home), "--every").out.splitlines()) == 11
    assert not (litmus_home / "results").exists()


def toy_protocol_path(home: Path) -> Path:
    return home.parent / "toy.toml"


def test_bench_runs_what_is_missing_reports_and_says_where(litmus, toy_protocol, litmus_home, acted):
    protocol = toy_protocol()
    said = litmus("bench", protocol, "-j", "1")
    assert said.code == 0, said.err
    assert "toy: 10 runs: 10 ok" in said.err
    folder = litmus_home / "results" / "toy"
    assert {str(folder / name) for name in ("table.md", "table.csv", "report.html", "figures")} <= set(said.out.split())
    assert (folder / "report.html").is_file()
    said = litmus("bench", protocol)
    assert "toy: 10 runs, 10 done, 0 to run" in said.err


def test_a_failed_run_is_a_line_and_a_code(litmus, toy_protocol, litmus_home, acted, monkeypatch):
    from bench.runner.resolve import Competitor

    def act(spec: str) -> Competitor:
        return Competitor(spec, spec, {"act": "refuse" if spec == "lora" else ""}, 0.1)

    monkeypatch.setattr(resolve, "competitor", act)
    said = litmus("bench", toy_protocol())
    assert said.code == 1
    assert "error: lora lr 0.1 · toy/subject-a · seed 0: one clear line" in said.err
    assert (litmus_home / "results" / "toy" / "table.md").is_file()


def test_run_is_a_board_of_ones_own(litmus, tmp_path, picture, litmus_home, acted):
    for i in range(3):
        picture(tmp_path / "my dog" / f"{i}.png", seed=i)
    words = [
        "--task",
        f"folder:{tmp_path / 'my dog'}",
        "--class-word",
        "corgi",
        "-m",
        "lora",
        "-m",
        "bias",
        "--lr",
        "0.01",
    ]
    said = litmus("run", *words, "--base", "toy", "--extractors", "toy", "--seeds", "0-1")
    assert said.code == 0, said.err
    assert "mine: 6 runs, 0 done, 6 to run" in said.err  # two methods and the floor, two seeds; no truth, no ceiling
    note = next(line for line in said.err.splitlines() if "does not know the words" in line)
    assert "corgi" in note
    assert said.err.count("does not know the words") == 1
    assert str(litmus_home / "results" / "mine" / "runs") in said.err
    assert [line.split()[:2] for line in said.out.splitlines() if line.startswith("lora")] == [["lora", "0.01"]] * 2


def test_a_run_that_takes_too_long_names_the_option(litmus, toy_protocol, litmus_home, acted, monkeypatch):
    from bench.runner.resolve import Competitor

    toy_protocol()
    slow = {"act": "sleep:60"}
    monkeypatch.setattr(resolve, "competitor", lambda spec: Competitor(spec, spec, slow if spec == "lora" else {}, 0.1))
    words = ["run", "--task", "toy/subject-a", "-m", "lora", "--base", "toy", "--extractors", "toy"]
    said = litmus(*words, "--timeout", 1.5)
    assert said.code == 1
    assert "took longer than 1.5 s (--timeout)" in said.err
    assert "limits.timeout of the protocol)" not in said.err
    assert "the same command runs them again, 3 times in all" in said.err
    assert "1 to run (again: 1 timed out)" in litmus(*words, "--timeout", 1.5).err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--steps", 0), "--steps"),
        (("--timeout", -1), "--timeout"),
        (("--sample-steps", 0), "--sample-steps"),
        (("--lr", -1), "--lr"),
        (("-m", "bias[lr=-1]"), "--lr"),
        (("-m", "lora[rank"), "--method"),
    ],
)
def test_a_value_out_of_range_names_the_option(litmus, words, option):
    said = litmus("run", "--task", "toy/a", "-m", "lora", *words)
    assert said.error.startswith(f"error: {option}: ")


def test_what_cannot_be_read_is_not_run_over_and_is_a_failure(litmus, toy_protocol, litmus_home, acted):
    toy_protocol()
    words = ["run", "--task", "toy/subject-a", "-m", "lora", "--base", "toy", "--extractors", "toy", "--lr", 0.1]
    assert litmus(*words).code == 0
    runs = litmus_home / "results/mine/runs"
    path = next(p for p in runs.glob("*.json") if '"method": "lora"' in p.read_text())
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    text = path.read_text()
    said = litmus(*words)
    assert said.code == 1
    assert "0 to run" not in said.err.replace("0 to run, 1 that cannot be read", "")
    assert f"{path} is a record of a newer litmus (schema 9" in said.err
    assert path.read_text() == text


def test_a_plan_fetches_nothing_and_says_what_a_run_would(litmus, toy_protocol, litmus_home):
    path = toy_protocol(('base = "toy"', 'base = "nobody/no-such-base"'), ('"toy/style-a"', '"dreambooth/dog6"'))
    said = litmus("plan", path)
    assert said.code == 0, said.err
    assert "fetching" not in said.err
    away = [line for line in said.err.splitlines() if line.startswith("not here, to be fetched before it can run: ")]
    assert len(away) == 2
    assert "the base nobody/no-such-base" in away[0]
    assert "litmus fetch dreambooth" in away[1]
    assert "which of them are done is known once all is here" in said.err
    assert {line.split()[-1] for line in said.out.splitlines()[1:]} == {"?"}
    assert "did you mean 'toy'" in litmus("plan", path, "--base", "toyy").error  # a misspelling is no download


def test_a_plan_lets_nothing_through():
    import socket

    from bench.runner.unfetched import no_network

    with socket.create_server(("127.0.0.1", 0)) as server:
        with no_network(), pytest.raises(OSError, match="a plan fetches nothing"):
            socket.create_connection(server.getsockname())
        socket.create_connection(server.getsockname()).close()


def test_anova_says_at_once_what_it_does(litmus, simulated, tmp_path, litmus_home, monkeypatch):
    from bench.report import anova as pages

    monkeypatch.setattr(pages, "write", lambda folder, tell: tell("reading the records", 0, 1) or [])
    litmus_home.mkdir(exist_ok=True)  # of which a word is said where it is made
    said = litmus("anova", "--report", "--results", tmp_path)
    assert said.err.splitlines()[:2] == [
        f"the report of {tmp_path}, from its records, which may take half a minute",
        "reading the records",
    ]


def test_sweep_prints_the_best_rate_and_its_rule(litmus, toy_protocol, acted, monkeypatch):
    rates = "[sweep.lrs]\nlora = [0.001, 0.01, 0.1]\n"
    path = toy_protocol(('[[methods]]\nspec = "lora"\n[[methods]]\nspec = "bias"\n', rates))
    said = litmus("sweep", path)
    assert said.code == 0, said.err
    assert "toy: 12 runs: 12 ok" in said.err
    assert said.out.splitlines()[1].startswith("lora")
    assert "rule: " in said.out


def test_another_package_called_bench_is_noticed(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("")  # somebody else's, mixed up with our __main__
    (tmp_path / "bench" / "__main__.py").write_text(Path(command.__file__).read_text())
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 1
    assert "another package called 'bench'" in done.stderr
    assert "environment of its own" in done.stderr


def test_rescore_says_what_it_did_and_what_it_cannot(litmus, toy_protocol, litmus_home, acted, monkeypatch):
    protocol = toy_protocol()
    said = litmus("bench", protocol, "-j", "1")
    assert "no features: litmus rescore toy computes new metrics from them" in said.err
    said = litmus("rescore", "toy")
    assert said.code == 0, said.err
    assert said.out == "nothing to compute\n"
    assert "10 of 10 runs have no features" in said.err
    assert "litmus rescore toy --without-features | xargs rm" in said.err
    listed = litmus("rescore", "toy", "--without-features").out.split()
    assert sorted(map(Path, listed)) == sorted((litmus_home / "results/toy/runs").glob("*.json"))
    for path in listed:
        Path(path).unlink()
    assert "0 done, 10 to run" in litmus("plan", protocol).err
    assert "'toy'" in litmus("rescore", "tyo").error
    assert "'kid'" in litmus("rescore", "toy", "--metric", "kdi").error


def test_a_board_that_is_done_is_read_once(litmus, toy_protocol, acted, monkeypatch):
    from bench.records import record

    protocol = toy_protocol()
    assert litmus("bench", protocol, "-j", "1").code == 0
    read, seen = record.read, []
    monkeypatch.setattr(record, "read", lambda path: seen.append(path) or read(path))
    assert litmus("bench", protocol).code == 0
    assert len(seen) == 10 == len(set(seen))
