"""A TOML file read whole or not at all: every fault in it is told at once, each in a line of its own.

It knows no key of any file; each file brings its schema.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from minipacs.escape import escape
from minipacs.regular_file import NotRegularError, open_regular
from minipacs.schema import Invalid

if TYPE_CHECKING:
    from pathlib import Path

    import tomli

    from minipacs.errors import FileError
    from minipacs.schema import Fault, Rule

SIZE_LIMIT = 4 << 20
"""Bytes. 5 000 peers take half of one MiB."""

_MOST_SHOWN = 60

_PIECE = 1 << 13  # characters, which take 1 ms
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def read_bytes(path: Path, error: type[FileError]) -> bytes:
    """Return the content of the file at *path*, at most one byte over the limit; *error* when it cannot be read."""
    try:
        with open_regular(path) as file:
            check_size(os.fstat(file.fileno()).st_size, str(path), error)
            return file.read(SIZE_LIMIT + 1)
    except NotRegularError:
        raise error([f"{path}: file: must be a regular file, not a folder or device"]) from None
    except OSError as fault:
        raise unreadable(path, fault, error) from None


def unreadable(file: object, fault: OSError, error: type[FileError]) -> FileError:
    """Return the *error* for a file that the system does not let us read."""
    rule = f"{file}: file: must be readable, not {_shown(fault.strerror)}"
    return error([rule], is_passing=fault.errno in _USED_UP)


def is_there(path: Path) -> bool:
    """Whether there is a file at *path*; one that we may not look at is there, and reading it tells why not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def check_size(size: int, source: str, error: type[FileError]) -> None:
    """Raise *error* when *size* bytes are more than a file of ours may have."""
    if size > SIZE_LIMIT:
        raise error([f"{source}: size: must be at most {SIZE_LIMIT} bytes, not {size}"])


def parse(data: bytes, source: str, schema: Rule, error: type[FileError]) -> Any:
    """Return what *schema* makes of the TOML text *data*.

    Args:
        data: the content of the file.
        source: the name of the file in messages.
        schema: what it may hold.
        error: the exception to raise with every fault.
    """
    import tomli

    check_size(len(data), source, error)
    try:
        text = data.decode().removeprefix("\ufeff")  # Windows editors begin a file with a byte order mark
        return schema(content := load(text))
    except UnicodeDecodeError as fault:
        raise error([f"{source}: byte {fault.start}: must be UTF-8, not 0x{data[fault.start]:02X}"]) from None
    except tomli.TOMLDecodeError as fault:
        raise error([_not_toml(source, text, fault)]) from None
    except Invalid as broken:
        raise error([_line(source, fault, content) for fault in broken.faults]) from None
    except (ValueError, RecursionError) as fault:  # an integer of thousands of digits, arrays nested without end
        raise error([f"{source}: file: must be TOML, not {_shown(str(fault))}"]) from None


def load(text: str, piece: int = _PIECE) -> dict[str, Any]:
    """Return what the TOML *text* says, letting other threads run meanwhile.

    tomli is compiled and lets nobody run before its end: 5 000 peers would hold up an echo for 60 ms. So sections that
    each have a header of their own, ``[peers.NAME]``, are read some at a time; that is the same, for each is a table
    that nothing else may add to (TOML 1.0.0, Table), and where one comes twice the text is read whole.

    Args:
        text: the content of a file.
        piece: characters of it that are read at once, where it can be cut.

    Raises:
        TOMLDecodeError: it is no TOML.
    """
    import tomli

    if len(text) <= piece:
        return tomli.loads(text)
    from minipacs.toml_pieces import pieces

    content: dict[str, Any] = {}
    try:
        for sections in pieces(text, piece):
            for name, tables in tomli.loads(sections).items():
                there = content.setdefault(name, {})
                if not there.keys().isdisjoint(tables):
                    return tomli.loads(text)
                there.update(tables)
    except tomli.TOMLDecodeError:
        return tomli.loads(text)  # which tells where in the text the fault is
    return content or tomli.loads(text)


def _not_toml(source: str, text: str, fault: tomli.TOMLDecodeError) -> str:
    lines = text.split("\n")  # as TOML counts them; splitlines() splits at more than that
    line = lines[fault.lineno - 1] if fault.lineno <= len(lines) else ""
    place = f"line {fault.lineno}, column {fault.colno}"
    return f"{source}: {place}: must be TOML ({escape(fault.msg)}), not {_shown(line.strip())}"


def _line(source: str, fault: Fault, content: Any) -> str:
    value = content
    key = ""
    for step in fault.path:
        key += f"[{step}]" if isinstance(step, int) else f".{escape(str(step))}"
        value = value[step] if isinstance(step, int) or step in value else None
    shown = "left out" if fault.is_missing else _shown(str(fault.path[-1]) if fault.is_of_key else value)
    return f"{source}: {key.removeprefix('.')}: {fault.rule}, not {shown}"


def _shown(value: object) -> str:
    """Return *value* on one line, as it would stand in the file, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{escape(value[:_MOST_SHOWN])}{"…" if len(value) > _MOST_SHOWN else ""}"'
    if isinstance(value, dict):
        return "a table"
    try:
        shown = escape(str(value))
    except ValueError:  # Python prints no integer of more than 4 300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + "…"
