"""What `minipacs move` and `minipacs get` have in common: what is asked for, and what is told of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from minipacs.cli import FAILED, INTERRUPTED, OK
from minipacs.cli.calls import chosen_model, tell_failure
from minipacs.cli.interrupt import cancelling
from minipacs.cli.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minipacs.services.retrieve_scu import Get, Move

    Command = TypeVar("Command", bound=Callable[..., object])

_LEVELS = ("patient", "study", "series", "image")


def with_level(function: Command) -> Command:
    """Give a command --level."""
    choice = click.Choice(_LEVELS)
    return click.option("--level", type=choice, help="Whose entities; else the lowest of which a key is given.")(
        function
    )


def request(service: str, keys: Iterable[str], level: str | None, model: str | None) -> tuple[Any, str]:
    """Return the identifier and the SOP class of a ``move`` or ``get``.

    Raises:
        ValueError: a key or a value is none.
        UsageError: the model has no such level.
    """
    from minipacs.services.keys import Level, retrieval
    from minipacs.services.sop_classes import SOP_CLASSES

    identifier = retrieval(keys, Level(level.upper()) if level else None)
    return identifier, SOP_CLASSES[service][chosen_model(model, identifier.QueryRetrieveLevel.lower())]


def run(retrieval: Move | Get, text: str, is_json: bool) -> int:
    """Carry it out, and tell of it; return the exit code."""
    from minipacs.services.retrieve_report import as_json, as_text

    with cancelling(retrieval.cancel), Bar(text) as bar, closing(iter(retrieval)) as responses:
        for counts in responses:
            bar.at(counts.done, counts.total)
    if is_json or retrieval.total or retrieval.failure is None:
        click.echo(as_json(retrieval) if is_json else as_text(retrieval))
    if retrieval.is_cancelled:
        return INTERRUPTED
    if retrieval.failure is not None:
        if not is_json:
            tell_failure(retrieval.failure)
        return FAILED
    return OK
