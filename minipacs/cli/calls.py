"""What the commands that store, find, move and get have in common: whom they call, and how a failure is told."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from minipacs.cli.options import Rule, Seconds, with_settings
from minipacs.cli.targets import peer_at, tls_context
from minipacs.rules import ae_title

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.diagnosis import Diagnosis
    from minipacs.services.caller import Caller
    from minipacs.settings import Settings

_TIMEOUT = 30.0

_OPTIONS = (
    click.option(
        "--timeout",
        metavar="S",
        type=Seconds(0, min_open=True),
        default=_TIMEOUT,
        show_default=True,
        help="Seconds to wait for the connection and for each answer.",
    ),
    click.option(
        "--calling", metavar="TITLE", type=Rule("title", ae_title), help="Call as this AE title, not as ours."
    ),
    click.option("--tls", "by_tls", is_flag=True, help="Call by TLS, whatever the table says."),
    click.option("--json", "is_json", is_flag=True, help="One JSON object a line."),
)


def with_caller(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command TARGET and these options; it is handed ``caller``, ``settings`` and ``is_json``."""

    @wraps(function)
    def command(
        target: str, timeout: float, calling: str | None, by_tls: bool, settings: Settings, **kwargs: Any
    ) -> int:
        return function(caller=_caller(target, timeout, calling, by_tls, settings), settings=settings, **kwargs)

    with_options: Callable[..., int] = with_settings(command)
    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


def with_model(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --model."""
    return click.option(
        "--model",
        type=click.Choice(("patient", "study")),
        help="The information model: Patient Root or Study Root; else study, and patient for the level of patients.",
    )(function)


def chosen_model(model: str | None, level: str) -> int:
    """Return 0 for Patient Root, 1 for Study Root, which has no level of patients (PS3.4 §C.6.2).

    Raises:
        UsageError: that level is asked of it.
    """
    if model == "study" and level == "patient":
        raise click.UsageError("--model study has no level of patients: --model patient")
    return 0 if "patient" in {model, level} else 1


@contextmanager
def usage() -> Iterator[None]:
    """Take a ValueError for a fault of the command line."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _caller(target: str, timeout: float, calling: str | None, by_tls: bool, settings: Settings) -> Caller:
    peer = peer_at(target, settings)
    peer = replace(peer, tls=peer.tls or by_tls)
    tls = tls_context(settings, [peer])
    from minipacs.services.caller import Caller

    return Caller(
        peer=peer,
        calling_ae_title=calling or settings.ae_title,
        timeout=timeout,
        scp_port=settings.advertised_port,
        tls=tls,
    )


def tell_failure(words: Diagnosis) -> None:
    """Say why nothing came of it, and what to change, on standard error."""
    click.echo(f"minipacs: {words.reason} [{words.code}]", err=True)
    if words.fix:
        click.echo(f"fix: {words.fix}", err=True)
