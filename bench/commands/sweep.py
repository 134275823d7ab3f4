"""`litmus sweep`: learning rates on tuning tasks."""

from __future__ import annotations

from bench.commands.options import BASE, DEVICE, PROTOCOL, RESULTS, RETRY, WORKERS
from bench.commands.shared import finish, planned_board, print_table, rules_of, say
from bench.core.errors import LitmusError


def sweep(
    protocol: PROTOCOL,
    base: BASE = None,
    results: RESULTS = None,
    workers: WORKERS = None,
    device: DEVICE = None,
    retry_failed: RETRY = False,
) -> None:
    """Find each method's best rate on the tuning tasks.

    The protocol's `[sweep]` table lists rates (`[sweep.lrs]`), or methods whose rate is searched around their default
    (`around = [...]`).

    Example: `litmus sweep tuning`
    """
    from bench.runner import board

    rules = rules_of(protocol, base)
    if rules.sweep is None:
        raise LitmusError(f"{rules.name} has no [sweep] table: litmus bench {protocol} runs it")
    planned = planned_board(rules, results, workers, retry_failed, device)
    records = board.run(planned, say)
    # A search goes on for as long as its records make the plan grow.
    while (
        rules.sweep.around
        and (further := board.plan(planned.protocol, planned.folder, device=planned.settings.device)).plan
        != planned.plan
    ):
        say(further.headline())
        records = board.run(planned := further, say)
    say(board.summary(planned, records))
    header, rows, rule = board.choices(list(records.values()))
    print_table(header, rows)
    print(f"rule: {rule}")
    finish(
        board.failures(records, tolerated=("diverged",)) + planned.unread
    )  # a rate that is too high is what a sweep looks for
