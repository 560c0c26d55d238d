"""minipacs storage: what is stored."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.options import Refused, with_settings
from minipacs.cli.progress import Progress
from minipacs.cli.storage_show import show
from minipacs.escape import escape, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.services.index import Index
    from minipacs.settings import Settings

_LEVELS = ("patient", "study", "series", "image")  # as `minipacs find` has them
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


command.add_command(show)


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
  minipacs storage list --level image --json Modality=MR | jq -r .path

\b
KEY is the keyword of an attribute; VALUE is matched as in a query: wildcards * and ?, ranges of
dates and times such as 20240101-20240131, names of people without regard to capitals.
Nothing is written: where there is no index that can be used, the files are read.
Exit code: 0 listed, also when nothing is there, 2 usage or configuration.
""",
)
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--level", type=click.Choice(_LEVELS), default="study", help="What to list (study).")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, with DICOM's keywords.")
@_with_folder
def list_(keys: tuple[str, ...], level: str, is_json: bool, storage: Path | None, settings: Settings) -> int:
    """List the patients, studies, series or objects that are stored; of those alone that match all KEYs."""
    from minipacs.services import listing, storage_folder
    from minipacs.services.index_file import INDEX_NAME
    from minipacs.services.matching import KeyFault

    folder = _folder(storage, settings)
    wanted = dict(_key(one) for one in keys)
    file = folder / INDEX_NAME
    try:
        with _told(file):
            storage_folder.check_to_read(folder)
        with _told(file), listing.readable(file, lambda index: _fill(index, folder)) as reader:
            rows = listing.listed(reader, level.upper(), wanted)  # type: ignore[arg-type]
            if is_json:
                _print_json(rows, folder)
            else:
                nothing = "nothing matches" if wanted else "nothing is stored"
                _print_table(listing.COLUMNS[level.upper()], rows, nothing)  # type: ignore[index]
    except KeyFault as fault:
        raise click.UsageError(str(fault)) from None
    return OK


@command.command(
    epilog="Example: minipacs storage reindex\n\nExit code: 0 all is listed, 1 some files cannot be, 2 usage."
)
@_with_folder
def reindex(storage: Path | None, settings: Settings) -> int:
    """Make the index again from the files. A node that runs goes on meanwhile."""
    from minipacs.services import storage_folder
    from minipacs.services.index import Index
    from minipacs.services.index_file import INDEX_NAME

    folder = _folder(storage, settings)
    faults: list[str] = []
    with _told(folder):
        storage_folder.check_to_index(folder)
        if storage_folder.is_in_use(folder):
            _check_shared(folder / INDEX_NAME)
        paths = list(storage_folder.names(folder))
    with (
        _told(folder / INDEX_NAME),
        closing(Index(folder / INDEX_NAME)) as index,
        Progress("reading files") as progress,
    ):
        count = index.rebuild(
            paths,
            lambda done: progress.say(f"{done} of {len(paths)} files read"),
            lambda path, error: faults.append(f"{readable(str(path))}: {_why(error)}"),
        )
    for fault in faults[:_MOST_FAULTS]:
        click.echo(f"minipacs: {fault}", err=True)
    if len(faults) > _MOST_FAULTS:
        click.echo(f"minipacs: and {len(faults) - _MOST_FAULTS} more", err=True)
    not_listed = f", {len(faults)} cannot be" if faults else ""
    click.echo(f"{readable(str(folder))}: {count} object{'' if count == 1 else 's'} listed{not_listed}")
    return FAILED if faults else OK


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


def _check_shared(file: Path) -> None:
    """Raise where another index would take the place of one that a node goes on to write in."""
    from minipacs.services import tables

    connection = tables.to_read(file)
    if connection is None:
        fix = "stop the node, and start it again: it makes the index again"
        raise Refused(f"{file}: a node uses it, and it cannot be trusted: {fix}")
    connection.close()


def _fill(index: Index, folder: Path) -> None:
    """From the files; what is not listed is counted."""
    from minipacs.services import storage_folder

    faults: list[Path] = []
    with Progress("making the index") as progress:
        index.catch_up(
            storage_folder.names(folder),
            lambda done: progress.say(f"making the index: {done} files read"),
            lambda path, _: faults.append(path),
        )
    if faults:
        count = f"{len(faults)} file{'' if len(faults) == 1 else 's'}"
        click.echo(f"minipacs: {count} cannot be listed: minipacs storage reindex says why", err=True)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """What cannot be done with the index is said of its file."""
    from sqlite3 import Error

    try:
        yield
    except BrokenPipeError:  # of standard output
        raise
    except (Error, OSError) as error:
        raise Refused(f"{file}: {error}") from None


def _print_json(rows: Iterator[dict[str, str | int]], folder: Path) -> None:
    from minipacs.report import as_json

    for row in rows:
        if "path" in row:
            path = str(folder / row["path"])  # type: ignore[operator]
            row["path"] = path.encode(
                errors="backslashreplace"
            ).decode()  # a name that is no text, as JSON can carry it
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
