"""Skia, loaded when something is drawn and not before.

Its library needs libEGL and libGL, which slim images lack. Names, colours and captions of the world need neither, so
whoever draws says `from bench.world.canvas import skia` and uses it as the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.core.errors import LitmusError

if TYPE_CHECKING:
    import skia
else:

    class _Skia:
        """The module skia, which is imported when its first name is asked for."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # asked by whoever inspects or copies it, who draws nothing
                raise AttributeError(name)
            value = self.__dict__[name] = getattr(load(), name)
            return value

    skia = _Skia()


def load() -> Any:
    """The module skia. LitmusError, with the packages that bring what is lacking, where it cannot be imported."""
    try:
        import skia as module
    except ModuleNotFoundError as error:
        raise LitmusError(f"drawing the world needs skia ({error}): pip install skia-python") from error
    except ImportError as error:
        raise LitmusError(
            f"drawing the world needs skia, which cannot be loaded here ({error}): install the libraries libEGL and "
            "libGL (Debian and Ubuntu: apt-get install libegl1 libgl1; Fedora: dnf install libglvnd-egl libglvnd-glx)"
        ) from error
    return module
