"""What survives the loss of power (fsync(2))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_durable(path: Path) -> None:
    """Write a file to disk, or the names in a folder, which a loss of power may else take back.

    Raises:
        OSError: that cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
