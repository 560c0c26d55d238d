"""minipacs orthanc: the other half of the registration, in Orthanc."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.options import Refused, with_settings
from minipacs.cli.orthanc_options import DEFAULT_URL, orthanc_at, our_address_option, symbolic_name_option, url_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.orthanc import Orthanc
    from minipacs.peers import Peer
    from minipacs.registration import Wanted
    from minipacs.settings import Settings


@click.group(
    name="orthanc",
    epilog="""\b
Examples:
  minipacs orthanc snippet                         what to paste into its configuration
  minipacs orthanc check                           what the Orthanc on this machine knows of us
  minipacs orthanc register --orthanc http://pacs:8042
  minipacs orthanc import --modalities             it and whom it knows, into our peer table

\b
User name and password: MINIPACS_ORTHANC_USERNAME and MINIPACS_ORTHANC_PASSWORD, or netrc.
Exit code: 0 done or right, 1 not, 2 usage or configuration.
""",
)
def command() -> None:
    """Read and edit what an Orthanc knows of us, by its REST API."""


def _of_us(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that say what Orthanc has to know of us."""
    return our_address_option(symbolic_name_option(with_settings(function)))  # type: ignore[no-any-return]


@contextmanager
def _asking() -> Iterator[None]:
    """Tell of an Orthanc that cannot be asked, or that refuses, in one line."""
    from minipacs.errors import OrthancError

    try:
        yield
    except OrthancError as error:
        raise Failed(str(error)) from None


class Failed(Refused):
    """What was asked for could not be had."""

    exit_code = FAILED


def _wanted(orthanc: Orthanc | None, settings: Settings, our_address: str | None, name: str | None) -> Wanted:
    from minipacs.errors import OrthancError
    from minipacs.registration import wanted

    try:
        return wanted(orthanc, name, settings.ae_title, our_address or settings.host, settings.port)
    except OrthancError as error:
        raise Refused(str(error)) from None


@command.command(
    epilog="""\b
Examples:
  minipacs orthanc snippet
  minipacs orthanc snippet --host 0.0.0.0 --our-address 10.0.0.7
"""
)
@_of_us
def snippet(our_address: str | None, name: str | None, settings: Settings) -> int:
    """Print the lines that make Orthanc know us, for its configuration file, in both forms that it takes."""
    from minipacs.report import as_json

    us = _wanted(None, settings, our_address, name)
    array = as_json([us.ae_title, us.host, us.port])
    fields = as_json({"AET": us.ae_title, "Host": us.host, "Port": us.port, "AllowEcho": True})
    click.echo(
        '// One of these two, in Orthanc\'s configuration; a "DicomModalities" that is there gets the inner line.'
    )
    click.echo(f'"DicomModalities" : {{\n  "{us.name}" : {array}\n}}')
    click.echo("\n// Since Orthanc 1.5.0, where more is to be said:")
    click.echo(f'"DicomModalities" : {{\n  "{us.name}" : {fields}\n}}')
    return OK


@command.command(
    epilog="""\b
Examples:
  minipacs orthanc register
  minipacs orthanc register --orthanc http://pacs:8042/orthanc --our-address 10.0.0.7
"""
)
@url_option(default=DEFAULT_URL)
@click.option("--replace", is_flag=True, help="Also where an entry of that name has another AE title.")
@_of_us
def register(url: str, replace: bool, our_address: str | None, name: str | None, settings: Settings) -> int:
    """Put our entry among Orthanc's modalities right; what else stands in it stays."""
    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.registration import FORGOTTEN, Registration

        us = _wanted(orthanc, settings, our_address, name)
        registration = Registration(orthanc, us)
        symbol = registration.put(replace=replace)
    if registration.has_put:
        click.echo(f'{orthanc.url}: "{symbol}" is {us} now; {FORGOTTEN}')
    else:
        click.echo(f'{orthanc.url}: "{symbol}" is {us} already')
    return OK


@command.command(
    epilog="""\b
Examples:
  minipacs orthanc unregister
  minipacs orthanc unregister --orthanc http://pacs:8042 --name minipacs
"""
)
@url_option(default=DEFAULT_URL)
@_of_us
def unregister(url: str, our_address: str | None, name: str | None, settings: Settings) -> int:
    """Take our entry away from Orthanc's modalities."""
    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.registration import ours_to_remove

        us = _wanted(orthanc, settings, our_address, name)
        symbol = ours_to_remove(orthanc.modalities(), us, name)
        if symbol is None:
            click.echo(f"{orthanc.url}: nobody is called {us.ae_title}; nothing was taken away")
            return OK
        orthanc.unregister(symbol)
    click.echo(f'{orthanc.url}: "{symbol}" is taken away')
    return OK


@command.command(
    epilog="""\b
Examples:
  minipacs orthanc check
  minipacs orthanc check --orthanc http://pacs:8042 --json | jq .settings
"""
)
@url_option(default=DEFAULT_URL)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@_of_us
def check(url: str, is_json: bool, our_address: str | None, name: str | None, settings: Settings) -> int:
    """Say what Orthanc says of itself, and whether it has us right."""
    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.registered_leg import compare
        from minipacs.registration import find

        us = _wanted(orthanc, settings, our_address, name)
        system, modalities = orthanc.system(), orthanc.modalities()
        symbol = find(modalities, us)
        outcome, words = compare(orthanc.url, us, symbol, None if symbol is None else modalities[symbol])
    if is_json:
        _print_json(orthanc.url, system.settings, symbol, outcome, words)
    else:
        click.echo(f"{system.name or 'Orthanc'}: {system.ae_title} on port {system.port}, Orthanc {system.version}")
        for key, value in system.settings.items():
            click.echo(f"  {_safe(key)}: {_safe(value)}")
        click.secho(f"{outcome}: {words.reason}", fg="green" if outcome == "right" else "red")
        if words.fix:
            click.echo(f"fix: {words.fix}")
    return OK if outcome == "right" else FAILED


def _print_json(url: str, settings: Any, symbol: str | None, outcome: str, words: Any) -> None:
    from minipacs.report import as_json

    click.echo(
        as_json(
            {
                "url": url,
                "name": symbol,
                "outcome": outcome,
                "reason": words.reason,
                "fix": words.fix or None,
                "settings": settings,
            }
        )
    )


def _safe(value: object) -> str:
    from minipacs.escape import escape

    return escape(str(value))


@command.command(
    name="import",
    epilog="""\b
Examples:
  minipacs orthanc import                          the Orthanc on this machine
  minipacs orthanc import --orthanc http://pacs:8042 --modalities
""",
)
@url_option(default=DEFAULT_URL)
@click.option("--modalities", "with_modalities", is_flag=True, help="Whom it knows, too.")
@with_settings
def import_(url: str, with_modalities: bool, settings: Settings) -> int:
    """Add Orthanc to our peer table, with the AE title and port that it tells."""
    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.orthanc_peers import peers_of

        found = peers_of(orthanc, settings.ae_title, with_modalities=with_modalities)
    worst = OK
    for name, peer in found:
        worst = max(worst, _take(name, peer, settings))
    return worst


def _take(name: str, peer: Peer | ValueError, settings: Settings) -> int:
    """Add a peer, unless it is there."""
    from minipacs.cli.targets import table_of
    from minipacs.errors import PeerTableError
    from minipacs.peer_file import add_peer

    if isinstance(peer, ValueError):
        click.echo(f"{name}: not taken: {peer}", err=True)
        return FAILED
    known = table_of(settings).with_ae_title(peer.ae_title)
    if known is not None and (known.host, known.port) == (peer.host, peer.port):
        click.echo(f"{settings.peers}: {known.name} is {known} already")
        return OK
    try:
        add_peer(settings.peers, peer)
    except PeerTableError as error:
        for fault in error.faults:
            click.echo(fault, err=True)
        return FAILED
    click.echo(f"{settings.peers}: added {peer.name}, {peer}")
    return OK
