"""minipacs move: we have a peer send images to somebody, or to our own node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minipacs.cli.calls import usage, with_caller, with_model
from minipacs.cli.options import Rule
from minipacs.cli.retrieving import request, run, with_level
from minipacs.rules import ae_title

if TYPE_CHECKING:
    from minipacs.services.caller import Caller
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs move orthanc StudyInstanceUID=1.2.3               to our own node: minipacs serve --storage FOLDER
  minipacs move orthanc StudyInstanceUID=1.2.3 --to PACS     to another AE that orthanc knows
  minipacs move orthanc PatientID=4711                       all that it has of a patient

\b
The peer looks the destination up in its own table and calls it there: each has to know the other.
Exit code: 0 every object arrived, 1 one did not or there was none, 2 usage or configuration, 130 Ctrl-C.
"""
)
@click.argument("target")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--to", "destination", metavar="TITLE", type=Rule("title", ae_title), help="To whom (our own AE title).")
@with_level
@with_model
@with_caller
def command(
    keys: tuple[str, ...],
    destination: str | None,
    level: str | None,
    model: str | None,
    caller: Caller,
    is_json: bool,
    settings: Settings,
) -> int:
    """Have TARGET send what has these keys: PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID."""
    from minipacs.services.retrieve_scu import Move

    to = destination or settings.ae_title
    with usage():
        identifier, sop_class = request("move", keys, level, model)
    return run(Move(caller, sop_class, identifier, to), f"moving from {caller.peer} to {to}", is_json)
