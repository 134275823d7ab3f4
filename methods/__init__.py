"""The competitors: one file each, found here so that they register themselves. A leading underscore is shared code."""

from importlib import import_module
from pkgutil import iter_modules

for _found in sorted(iter_modules(__path__), key=lambda one: one.name):
    if not _found.name.startswith("_"):
        import_module(f"{__name__}.{_found.name}")
