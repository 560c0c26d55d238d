"""minipacs get: we fetch images from a peer, over the association by which we ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs.cli.calls import usage, with_caller, with_model
from minipacs.cli.retrieving import request, run, with_level

if TYPE_CHECKING:
    from minipacs.services.caller import Caller
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs get orthanc StudyInstanceUID=1.2.3 --output study
  minipacs get orthanc SOPInstanceUID=1.2.5 --output .

\b
Each object becomes FOLDER/<SOP Instance UID>.dcm, as TARGET stores it: it is asked before, by C-FIND, what it has.
A file is there when it is whole and on the disk. What is there under that name and is otherwise stays.
An object whose UIDs are others than were announced is not kept. We count the files, whatever TARGET says.
They come over the association that is asked on: no node of ours, no registration of our address is needed.
Exit code: 0 every object is here, 1 one is not, TARGET counts otherwise, or there was none, 2 usage or
configuration, 130 Ctrl-C, SIGTERM or SIGHUP.
"""
)
@click.argument("target")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option(
    "--output",
    metavar="FOLDER",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where they go; made where it is not there.",
)
@with_level
@with_model
@with_caller
def command(
    keys: tuple[str, ...],
    output: Path,
    level: str | None,
    model: str | None,
    caller: Caller,
    is_json: bool,
    settings: Settings,  # noqa: ARG001
) -> int:
    """Fetch from TARGET what has these keys: PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID."""
    from minipacs.services.retrieve_scu import Get

    with usage():
        identifier, sop_class = request("get", keys, level, model)
    return run(Get(caller, sop_class, identifier, output), f"getting from {caller.peer}", is_json)
