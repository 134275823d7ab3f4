"""Where there is no terminal, long work still says what it does and how long it will take."""

from __future__ import annotations

from bench.commands import shared


def test_lines_say_how_much_is_done_and_what_is_left(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))  # each look at it is ten seconds later
    monkeypatch.setattr(shared.time, "monotonic", lambda: float(next(clock)))
    with shared.counting(["sd15"] * 4 + ["sdxl"]) as move:
        for base in ["sd15"] * 4 + ["sdxl"]:
            move(base)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "counting 4 methods on sd15"
    assert "counting: 2 of 5, about 45 s left" in lines  # 30 s for two
    assert "counting 1 method on sdxl" in lines


def test_a_forecast_says_at_once_what_it_does(monkeypatch, capsys):
    from typer.testing import CliRunner

    from bench.__main__ import app
    from bench.cost import forecast

    monkeypatch.setattr(forecast, "row", lambda name, method, setting: (_ for _ in ()).throw(KeyboardInterrupt))
    said = CliRunner().invoke(app, ["fit", "--base", "sd15", "--methods", "lora"])
    assert "forecasting 1 training step on 1 of" in said.output
