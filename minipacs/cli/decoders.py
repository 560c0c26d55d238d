"""pydicom without its decoders, which it imports wherever they are installed, whether a pixel is decoded or not.

numpy, Pillow and GDCM take longer to import than all of ours, and more memory. Pictures are drawn in a process of their
own, which has them (services/drawing.py); a process of somebody else is none of our business.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_PACKAGE = "pydicom"
_LEFT_OUT = ("numpy", "PIL", "gdcm", "jpeg_ls", "pylibjpeg", "requests")  # the last is for samples of pydicom's own


def leave_out_decoders() -> None:
    """Have pydicom, when it is imported, find none of them; whoever asks for one of them later does."""
    if _PACKAGE not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds pydicom alone, once (importlib.abc.MetaPathFinder)."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return how it is loaded: as ever, but for what is left out meanwhile."""
        if fullname != _PACKAGE:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(_load, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _load(load: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Load it while each that is left out is marked as one that is not there (importlib, `sys.modules`)."""
    modules: dict[str, Any] = sys.modules
    absent = [name for name in _LEFT_OUT if name not in modules]
    modules.update(dict.fromkeys(absent))
    try:
        load(module)
    finally:
        for name in absent:
            del modules[name]
