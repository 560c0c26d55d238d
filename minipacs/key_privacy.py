"""Whether a private key is kept from others; the same for the keys that we use and for those that we make."""

from __future__ import annotations

import shlex
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from minipacs.errors import FileError


def check_privacy(key: Path, error: type[FileError]) -> None:
    """Refuse a *key* that others may read, with the command that mends it.

    Root may lend its key to a group to read, as orchestrators do; nobody else may.

    Raises:
        FileError: others may read it; an *error*.
        OSError: it is not there.
    """
    status = key.stat()
    private = 0o027 if status.st_uid == 0 else 0o077
    if status.st_mode & private:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        fix = f"chmod 600 {shlex.quote(str(key))}"
        raise error([f"{key}: mode: must keep the key from others, not {mode}; fix: {fix}"])
