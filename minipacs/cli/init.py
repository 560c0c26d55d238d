"""minipacs init: a commented conf/ to begin with."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from minipacs.cli.in_force import no_wait_option, wait_until_in_force
from minipacs.cli.options import Refused

_FILES = ("minipacs.toml", "peers.toml")


@click.command(epilog="Example: minipacs init && minipacs serve")
@click.argument("folder", default="conf", type=click.Path(path_type=Path))
@no_wait_option
def command(folder: Path, no_wait: bool) -> int:
    """Write minipacs.toml and peers.toml, with every default and a comment on it, into FOLDER (conf)."""
    from minipacs.new_files import LockedError, NewFile, alone_at, write_all

    there = [str(folder / name) for name in _FILES if os.path.lexists(folder / name)]
    if there:
        raise Refused(f"{' and '.join(there)}: there already; nothing was written")
    try:
        with alone_at(folder / "peers.toml"):
            write_all([NewFile(folder / name, _shipped(name)) for name in _FILES])
    except LockedError as error:
        raise Refused(f"cannot write {folder / 'peers.toml'}: {error}") from None
    except OSError as error:
        names = [str(folder / name) for name in _FILES]
        if isinstance(error, FileExistsError) and error.filename in names:  # since we looked
            raise Refused(f"{error.filename}: there already; nothing was written") from None
        place = error.filename if error.filename in names else names[0]
        raise Refused(f"cannot write {place}: {error.strerror}") from None
    for name in _FILES:
        click.echo(f"wrote {folder / name}")
    return wait_until_in_force([folder / "peers.toml"], no_wait=no_wait)


def _shipped(name: str) -> bytes:
    """The file as it was shipped: the wheel carries conf/ inside the package; a checkout has it beside."""
    package = files("minipacs")
    carried = package / "conf" / name
    return carried.read_bytes() if carried.is_file() else (Path(str(package)).parent / "conf" / name).read_bytes()
