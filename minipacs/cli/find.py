"""minipacs find: we ask what a peer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, INTERRUPTED, OK
from minipacs.cli.calls import chosen_model, tell_failure, usage, with_caller, with_model
from minipacs.cli.interrupt import cancelling
from minipacs.cli.progress import Progress

if TYPE_CHECKING:
    from minipacs.services.caller import Caller
    from minipacs.settings import Settings

LEVELS = ("patient", "study", "series", "image")


@click.command(
    epilog="""\b
Examples:
  minipacs find orthanc                                      every study
  minipacs find orthanc 'PatientName=PHANTOM*'               by wildcard: * and ?
  minipacs find orthanc StudyDate=20260101-20260131          by range of dates
  minipacs find orthanc --level series StudyInstanceUID=1.2.3
  minipacs find orthanc --level image SeriesInstanceUID=1.2.4 --key Rows
  minipacs find orthanc 0008,0061=CT --json                  by tag; a match a line
  minipacs find orthanc --level series RequestAttributesSequence.ScheduledProcedureStepID=SPS1

\b
Matching is as PS3.4 C.2.2.2 has it: single values, wildcards, ranges, lists of UIDs (1.2.3\\\\1.2.4); the peer does it.
Exit code: 0 the query was answered (also by nothing), 1 it was not, 2 usage or configuration, 130 Ctrl-C.
"""
)
@click.argument("target")
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--level", type=click.Choice(LEVELS), default="study", show_default=True, help="What is asked for.")
@click.option("--key", "returned", metavar="KEY", multiple=True, help="To be told besides; for more than one repeated.")
@with_model
@with_caller
def command(
    keys: tuple[str, ...],
    level: str,
    returned: tuple[str, ...],
    model: str | None,
    caller: Caller,
    is_json: bool,
    settings: Settings,  # noqa: ARG001
) -> int:
    """Ask TARGET what it has: a name of the peer table, or TITLE@HOST:PORT."""
    from minipacs.services.find_report import as_json, as_row, as_table
    from minipacs.services.find_scu import Find
    from minipacs.services.keys import Level, asked_for, query
    from minipacs.services.sop_classes import FIND

    with usage():
        wanted = keys, Level(level.upper()), returned
        identifier, tags = query(*wanted), asked_for(*wanted)
    find = Find(caller, FIND[chosen_model(model, level)], identifier)
    rows, count = [], 0
    with cancelling(find.cancel), Progress(f"asking {caller.peer}") as progress:
        for match in find:
            count += 1
            if is_json:
                progress.clear()
                click.echo(as_json(match, tags))
            else:
                rows.append(as_row(match, tags))
    if rows:
        click.echo(as_table(rows, tags))
    if not is_json and (find.is_cancelled or find.failure is None):
        end = ", cancelled" if find.is_cancelled else ""
        click.echo(f"{count} {'match' if count == 1 else 'matches'}{end}", err=True)
    if find.is_cancelled:
        return INTERRUPTED
    if find.failure is not None:
        tell_failure(find.failure)
        return FAILED
    return OK
