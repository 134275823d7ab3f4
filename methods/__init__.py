"""The competitors: one file each, called as the method is, found here so that they register themselves.

A leading underscore is shared code: the base classes of a family, and what is no method here with the reason.
"""

from importlib import import_module
from pkgutil import iter_modules

from bench.core.errors import LitmusError
from bench.method import METHODS


def _load() -> None:
    """Import every file of this folder. Raises LitmusError for one that does not register the method of its name."""
    for name in sorted(found.name for found in iter_modules(__path__)):
        module = import_module(f"{__name__}.{name}")
        registered = sorted(method for method, cls in METHODS.items() if cls.__module__ == module.__name__)
        if registered != ([] if name.startswith("_") else [name]):
            what = f"registers {', '.join(registered) or 'no method'}"
            raise LitmusError(
                f"methods/{name}.py {what}: a file registers the one method that it is named after, and a file with a "
                "leading underscore registers none"
            )


_load()
