"""minipacs storage: what is stored."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.options import Refused, with_settings
from minipacs.cli.progress import Progress
from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.services.index import Index
    from minipacs.settings import Settings

_LEVELS = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "object": "IMAGE"}
_WIDE = 200  # columns, where it goes into a file or a pipe
_MOST_FAULTS = 20  # files that are named; how many more there are is said

_HEADS = {
    "PatientBirthDate": "BIRTH DATE",
    "PatientSex": "SEX",
    "ModalitiesInStudy": "MODALITIES",
    "StudyDescription": "DESCRIPTION",
    "SeriesDescription": "DESCRIPTION",
    "StudyDate": "DATE",
    "StudyTime": "TIME",
    "AccessionNumber": "ACCESSION",
    "SeriesNumber": "SERIES",
    "InstanceNumber": "INSTANCE",
    "PatientID": "PATIENT ID",
    "PatientName": "PATIENT NAME",
    "SOPClassUID": "SOP CLASS",
    "AvailableTransferSyntaxUID": "TRANSFER SYNTAX",
    "StudyInstanceUID": "STUDY INSTANCE UID",
    "SeriesInstanceUID": "SERIES INSTANCE UID",
    "SOPInstanceUID": "SOP INSTANCE UID",
}


@click.group(
    name="storage",
    epilog="""\b
Examples:
  minipacs storage list                                   the studies
  minipacs storage list --level series PatientID=P1       the series of a patient
  minipacs storage list 'PatientName=MEIER*' StudyDate=20240101- --json
  minipacs storage show image.dcm --png image.png         header and picture
  minipacs storage reindex                                make the index again from the files
""",
)
def command() -> None:
    """List what is stored, look at a file, make the index again."""


def _with_folder(function: Callable[..., int]) -> Callable[..., int]:
    return click.option(
        "--storage",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Where the objects are; else folder under [storage] in the settings.",
    )(with_settings(function))


@command.command(
    name="list",
    epilog="""\b
Examples:
  minipacs storage list
  minipacs storage list --level patient
  minipacs storage list --level series StudyInstanceUID=1.2.3
  minipacs storage list --level object --json Modality=MR | jq -r .path

\b
KEY is the keyword of an attribute; VALUE is matched as in a query: wildcards * and ?, ranges of
dates and times such as 20240101-20240131, names of people without regard to capitals.
Exit code: 0 listed, also when nothing is there, 2 usage or configuration.
""",
)
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--level", type=click.Choice(list(_LEVELS)), default="study", help="What to list (study).")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, with DICOM's keywords.")
@_with_folder
def list_(keys: tuple[str, ...], level: str, is_json: bool, storage: Path | None, settings: Settings) -> int:
    """List the patients, studies, series or objects that are stored; of those alone that match all KEYs."""
    from minipacs.services import listing
    from minipacs.services.matching import KeyFault

    folder = _folder(storage, settings)
    wanted = dict(_key(one) for one in keys)
    index = _index(folder)
    index.close()
    try:
        rows = listing.listed(index.file, _LEVELS[level], wanted)  # type: ignore[arg-type]
        if is_json:
            _print_json(rows, folder)
        else:
            nothing = "nothing matches" if wanted else "nothing is stored"
            _print_table(listing.COLUMNS[_LEVELS[level]], rows, nothing)  # type: ignore[index]
    except KeyFault as fault:
        raise click.UsageError(str(fault)) from None
    return OK


@command.command(
    epilog="Example: minipacs storage reindex\n\nExit code: 0 all is listed, 1 some files cannot be, 2 usage."
)
@_with_folder
def reindex(storage: Path | None, settings: Settings) -> int:
    """Make the index again from the files. A node that runs goes on meanwhile."""
    from minipacs.services.index import INDEX_NAME, Index

    folder = _folder(storage, settings)
    faults: list[str] = []
    paths = list(_files(folder))
    index = Index(folder / INDEX_NAME)
    with Progress("reading files") as progress:
        count = index.rebuild(
            paths,
            lambda done: progress.say(f"{done} of {len(paths)} files read"),
            lambda path, error: faults.append(f"{path}: {error}"),
        )
    index.close()
    for fault in faults[:_MOST_FAULTS]:
        click.echo(f"minipacs: {fault}", err=True)
    if len(faults) > _MOST_FAULTS:
        click.echo(f"minipacs: and {len(faults) - _MOST_FAULTS} more", err=True)
    not_listed = f", {len(faults)} cannot be" if faults else ""
    click.echo(f"{folder}: {count} object{'' if count == 1 else 's'} listed{not_listed}")
    return FAILED if faults else OK


@command.command(
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
@click.option("--png", metavar="FILE", type=click.Path(path_type=Path), help="Write the picture into this file.")
@click.option("--frame", metavar="N", type=click.IntRange(min=1), default=1, help="Which frame (1).")
@click.option("--window", metavar="CENTRE/WIDTH", help="Window, such as 40/400; else what the file says.")
@click.option(
    "--json", "is_json", is_flag=True, help="The header in DICOM's JSON model (PS3.18 Annex F), without pixel data."
)
@click.option(
    "--picture/--no-picture", "is_wanted", default=None, help="Show the picture, or not (on a terminal alone)."
)
def show(file: Path, png: Path | None, frame: int, window: str | None, is_json: bool, is_wanted: bool | None) -> int:
    """Show the header of a DICOM FILE, and its picture."""
    from minipacs.services import header_table
    from minipacs.services.header import HeaderError

    limits = _window(window)
    terminal = shutil.get_terminal_size()
    try:
        data = header_table.read(file)
    except HeaderError as error:
        click.echo(f"minipacs: {file}: {error}", err=True)
        return FAILED
    if is_json:
        click.echo(header_table.as_json(data))
    else:
        for line in header_table.lines(data, terminal.columns if sys.stdout.isatty() else _WIDE):
            click.echo(line)
    is_shown = not is_json and (sys.stdout.isatty() if is_wanted is None else is_wanted)
    if png is None and not is_shown:
        return OK
    return _picture(file, png, frame, limits, is_shown, is_asked=png is not None or is_wanted is True)


def _picture(
    file: Path, png: Path | None, frame: int, window: tuple[float, float] | None, is_shown: bool, *, is_asked: bool
) -> int:
    from minipacs.services.picture import PictureError, cells, picture

    try:
        image = picture(file, frame, window)
    except PictureError as error:
        click.echo(f"minipacs: {file}: {error}", err=True)
        return FAILED if is_asked else OK
    if png is not None:
        try:
            image.save(png, "PNG")
        except OSError as error:
            raise Refused(f"{png}: {error.strerror or error}") from None
        click.echo(f"{png}: {image.width} × {image.height} pixels", err=True)
    if is_shown:
        terminal = shutil.get_terminal_size()
        for line in cells(image, terminal.columns, max(8, terminal.lines - 2)):
            click.echo(line, color=True)
    return OK


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


def _key(text: str) -> tuple[str, str]:
    keyword, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"must be KEY=VALUE such as PatientID=P1, not {escape(text)}")
    return keyword, value


def _folder(given: Path | None, settings: Settings) -> Path:
    folder = given or settings.storage.folder
    if folder is None:
        raise Refused("no folder to look in: give --storage FOLDER, or set folder under [storage] in minipacs.toml")
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder; minipacs serve --storage {folder} makes it")
    return folder.absolute()


def _files(folder: Path) -> Iterator[Path]:
    """The object files of the folder."""
    return (folder / "objects").glob("*/*.dcm")


def _index(folder: Path) -> Index:
    """The index of the folder; filled again, where there was none that could be trusted."""
    from minipacs.services.index import INDEX_NAME, Index

    index = Index(folder / INDEX_NAME)
    if index.is_new:
        with Progress("making the index"):
            index.catch_up(_files(folder))
    return index


def _print_json(rows: Iterator[dict[str, str | int]], folder: Path) -> None:
    from minipacs.report import as_json

    for row in rows:
        if "path" in row:
            row["path"] = str(folder / row["path"])  # type: ignore[operator]
        click.echo(as_json(row))


def _print_table(columns: tuple[str, ...], rows: Iterator[dict[str, str | int]], nothing: str) -> None:
    from minipacs.services.shown import cut, printable, table

    lines = [[_cell(keyword, row[keyword]) for keyword in columns] for row in rows]
    if not lines:
        click.echo(nothing, err=True)
        return
    heads = [_HEADS.get(keyword) or keyword.rpartition("Related")[2].upper() for keyword in columns]
    numbers = [place for place, keyword in enumerate(columns) if "Number" in keyword and keyword != "AccessionNumber"]
    for line in table(heads, [[cut(printable(cell), 64) for cell in line] for line in lines], numbers):
        click.echo(line)


def _cell(keyword: str, value: str | int) -> str:
    text = str(value).replace("\\", ",")
    if keyword == "StudyDate" and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if keyword == "StudyTime" and text[:4].isdigit():
        return f"{text[:2]}:{text[2:4]}"
    if keyword in {"SOPClassUID", "AvailableTransferSyntaxUID"}:
        from minipacs.names import uid_name

        return uid_name(text) or text
    return text
