"""`litmus adapter`: what an adapter's file says of itself."""

from __future__ import annotations

from bench.commands.options import ADAPTER
from bench.commands.shared import print_table


def adapter(file: ADAPTER) -> None:
    """Show the metadata of an adapter's file.

    Format, method, base, trigger word, scores, licences.

    Examples:

    `litmus adapter results/mine/runs/0123456789abcdef.json`

    `litmus adapter downloads/cat.safetensors`
    """
    from bench.interop import adapters, facts, files
    from bench.interop.peft_files import part_folders

    kind, path = files.locate(file)
    tensors, head = files.read(part_folders(path)[0] / files.PEFT_NAME if kind == "peft" else path)
    known = facts.read(head, path)
    rows = [("file", str(path)), ("holds", adapters.sizes(tensors)), ("format", kind)]
    rows += facts.lines(known)[1:] if known else [(key, value[:300]) for key, value in sorted(head.items())]
    print_table(["", ""], [[what, value] for what, value in rows])
