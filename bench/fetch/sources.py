"""What can be fetched by name: DreamBooth's subjects, and style pictures by a list of addresses and checksums."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import LitmusError, nearest
from bench.core.files import whole
from bench.core.paths import datasets
from bench.fetch.bundle import Bundle, Item, sha256
from bench.tasks import dreambooth as copy
from bench.tasks import prompts as words
from bench.tasks.folder import ENDINGS
from bench.tasks.task import SPLITS, Prompt, without

MANIFEST = Path(copy.__file__).parent / "sources" / "dreambooth.json"
PAINTINGS = MANIFEST.with_name("paintings.toml")  # the list that travels along
TEXTS = ("prompts_and_classes.txt", "references_and_licenses.txt", "LICENSE.md", "README.md")


# --- DreamBooth ---------------------------------------------------------------------------------------------------


def dreambooth(source: str | None = None, only: Collection[str] = ()) -> tuple[Bundle, Path]:
    """The 30 subjects of google/dreambooth at the manifest's commit, and where they go: datasets/dreambooth.

    `source` is another place with the same files: an address, or a folder such as a clone. `only` names subjects.
    """
    manifest = MANIFEST.read_text(encoding="utf-8")
    table = json.loads(manifest)
    files: dict[str, dict[str, Any]] = table["files"]
    known = sorted({parts[-2] for path in files if len(parts := path.split("/")) > 1 and path.endswith(".jpg")})
    for name in only:
        if name not in known:
            raise LitmusError(nearest(name, known, "DreamBooth subject"))
    wanted = {
        path: facts
        for path, facts in files.items()
        if not only or PurePosixPath(path).name in TEXTS or PurePosixPath(path).parent.name in only
    }
    base = _address(source) if source else table["url"]
    items = tuple(Item(path, base + quote(path), facts["sha256"], facts["bytes"]) for path, facts in wanted.items())
    # The manifest goes along, so that every later use of a picture is checked too.
    made = {"manifest.json": manifest}

    remedy = (
        "Run the command again when the network is there; or clone google/dreambooth elsewhere, bring it here and use "
        "litmus fetch dreambooth --source CLONE"
    )
    return Bundle("dreambooth", items, remedy, made), datasets() / "dreambooth"


def _address(source: str) -> str:
    """An address or a folder as what the paths of a list are appended to."""
    if source.startswith(("http://", "https://")):
        return source.rstrip("/") + "/"
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise LitmusError(f"no folder {folder}: give --source a folder with the files, or an address with https://")
    return folder.as_uri() + "/"


# --- styles -------------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StylePicture(_Strict):
    """One picture: where it is, what its bytes are, what it shows. `licence` in words, such as "public domain"."""

    url: str = Field(pattern=r"^https?://")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    bytes: int | None = Field(default=None, ge=1)
    caption: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    file: str = ""
    heldout: bool = False
    title: str = ""
    author: str = ""
    year: str | int = ""
    page: str = ""

    @property
    def name(self) -> str:
        """Its file name: as the list says, else the last part of the address."""
        return self.file or re.sub(r"[^A-Za-z0-9._-]+", "-", unquote(PurePosixPath(urlsplit(self.url).path).name))


class Style(_Strict):
    """One style: a task. Every caption holds the identifier: "a bridge in the rain in sks style"."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    identifier: str = "sks"
    split: str = "user"
    picture: tuple[StylePicture, ...] = Field(min_length=1)


class StyleList(_Strict):
    """A reference list of style pictures; its tasks are called <name>/<style>."""

    format: int = Field(ge=1, le=1)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    title: str = ""
    resolution: int = Field(default=512, ge=8)
    style: tuple[Style, ...] = Field(min_length=1)


_MODELS: dict[str, type[BaseModel]] = {"style": Style, "picture": StylePicture}


def read_list(file: Path, pinned: bool = True) -> StyleList:
    """The list in a TOML file, every fault as one line that names its place; `pinned`: every picture has a checksum."""
    try:
        found = StyleList.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise LitmusError(f"cannot read the list {file}: {error.strerror}") from None
    except ValidationError as error:
        raise LitmusError(f"{file}: {_fault(error)}") from None
    except ValueError as error:  # TOML and UTF-8 errors
        raise LitmusError(f"{file} is not TOML: {error}") from None
    if found.name in ("pocket", "dreambooth", "customconcept101"):
        raise LitmusError(f"{file}: name = '{found.name}' is taken: choose another")
    for style in found.style:
        if style.split not in SPLITS:
            raise LitmusError(f"{file}: style {style.name}: {nearest(style.split, SPLITS, 'split')}")
        names = [picture.name for picture in style.picture]
        for picture in style.picture:
            where = f"{file}: style {style.name}, {picture.name or picture.url}"
            if not picture.name.lower().endswith(ENDINGS) or "/" in picture.name:
                raise LitmusError(f"{where}: say file = 'name.jpg' (one of {', '.join(ENDINGS)})")
            if names.count(picture.name) > 1:
                raise LitmusError(f"{where} is there twice: give one of them another file")
            if style.identifier not in re.findall(r"[^\s.,]+", picture.caption):
                raise LitmusError(f"{where}: the caption lacks the identifier {style.identifier}")
            if pinned and not picture.sha256:
                raise LitmusError(f"{where} has no sha256: litmus fetch styles --list {file} --pin writes them")
        if all(picture.heldout for picture in style.picture):
            raise LitmusError(f"{file}: style {style.name} holds every picture out: it needs one to train on")
    return found


def _fault(error: ValidationError) -> str:
    fault = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where, model = fault["loc"], StyleList
    for part in where[:-1]:
        model = _MODELS.get(str(part), model)
    if fault["type"] == "extra_forbidden":
        return nearest(str(where[-1]), model.model_fields, "key")
    return f"{'.'.join(map(str, where))}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def styles(file: Path) -> tuple[Bundle, Path]:
    """The pictures of a list as task folders, and where they go: datasets/<name of the list>."""
    found = read_list(file)
    items = tuple(
        Item(f"{style.name}/{picture.name}", picture.url, picture.sha256, picture.bytes)
        for style in found.style
        for picture in style.picture
    )

    made = {}
    for style in found.style:
        made[f"{style.name}/task.toml"] = _task(found, style)
        made[f"{style.name}/SOURCES.md"] = _sources(style)
    remedy = "Run the command again: it goes on where it stopped"
    return Bundle(found.name, items, remedy, made), datasets() / found.name


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string, number or boolean is a TOML one


def _task(listed: StyleList, style: Style) -> str:
    """The task.toml of one style: captions from the list, the standard contents as prompts."""
    concept = words.Concept(style.identifier, "", "style")
    licences = ", ".join(dict.fromkeys(picture.licence for picture in style.picture))
    lines = [
        *("format = 1", f"name = {_quoted(style.name)}", 'kind = "style"', f"split = {_quoted(style.split)}"),
        *('class_word = ""', f"identifier = {_quoted(style.identifier)}", f"resolution = {listed.resolution}"),
        f"notes = [{_quoted('no truth pictures: scores have a floor but no ceiling')}]",
        f"licence = {_quoted(licences)}",
    ]
    for picture in style.picture:
        lines += ["", f"[[{'heldout' if picture.heldout else 'train'}]]", f"file = {_quoted(picture.name)}"]
        lines += [
            f"caption = {_quoted(picture.caption)}",
            f"plain = {_quoted(without(picture.caption, style.identifier))}",
        ]
    parts: dict[str, tuple[Prompt, ...]] = {
        "prompts": concept.prompts([]),
        "prior": concept.prior(),
        "drift": concept.drift(),
    }
    for part, asked in parts.items():
        for prompt in asked:
            lines += ["", f"[[{part}]]", f"text = {_quoted(prompt.text)}"]
            lines += [f"plain = {_quoted(prompt.plain)}"] if part == "prompts" else []
    return "\n".join(lines) + "\n"


def _sources(style: Style) -> str:
    """Whose pictures these are, as their licences ask."""
    lines = [f"# Pictures of the style {style.name}", ""]
    for p in style.picture:
        said = ", ".join(filter(None, [p.title, p.author, str(p.year)]))
        lines.append(f"- `{p.name}`: {said or 'untitled'}; {p.licence}; {p.page or p.url}; sha256 {p.sha256}")
    return "\n".join(lines) + "\n"


def pin(file: Path, had: dict[str, Path]) -> int:
    """Write into the list `file` what the pictures in `had` (address -> file) are: sha256 and bytes after each url.

    Only for pictures that the list knows no checksum of; returns how many. The rest of the file stays as it is.
    """
    listed = {p.url for style in read_list(file, pinned=False).style for p in style.picture if not p.sha256}
    lines, n = [], 0
    for line in file.read_text(encoding="utf-8").splitlines():
        lines.append(line)
        said = re.match(r"""\s*url\s*=\s*["']([^"']+)["']""", line)
        if said and said[1] in listed & had.keys():
            picture = had[said[1]]
            lines += [f'sha256 = "{sha256(picture)}"', f"bytes = {picture.stat().st_size}"]
            n += 1
    with whole(file) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return n
