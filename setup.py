"""What pyproject.toml cannot say: a build packs the committed tasks of datasets/pocket into the package bench.tasks.

So they are stored once, and a wheel has them (bench/tasks/packed.py unpacks them). An editable install reads the
clone's own.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "datasets" / "pocket"
WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the same files give the same bytes


def pack(source: Path, archive: Path) -> None:
    """Write every file below `source` into the zip `archive`, by names relative to it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            about = zipfile.ZipInfo(path.relative_to(source).as_posix(), WHEN)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = 0o644 << 16
            out.writestr(about, path.read_bytes(), compresslevel=9)


class Build(build_py):
    """build_py, and the archive beside the modules of bench.tasks."""

    @property
    def archive(self) -> Path:
        return Path(self.build_lib, "bench", "tasks", "pocket.zip")

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            if not (SOURCE / "SHA256SUMS").is_file():
                raise SystemExit("datasets/pocket is not here: a wheel is built from a clone or from a whole sdist")
            pack(SOURCE, self.archive)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        more = [] if self.editable_mode else [str(self.archive)]
        return [*super().get_outputs(include_bytecode), *more]


setup(cmdclass={"build_py": Build})
