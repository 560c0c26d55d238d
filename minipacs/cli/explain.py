"""minipacs explain: the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minipacs.cli import OK
from minipacs.cli.options import Refused
from minipacs.diagnosis import CATALOGUE, WE_ARE_CALLED, WE_CALL, explain, find_rows
from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minipacs.catalogue import Row


@click.command(
    epilog="""\b
Examples:
  minipacs explain                             every row: its code, and what is seen
  minipacs explain rejected.calling-ae-title   what was seen, what it means, what to change
  minipacs explain rejected                    all rows of that kind
  minipacs explain --json                      one JSON object a line: code, seen, reason, fix

\b
`minipacs echo` and the log of the node show the code in brackets.
Exit code: 0, 2 for an unknown code.
"""
)
@click.argument("code", metavar="[CODE]", default="")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
def command(code: str, is_json: bool) -> int:
    """Say what the rows of the catalogue of failures mean; CODE is one of them, or the first word of several."""
    rows = find_rows(code) if code else CATALOGUE.values()
    if not rows:
        raise Refused(f"no row has the code {escape(code)}{_nearest(code)}")
    if is_json:
        click.echo("\n".join(map(_object, rows)))
    elif code:
        click.echo("\n\n".join(map(_paragraph, rows)))
    else:
        click.echo(f"When we call\n{_list(WE_CALL)}\n\nWhen we are called\n{_list(WE_ARE_CALLED)}")
    return OK


def _list(rows: Iterable[Row]) -> str:
    width = max(map(len, CATALOGUE))
    return "\n".join(f"  {row.code.ljust(width)}  {row.seen}" for row in rows)


def _paragraph(row: Row) -> str:
    told = explain(row.code)
    lines = [row.code, f"  seen:  {row.seen}", f"  means: {told.reason}"]
    return "\n".join([*lines, f"  fix:   {told.fix}"] if told.fix else lines)


def _object(row: Row) -> str:
    import msgspec

    told = explain(row.code)
    fields = {"code": row.code, "seen": row.seen, "reason": told.reason, "fix": told.fix or None}
    return msgspec.json.encode(fields).decode()


def _nearest(code: str) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(code, [*CATALOGUE, *{row.partition(".")[0] for row in CATALOGUE}], n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else "; minipacs explain lists them all"
