"""`litmus adapter`, `export`, `merge`, `score`: adapters for other tools, and theirs here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands import bases
from bench.commands.shared import print_table, say
from bench.core.errors import LitmusError, nearest


def add_to(app: typer.Typer) -> None:
    """Put these commands into `app`."""
    for command in (adapter, export, merge, score):
        app.command(command.__name__)(command)


FILE = Annotated[
    Path,
    typer.Argument(
        help="a .safetensors file, a folder that holds one, a peft checkpoint's folder, or a run's record",
        metavar="FILE",
    ),
]
BASE = Annotated[
    str | None, typer.Option("--base", help="the base it is for  [default: the one that the file names, else pocket]")
]
ANY_BASE = Annotated[bool, typer.Option("--any-base", help="take it although it was trained on another base")]
FORMATS = ("diffusers", "peft", "kohya")


def _loaded(file: Path, base: str, any_base: bool) -> Any:
    """The base with the adapter on it."""
    from bench.bases import load_base
    from bench.interop.adapters import put

    return put(load_base(base), file, any_base)


def _base_of(file: Path, base: str | None, device: str | None, offline: bool) -> str:
    """The base to load, by what was given or the file says, with all set up for loading it."""
    if base is None:
        from bench.interop import saved

        base = saved.base_of(file)
        say(f"base: {base}")
    bases.surroundings(base, device, offline)
    return base


def adapter(file: FILE) -> None:
    """Show what an adapter's file says of itself: format, method, base, trigger word, scores, licences.

    Examples: `litmus adapter results/mine/runs/0123456789abcdef.json` · `litmus adapter downloads/cat.safetensors`
    """
    from bench.interop import adapters, facts, files
    from bench.interop.peft_files import places

    kind, path = files.locate(file)
    tensors, head = files.read(places(path)[0] / files.PEFT_NAME if kind == "peft" else path)
    known = facts.read(head, path)
    rows = [("file", str(path)), ("holds", adapters.sizes(tensors)), ("format", kind)]
    rows += facts.told(known)[1:] if known else [(key, value[:300]) for key, value in sorted(head.items())]
    print_table(["", ""], [[what, value] for what, value in rows])


def export(
    file: FILE,
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write: a folder, or kohya's file")],
    form: Annotated[str, typer.Option("--format", "-f", help="diffusers, peft or kohya")] = "diffusers",
    base: BASE = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="the nearest LoRA of this rank, where the adapter is none")
    ] = None,
    any_base: ANY_BASE = False,
    device: bases.DEVICE = None,
    offline: bases.OFFLINE = False,
) -> None:
    """Write an adapter for other tools, with where it comes from in its header.

    **diffusers**: a folder for `pipe.load_lora_weights(folder)`; LoRA, DoRA, and every method whose change of each
    weight is of low rank (not for PixArt, whose pipeline loads none). **peft**: a folder for
    `PeftModel.from_pretrained(pipe.unet, folder)`; every tuner of peft. **kohya**: one file with the names of kohya-ss
    and LyCORIS, for ComfyUI and the web UIs; LoRA, LoHa, LoKr.
    A run's adapter is there if it was run with `litmus run ... --save`. Files of other tools can be given too.

    Examples:

    `litmus export results/mine/runs/0123456789abcdef.json --out rex-lora`

    `litmus export results/mine/runs/0123456789abcdef.json -f kohya -o rex.safetensors`

    `litmus export downloads/cat.safetensors --base pocket -f peft -o cat-peft`

    `litmus export rex.safetensors --base models/sdxl --offline --device cpu --out rex-lora`
    """
    from bench.interop import holds

    if form not in FORMATS:
        raise LitmusError(nearest(form, dict.fromkeys(FORMATS), "format"))
    holds.refuse(file, form)
    from bench.interop.adapters import export as written

    base = _base_of(file, base, device, offline)
    where, what = written(_loaded(file, base, any_base), form, out, rank)
    say(what)
    print(where)


def merge(
    file: FILE,
    out: Annotated[Path, typer.Option("--out", "-o", help="the folder to write")],
    base: BASE = None,
    dtype: Annotated[str, typer.Option(help="of the weights written: fp32, fp16 or bf16")] = "fp32",
    any_base: ANY_BASE = False,
    device: bases.DEVICE = None,
    offline: bases.OFFLINE = False,
) -> None:
    """Fold an adapter into its base, and write the whole pipeline in diffusers' layout.

    For every method that can be merged (`litmus methods`), and for files of other tools. The folder is a base like any
    other: `DiffusionPipeline.from_pretrained(folder)`, `litmus run --base folder`.

    Example: `litmus merge results/mine/runs/0123456789abcdef.json --out rex-pipeline --dtype fp16`
    """
    from bench.interop import holds, pipelines

    if dtype not in pipelines.DTYPES:
        raise LitmusError(nearest(dtype, dict.fromkeys(pipelines.DTYPES), "dtype"))
    holds.refuse(file, holds.MERGED)
    base = _base_of(file, base, device, offline)
    print(pipelines.merge(_loaded(file, base, any_base), out, dtype))


def score(
    lora: Annotated[
        Path, typer.Option("--lora", help="the adapter: any file or folder that `litmus adapter` reads", metavar="FILE")
    ],
    task: Annotated[str, typer.Option(help="folder:PATH, or a task's name (litmus tasks)")],
    base: BASE = None,
    identifier: Annotated[
        str | None, typer.Option(help="a folder's: the word that calls the concept up, the adapter's trigger")
    ] = None,
    class_word: Annotated[str | None, typer.Option(help="a folder's: what the pictures show: dog, mug, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="a folder's: subject or style")] = None,
    seeds: Annotated[str, typer.Option(help="0 or 0,1,2 or 0-4")] = "0",
    steps: Annotated[int, typer.Option(min=1, help="sampling steps")] = 20,
    guidance: Annotated[float, typer.Option(min=0.0, help="guidance scale, 1 for none")] = 4.0,
    device: bases.DEVICE = None,
    offline: bases.OFFLINE = False,
    extractors: Annotated[str, typer.Option(help="the evaluators that score")] = "pocket",
    out: Annotated[
        Path | None, typer.Option(help="where scores and pictures go  [default: results/scored/NAME]")
    ] = None,
    any_base: ANY_BASE = False,
) -> None:
    """Score an adapter that somebody else trained, as a board scores its rows: beside the frozen base and truth.

    The prompts are the task's, so its identifier must be the word that the adapter was trained with.

    Examples:

    `litmus score --lora downloads/rex.safetensors --base pocket --task folder:photos/rex --identifier sks
    --class-word dog`

    `litmus score --lora results/mine/runs/0123456789abcdef.json --task pocket/subject-mug --seeds 0-2`
    """
    from bench import tasks
    from bench.core.paths import results
    from bench.evaluation.score import Sampling
    from bench.extractors import load_extractors
    from bench.interop import scoring
    from bench.runner import single

    base = _base_of(lora, base, device, offline)
    given = tasks.load(single.task_name(task, identifier, class_word, kind))
    tuned = _loaded(lora, base, any_base)
    folder = out or results() / "scored" / f"{tuned.file.stem}-{given.name.replace('/', '-')}"
    sampling = Sampling(steps, guidance)
    found = scoring.score(tuned, given, load_extractors(extractors), sampling, single.numbers(seeds), folder, say)
    print_table(*found.table())
    for note in found.notes:
        say(f"note: {note}")
    for path in found.files:
        print(path)
