"""minipacs init: a commented conf/ to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from minipacs.cli import OK
from minipacs.cli.options import Refused

_FILES = ("minipacs.toml", "peers.toml")


@click.command(epilog="Example: minipacs init && minipacs serve")
@click.argument("folder", default="conf", type=click.Path(path_type=Path))
def command(folder: Path) -> int:
    """Write minipacs.toml and peers.toml, with every default and a comment on it, into FOLDER (conf)."""
    there = [str(folder / name) for name in _FILES if (folder / name).exists()]
    if there:
        raise Refused(f"{' and '.join(there)}: there already; nothing was written")
    for name in _FILES:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as file:  # not through a link either, nor over what has come meanwhile
                file.write(_shipped(name))
        except OSError as error:
            raise Refused(f"cannot write {folder / name}: {error.strerror}") from None
        click.echo(f"wrote {folder / name}")
    return OK


def _shipped(name: str) -> bytes:
    """The file as it was shipped: the wheel carries conf/ inside the package; a checkout has it beside."""
    package = files("minipacs")
    carried = package / "conf" / name
    return carried.read_bytes() if carried.is_file() else (Path(str(package)).parent / "conf" / name).read_bytes()
