"""Tasks from folders: a task folder with task.toml, or simply a folder of pictures with two words."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import LitmusError, nearest
from bench.tasks import prompts as words
from bench.tasks.base import FOLDER_OPTIONS, TaskSource, register
from bench.tasks.task import KINDS, SPLITS, Picture, Prompt, Task, pictures, without

FORMAT = 1
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
HELD_EVERY = 3  # of a plain folder every third picture is held out, from four pictures on

_TOP = {
    "format", "name", "kind", "split", "class_word", "identifier", "resolution", "train", "heldout", "prompts",
    "prior", "drift", "notes", "licence",
}  # fmt: skip
_ROWS = {
    "train": {"file", "caption", "plain"},
    "heldout": {"file", "caption", "plain"},
    "prompts": {"text", "plain", "truth", "asks"},
    "prior": {"text", "asks"},
    "drift": {"text", "asks"},
}


@register
@dataclass(frozen=True)
class Folder(TaskSource):
    """Any folder of pictures with two words that say what it shows, or a task folder with task.toml."""

    name = "folder"
    prefix = "folder:"
    form = "folder:PATH?class_word=dog"
    about = "any folder of pictures (every third is held out), or a task folder with task.toml"
    options = FOLDER_OPTIONS
    path = True
    whose = "folder task"

    def load(self, name: str) -> Task:
        path, options = self.parse(name)
        return load_any(path, **options)


def load_any(path: str | Path, **options: Any) -> Task:
    """A task folder if it holds task.toml, else `photos` with `options` (identifier, class_word, kind, live, ...)."""
    folder = _folder(path)
    if (folder / "task.toml").is_file():
        if options:
            raise LitmusError(f"{folder} has a task.toml, which says it all: leave out ?{'&'.join(options)}")
        return load(folder)
    live = options.pop("live", None)
    resolution = options.pop("resolution", "512")
    if not resolution.isdigit() or int(resolution) < 8:
        raise LitmusError(f"resolution={resolution} is not a number of pixels from 8 up")
    if live not in (None, "true", "false"):
        raise LitmusError(f"live={live}: write live=true for an animal or a person, live=false for a thing")
    return photos(folder, live=None if live is None else live == "true", resolution=int(resolution), **options)


def load(path: str | Path, name: str | None = None) -> Task:
    """The task in a folder with task.toml; `name` overrides the file's own.

    Raises LitmusError that names the file and the key for anything missing, unknown or of the wrong kind.
    """
    folder = _folder(path)
    file = folder / "task.toml"
    table = _read(file)
    _keys(table, _TOP, file)
    if table.get("format") != FORMAT:
        raise LitmusError(f"{file}: format = {table.get('format')!r}, this version reads format = {FORMAT}")

    def text(row: dict[str, Any], key: str, default: str | None = None) -> str:
        value = row.get(key, default)
        if not isinstance(value, str):
            raise LitmusError(f"{file}: {key} is missing or not text")
        return value

    def rows(part: str) -> list[dict[str, Any]]:
        found = table.get(part, [])
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise LitmusError(f"{file}: write {part} as [[{part}]] tables")
        for row in found:
            _keys(row, _ROWS[part], file, f" in [[{part}]]")
        return found

    kind, split = text(table, "kind"), text(table, "split", "user")
    for value, known, what in ((kind, KINDS, "kind"), (split, SPLITS, "split")):
        if value not in known:
            raise LitmusError(f"{file}: {nearest(value, known, what)}")
    identifier = text(table, "identifier")
    resolution = table.get("resolution", 64)
    if not isinstance(resolution, int) or resolution < 8:
        raise LitmusError(f"{file}: resolution = {resolution!r} is not a number of pixels from 8 up")

    def part(key: str) -> tuple[Picture, ...]:
        return tuple(
            Picture(
                folder / text(r, "file"),
                text(r, "caption"),
                text(r, "plain", without(text(r, "caption"), identifier)),
            )
            for r in rows(key)
        )

    def asked(key: str) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(
                text(r, "text"),
                text(r, "plain", without(text(r, "text"), identifier)),
                tuple(folder / f for f in r.get("truth", ())),
                {str(k): str(v) for k, v in r.get("asks", {}).items()},
            )
            for r in rows(key)
        )

    task = Task(
        name=name or text(table, "name", folder.name),
        kind=kind,
        split=split,
        class_word=text(table, "class_word", ""),
        identifier=identifier,
        resolution=resolution,
        train=part("train"),
        heldout=part("heldout"),
        prompts=asked("prompts"),
        prior=asked("prior"),
        drift=asked("drift"),
        notes=tuple(table.get("notes", ())),
        licence=text(table, "licence", ""),
    )
    for key in ("train", "prompts"):
        if not getattr(task, key):
            raise LitmusError(f"{file}: it needs at least one [[{key}]] table")
    return task


def photos(
    path: str | Path,
    identifier: str = "sks",
    class_word: str = "",
    kind: str = "subject",
    live: bool | None = None,
    resolution: int = 512,
    caption: str = "",
    own: list[str] | None = None,
) -> Task:
    """A task from a folder of pictures without task.toml.

    Captions come from captions.txt ("file: caption" a line), else from a .txt beside each picture, else from an
    imagefolder's metadata.jsonl or metadata.csv (file_name, text; the identifier is put in), else `caption`, else from
    the two words ("a sks dog"). Every third picture is held out when there are at least four. Evaluation prompts are
    `own`, else prompts.txt (a line each, {} stands for the concept), else DreamBooth's 25 for a subject (`live`: those
    for animals; None: for cats and dogs) and ten contents for a style. There is no truth.
    """
    folder = _folder(path)
    if kind not in KINDS:
        raise LitmusError(nearest(kind, KINDS, "kind"))
    if kind == "subject" and not class_word:
        raise LitmusError(f"{folder} has no task.toml: say what it shows, folder:{path}?class_word=dog")
    if not identifier or " " in identifier:
        raise LitmusError(f"identifier={identifier!r} must be one word, such as sks")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not files:
        raise LitmusError(f"no pictures in {folder}: put {', '.join(ENDINGS)} files there")
    captions = _captions(folder, files)
    for name, text in metadata(folder, files).items():
        captions.setdefault(name, with_identifier(text, identifier, class_word, kind))
    default = caption or (f"a {identifier} {class_word}" if kind == "subject" else f"a picture in {identifier} style")
    rows = [(file, captions.get(file.name, default)) for file in files]
    if lacking := [file.name for file, caption in rows if identifier not in caption.split()]:
        raise LitmusError(f"the caption of {lacking[0]} lacks the identifier {identifier}: it names the concept")
    held = rows[HELD_EVERY - 1 :: HELD_EVERY] if len(rows) >= 4 else []
    concept = words.Concept(identifier, class_word, kind, class_word in words.LIVE if live is None else live)
    return Task(
        name=folder.name,
        kind=kind,
        split="user",
        class_word=class_word,
        identifier=identifier,
        resolution=resolution,
        train=pictures([row for row in rows if row not in held], identifier),
        heldout=pictures(held, identifier),
        prompts=concept.prompts(own or _lines(folder / "prompts.txt")),
        prior=concept.prior(),
        drift=concept.drift(),
        notes=("no truth pictures: scores have a floor but no ceiling",),
    )


def split_of(file: Path) -> str:
    """The split that a task.toml says, without reading its pictures; "" for a file that cannot be read."""
    try:
        return str(_read(file).get("split", "user"))
    except LitmusError:
        return ""


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise LitmusError(f"no folder {folder}: give the path of a folder of pictures")
    return folder


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LitmusError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LitmusError(f"{file} is not TOML: {error}") from None


def _keys(table: dict[str, Any], known: set[str], file: Path, where: str = "") -> None:
    for key in table:
        if key not in known:
            raise LitmusError(f"{file}: {nearest(key, known, 'key')}{where}")


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        return []
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _captions(folder: Path, files: list[Path]) -> dict[str, str]:
    """File name -> caption, from captions.txt or the .txt beside each picture; a line for no picture is an error."""
    names = {file.name for file in files}
    found = {}
    for line in _lines(folder / "captions.txt"):
        name, colon, caption = line.partition(":")
        if not colon or not caption.strip():
            raise LitmusError(f"{folder / 'captions.txt'}: write each line as 'file: caption', not {line!r}")
        if name.strip() not in names:
            raise LitmusError(f"{folder / 'captions.txt'}: {nearest(name.strip(), names, 'picture')}")
        found[name.strip()] = caption.strip()
    for file in files:
        if file.name not in found and (beside := _lines(file.with_suffix(".txt"))):
            found[file.name] = " ".join(beside)
    return found


def metadata(folder: Path, files: list[Path]) -> dict[str, str]:
    """File name -> text, from the metadata file of an imagefolder (Hugging Face's form), if it has one."""
    names = {file.name for file in files}
    for end, read in (("jsonl", _json_lines), ("csv", _csv_lines)):
        file = folder / f"metadata.{end}"
        if not file.is_file():
            continue
        try:
            rows = read(file)
        except (ValueError, csv.Error) as error:
            raise LitmusError(
                f"{file} cannot be read ({error}): write a file_name and a text for each picture"
            ) from None
        found = {}
        for row in rows:
            name, text = row.get("file_name"), row.get("text", "")
            if not isinstance(name, str) or not isinstance(text, str):
                raise LitmusError(f"{file}: write a file_name and a text for each picture, not {row!r}")
            if name not in names:
                raise LitmusError(f"{file}: {nearest(name, names, 'picture')}")
            if text.strip():
                found[name] = text.strip()
        return found
    return {}


def _json_lines(file: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object")
    return rows


def _csv_lines(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def with_identifier(text: str, identifier: str, class_word: str, kind: str) -> str:
    """`text` with the identifier where a caption of others lacks it: "a dog runs" -> "a sks dog runs".

    A style's is appended. A subject's goes before the class word; LitmusError where the text has neither.
    """
    if identifier in re.findall(r"[^\s.,]+", text):
        return text
    if kind == "style":
        return f"{text.rstrip(' .')} in {identifier} style"
    told, n = re.subn(rf"\b{re.escape(class_word)}\b", f"{identifier} {class_word}", text, count=1, flags=re.I)
    if not n:
        raise LitmusError(f"the caption '{text}' names neither {identifier} nor {class_word}: put one of them in")
    return told
