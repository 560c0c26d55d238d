"""minipacs store: we send images."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.calls import with_caller
from minipacs.cli.progress import Bar, Progress

if TYPE_CHECKING:
    from minipacs.services.caller import Caller
    from minipacs.services.store_scu import ObjectResult
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs store orthanc samples/images            every image of a folder, and of the folders in it
  minipacs store orthanc scan.dcm DICOMDIR         a file, and all that a DICOMDIR lists
  minipacs store PACS@10.0.0.7:104 study --jobs 4  over four associations side by side
  minipacs store orthanc study --json              an object a line, and a last one that counts them

\b
Each image is sent as it is; an uncompressed one is written anew where the peer takes it only in another
uncompressed transfer syntax. In folders, what is no DICOM is skipped and counted. What a DICOMDIR lists and is
not there, or lists outside of its folder, fails by its name; so does a file that is cut short, or whose data set has
an odd number of bytes and is not deflated: nothing of it is sent. Where an association is lost, the rest goes over
another one, as long as there is one to be had; what is left then is told as not tried.
Exit code: 0 every object was stored (also with a warning), 1 one was not, 2 usage or configuration, 130 Ctrl-C.
"""
)
@click.argument("target")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), default=1, help="Associations side by side.")
@with_caller
def command(paths: tuple[Path, ...], jobs: int, caller: Caller, is_json: bool, settings: Settings) -> int:  # noqa: ARG001
    """Send images to TARGET: a name of the peer table, or TITLE@HOST:PORT."""
    from minipacs.services.image_files import ImageFiles
    from minipacs.services.store_report import Counts
    from minipacs.services.store_scu import store

    images = ImageFiles(paths)
    with Progress("reading the heads of files"):
        files = list(images)
    counts = Counts(len(files), len(images.skipped))
    started = perf_counter()
    try:
        with Bar(f"storing at {caller.peer}", len(files)) as bar:
            for result in store(files, caller, jobs):
                counts.add(result)
                _show(result, bar, counts, is_json)
                bar.at(counts.done, len(files))
    finally:
        seconds = perf_counter() - started
        for line in [] if is_json else counts.recap():
            click.echo(line)
        click.echo(counts.as_json(seconds) if is_json else counts.as_text(seconds))
    return OK if counts.is_success else FAILED


def _show(result: ObjectResult, bar: Bar, counts: object, is_json: bool) -> None:
    """Print an object: all of them for a script, what went wrong for a person, and each way to mend it once."""
    from minipacs.services.store_report import Counts, as_json, as_text

    assert isinstance(counts, Counts)
    if is_json:
        bar.clear()
        click.echo(as_json(result))
    elif result.reason and (result.is_tried or counts.is_new(result.reason)):
        bar.clear()
        counts.told(result)
        click.echo(as_text(result, with_fix=counts.is_new(result.fix)))
