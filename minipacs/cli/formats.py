"""What a result is printed as: the option --format, the same in every command that has it."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMATS = ("text", "json", "junit", "nagios")


def with_format(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --format, and --json for short; it is handed ``output``, one of FORMATS."""
    chosen = click.option(
        "--format",
        "output",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        help="For a person, a script, a CI server, or monitoring: one line, exit codes 0, 1, 2, 3.",
    )
    short = click.option("--json", "output", flag_value="json", help="Short for --format json.")
    return chosen(short(function))


def is_for_monitoring(arguments: Sequence[str] | None = None) -> bool:
    """Whether the command line asks for ``--format nagios``, even where it cannot be understood otherwise."""
    given: list[Any] = list(sys.argv[1:] if arguments is None else arguments)
    return "--format=nagios" in given or ("--format", "nagios") in itertools.pairwise(given)
