"""One registry for every kind of part: methods, objectives, metrics, task sources, extractors, bases, families.

A part is a frozen dataclass of hyperparameters with a `name`; one file registers one part. This project's own files lie
in the package of their kind, packages announce theirs as entry points of the group `litmus.<kind>s`, and files named in
$LITMUS_PLUGINS (separated as in $PATH; worker processes inherit it) may register parts of any kind.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
import types
import typing
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from bench.core.errors import LitmusError, nearest
from bench.plugin.spec import Value, label, parse_spec

OWN = ("bench.", "methods.")  # packages whose parts are this project's own
VARIABLES = ("LITMUS_PLUGINS", "LITMUS_METHODS")  # the second is the older name, when methods were all there was


@dataclass(frozen=True)
class Part:
    """What every registered class is: hyperparameters and nothing else."""

    name: ClassVar[str]  # the file's name and the registry's key
    presets: ClassVar[dict[str, dict[str, Any]]] = {}  # settings with a name: `adapter[released]`
    older: ClassVar[dict[str, str | None]] = {}  # hyperparameters of stored records: today's name, None where it went
    revision: ClassVar[int] = 0  # of this project's own: raised where the same settings give other numbers

    def hyper(self) -> dict[str, Any]:
        """All hyperparameters by name, defaults included."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def spec(self) -> str:
        """How it is written in protocols and tables: its name with what differs from the defaults, `lora[rank=8]`.

        A preset that says all that differs is written by its name.
        """
        full, plain = self.hyper(), type(self)().hyper()
        differs: dict[str, Value] = {k: v for k, v in full.items() if v != plain[k]}
        if differs and (named := next((p for p, v in self.presets.items() if {**plain, **v} == full), "")):
            differs = {"preset": named}
        return label(self.name, differs)


P = TypeVar("P", bound=Part)
C = TypeVar("C", bound=type[Part])

REGISTRIES: list[Registry[Any]] = []


class Registry(dict[str, type[P]], Generic[P]):
    """The parts of one kind by name; a dict that fills itself when it is first asked by `load`, `find` or `make`.

    kind      what one is called: "method"; entry points are of the group "litmus.methods"
    package   whose modules without a leading underscore are loaded as this project's own
    facts     class attributes that every part must have as text
    listing   the command that lists what there is
    """

    def __init__(self, kind: str, package: str, facts: tuple[str, ...] = ("name",), listing: str = ""):
        super().__init__()
        self.kind, self.package, self.facts = kind, package, facts
        self.group = f"litmus.{plural(kind).replace(' ', '-')}"
        self.listing = listing
        self._loaded = False
        REGISTRIES.append(self)

    def register(self, cls: C) -> C:
        """Class decorator: put a part under its `name`. LitmusError for a missing fact and for a name that is taken."""
        for fact in self.facts:
            if not isinstance(getattr(cls, fact, None), str):
                raise LitmusError(f'{cls.__name__} has no {fact}: add {fact} = "..." to the class')
        other = self.get(cls.name)
        if other and home(other) != home(cls):
            raise LitmusError(
                f"two {plural(self.kind)} are called {cls.name!r}: rename {cls.__name__} in {shown(cls)} "
                f"({shown(other)} has the other)"
            )
        self[cls.name] = cls  # type: ignore[assignment]
        return cls

    def load(self) -> None:
        """Fill the registry: this project's own, those of installed packages, and the files named in $LITMUS_PLUGINS.

        A package that fails to load is warned about and left out; a file that fails raises LitmusError, since somebody
        has just asked for it.
        """
        if not self._loaded:
            self._loaded = True
            self._load_installed()
        for variable in VARIABLES:
            for path in filter(None, os.environ.get(variable, "").split(os.pathsep)):
                load_file(path)

    def _load_installed(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.group):
            try:
                found = entry.load()
                if isinstance(found, type) and issubclass(found, Part):
                    self.register(found)
            except Exception as error:
                where = f"{entry.name} = {entry.value}"
                warnings.warn(f"left out the plug-in {where}: {type(error).__name__}: {error}", stacklevel=2)

    def find(self, name: str) -> type[P]:
        """The class called `name`. LitmusError with the nearest name for an unknown one."""
        self.load()
        if name not in self:
            raise LitmusError(nearest(name, self, self.kind, self.listing))
        return self[name]

    def make(self, name: str, /, **hyper: Any) -> P:
        """The part `name` with `hyper` in place of its defaults; `preset` is a name for several of them.

        Raises LitmusError for an unknown part or hyperparameter (with the nearest name), and for a value of the wrong
        kind or out of its range.
        """
        cls = self.find(name)
        hints = typing.get_type_hints(cls)
        known = [f.name for f in fields(cls)]
        if preset := hyper.pop("preset", None):
            if preset not in cls.presets:
                more = "" if cls.presets else ": it has none, write key=value"
                raise LitmusError(nearest(str(preset), cls.presets, f"preset of {name}") + more)
            hyper = {**cls.presets[preset], **hyper}
        for key, value in hyper.items():
            if key not in known:
                listing = f"{self.listing} {name}" if self.listing else ""
                raise LitmusError(nearest(key, known, f"hyperparameter of {name}", listing))
            hyper[key] = _fitting(value, hints[key], f"{name}: {key}")
        return cls(**hyper)

    def stored(self, name: str, hyper: Mapping[str, Any]) -> P:
        """The part of a record or file that an older version may have written: `older` names are understood."""
        older = self.find(name).older
        kept = {older.get(key, key): value for key, value in hyper.items()}
        return self.make(name, **{key: value for key, value in kept.items() if key is not None})

    def read(self, spec: str) -> P:
        """The part that `spec` writes: "lora[rank=8]"."""
        name, hyper = parse_spec(spec)
        return self.make(name, **hyper)

    def own(self) -> dict[str, type[P]]:
        """This project's parts by name, sorted, without plug-ins."""
        self.load()
        return {name: cls for name, cls in sorted(self.items()) if cls.__module__.startswith(OWN)}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is registered or removed inside the block is undone at its end: for trials and tests."""
        if not self._loaded:  # or what the block loads would be forgotten with it, and never loaded again
            self.load()
        before = dict(self)
        try:
            yield
        finally:
            self.clear()
            self.update(before)


def plural(kind: str) -> str:
    """ "methods" of "method", "families" of "family"; what ends in an s is one already."""
    return f"{kind.removesuffix('y')}ies" if kind.endswith("y") else f"{kind.removesuffix('s')}s"


def _fitting(value: Any, kind: Any, what: str) -> Any:
    """`value` as the annotated `kind`; a whole number is taken where a number is asked for, nothing else is bent."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    simple = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    if not all(k in simple for k in kinds) or type(value) in kinds:
        return value  # a kind of the part's own is for the part to check
    if float in kinds and type(value) is int:
        return float(value)
    raise LitmusError(f"{what} is {' or '.join(simple[k] for k in kinds)}, not {value!r}")


def home(cls: type) -> tuple[str | None, str]:
    """File and name: the same class may be imported as a package's module and as a plug-in file."""
    module = sys.modules.get(cls.__module__)
    return getattr(module, "__file__", None) or cls.__module__, cls.__qualname__


def shown(cls: type) -> str:
    """The file that a class is written in, for people: of this project's own from the root of the clone."""
    return f"{cls.__module__.replace('.', '/')}.py" if cls.__module__.startswith(OWN) else str(home(cls)[0])


def source_digest(cls: type[Part]) -> str:
    """sha256 hex[:16] of the file that defines a plug-in part; of this project's own "", or its revision if it has one.

    A plug-in changes while its author works on it, and its records must not outlive the change; our own parts are
    covered by the version of the code, and one that alone computes otherwise than before by its `revision`.
    """
    if cls.__module__.startswith(OWN):
        return f"revision {cls.revision}" if cls.revision else ""
    file = home(cls)[0]
    source = Path(file).read_bytes() if file and Path(file).is_file() else repr(home(cls)).encode()
    return hashlib.sha256(source).hexdigest()[:16]


def load_file(path: str | Path) -> list[type[Part]]:
    """Import a plug-in file and return the parts that it registers, of whatever kind.

    Raises LitmusError with file, line and reason when it is missing or cannot be imported.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise LitmusError(f"no file {path}: give the path of a Python file that registers a part")
    # The dataclass decorator looks its module up in sys.modules; the path keeps two files of one name apart.
    module_name = f"litmus_file_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise LitmusError(f"cannot read {path} as Python: a plug-in file ends in .py")
        sys.modules[module_name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            if isinstance(error, LitmusError):
                raise LitmusError(f"{path}: {error}") from error
            raise LitmusError(f"cannot load {path}{_line(error, file)}: {type(error).__name__}: {error}") from error
    return [cls for registry in REGISTRIES for cls in registry.values() if cls.__module__ == module_name]


def _line(error: Exception, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""
