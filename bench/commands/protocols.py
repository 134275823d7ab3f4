"""`litmus protocols`: the protocols that come with Litmus."""

from __future__ import annotations

from bench.commands.shared import print_table


def protocols() -> None:
    """List the protocols that come with Litmus."""
    from bench.protocol.models import load_protocol, protocol_names

    loaded = [load_protocol(name) for name in protocol_names()]
    print_table(
        ["protocol", "base", "tasks", "methods", "about"],
        [[p.name, p.base, str(len(p.tasks)), str(len(p.methods)), p.title] for p in loaded],
    )
