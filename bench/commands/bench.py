"""`litmus bench`: run a board and report it."""

from __future__ import annotations

from bench.commands.options import BASE, DEVICE, PROTOCOL, RESULTS, RETRY, WORKERS
from bench.commands.shared import board_word, finish, planned_board, rules_of, say, write_report


def bench(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS = None,
    workers: WORKERS = None,
    device: DEVICE = None,
    retry_failed: RETRY = False,
) -> None:
    """Run a protocol and write its tables, figures and page.

    Only runs without a record are made. Stop it at any time: the same command resumes it.

    Examples:

    `litmus bench smoke`

    `litmus bench quick -j 4`

    `litmus bench my.toml --results /data/mine`

    `litmus bench real --base models/sdxl`
    """
    from bench.records import features
    from bench.runner import board

    planned = planned_board(rules_of(protocol, base), results, workers, retry_failed, device)
    records = board.run(planned, say)
    say(board.summary(planned, records))
    faults = write_report(planned.folder, anew=bool(planned.todo), stored=None if planned.todo else planned.stored)
    say(f"{features.told(planned.folder)}: litmus rescore {board_word(planned.folder)} computes new metrics from them")
    finish(board.failures(records) + faults)
