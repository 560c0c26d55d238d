"""minipacs storage show: the header of a file, and its picture."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.options import Refused
from minipacs.escape import escape, readable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minipacs.services.picture_file import PictureFile

_WIDE = 200  # columns, where it goes into a file or a pipe


@click.command(
    epilog="""\b
Examples:
  minipacs storage show image.dcm
  minipacs storage show image.dcm --png image.png
  minipacs storage show ct.dcm --window 40/400 --frame 3
  minipacs storage show image.dcm --json | jq .00100010

\b
On a terminal, the picture is shown below the header. Pictures need numpy and Pillow:
pip install 'minipacs[pictures]'.
Exit code: 0 shown, 1 the file or its picture cannot be shown, 2 usage.
"""
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--png", metavar="FILE", type=click.Path(path_type=Path), help="Write the picture into this new file.")
@click.option("--force", is_flag=True, help="Write over the file of --png, unless that is DICOM.")
@click.option("--frame", metavar="N", type=click.IntRange(min=1), default=1, help="Which frame (1).")
@click.option("--window", metavar="CENTRE/WIDTH", help="Window, such as 40/400; else what the file says.")
@click.option(
    "--json", "is_json", is_flag=True, help="The header in DICOM's JSON model (PS3.18 Annex F), without pixel data."
)
@click.option(
    "--picture/--no-picture", "is_wanted", default=None, help="Show the picture, or not (on a terminal alone)."
)
def show(
    file: Path,
    png: Path | None,
    force: bool,
    frame: int,
    window: str | None,
    is_json: bool,
    is_wanted: bool | None,
) -> int:
    """Show the header of a DICOM FILE, and its picture."""
    from minipacs.services import header_table
    from minipacs.services.header import HeaderError
    from minipacs.services.picture_file import PictureFile

    limits = _window(window)
    with _told(png):
        target = None if png is None else PictureFile(png, force=force)
    terminal = shutil.get_terminal_size()
    try:
        data = header_table.read(file)
    except (HeaderError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        click.echo(f"minipacs: {file}: {why}", err=True)
        return FAILED
    if is_json:
        click.echo(header_table.as_json(data))
    else:
        for line in header_table.lines(data, terminal.columns if sys.stdout.isatty() else _WIDE):
            click.echo(line)
    is_shown = not is_json and (sys.stdout.isatty() if is_wanted is None else is_wanted)
    if target is None and not is_shown:
        return OK
    return _picture(file, target, frame, limits, is_shown, is_asked=target is not None or is_wanted is True)


def _picture(
    file: Path,
    target: PictureFile | None,
    frame: int,
    window: tuple[float, float] | None,
    is_shown: bool,
    *,
    is_asked: bool,
) -> int:
    from minipacs.services.picture import PictureError, cells, picture

    try:
        image = picture(file, frame, window)
    except PictureError as error:
        click.echo(f"minipacs: {file}: {error}", err=True)
        return FAILED if is_asked else OK
    if target is not None:
        with _told(target.path):
            target.write(image)
        click.echo(f"{target.path}: {image.width} × {image.height} pixels", err=True)
    if is_shown:
        terminal = shutil.get_terminal_size()
        for line in cells(image, terminal.columns, max(8, terminal.lines - 2)):
            click.echo(line, color=True)
    return OK


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    """What cannot be done with a file is said of it."""
    try:
        yield
    except OSError as error:
        raise Refused(f"{readable(str(path))}: {error.strerror or error}") from None


def _window(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    centre, _, width = text.partition("/")
    try:
        window = float(centre), float(width)
    except ValueError:
        window = 0.0, 0.0
    if not 0 < window[1] < float("inf") or not abs(window[0]) < float("inf"):
        raise click.UsageError(f"--window: must be CENTRE/WIDTH such as 40/400, not {escape(text)}")
    return window
