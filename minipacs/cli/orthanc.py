"""minipacs orthanc: the other half of the registration, in Orthanc."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.in_force import no_wait_option, wait_until_in_force
from minipacs.cli.options import Refused, with_settings
from minipacs.cli.orthanc_options import DEFAULT_URL, orthanc_at, our_address_option, symbolic_name_option, url_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minipacs.orthanc import Orthanc
    from minipacs.peer_file import GrowingTable
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


class Failed(Refused):
    """What was asked for could not be had."""

    exit_code = FAILED


@contextmanager
def _asking() -> Iterator[None]:
    """Tell in one line of an Orthanc that cannot be asked, or that refuses, or that cannot know us as we are."""
    from minipacs.errors import OrthancError, RegistrationError

    try:
        yield
    except RegistrationError as error:
        raise Refused(str(error)) from None
    except OrthancError as error:
        raise Failed(str(error)) from None


def _wanted(orthanc: Orthanc | None, settings: Settings, our_address: str | None, name: str | None) -> Wanted:
    from minipacs.registration import wanted

    place = (settings.ae_title, settings.host, settings.advertised_port, our_address)
    return wanted(orthanc, name, *place, uses_tls=settings.tls.only)


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
    from minipacs import orthanc_report

    with _asking():
        us = _wanted(None, settings, our_address, name)
    click.echo(orthanc_report.snippet(us))
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
        before = f" (it was {registration.replaced})" if registration.replaced else ""
        click.echo(f'{orthanc.url}: "{symbol}" is {us} now{before}; {FORGOTTEN}')
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
@symbolic_name_option
@with_settings
def unregister(url: str, name: str | None, settings: Settings) -> int:
    """Take our entry away from Orthanc's modalities."""
    from minipacs.escape import escape

    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.registration import COMES_BACK, ours_to_remove

        modalities = orthanc.modalities()
        symbol = ours_to_remove(modalities, settings.ae_title, name)
        if symbol is None:
            which = f'nobody is "{escape(name)}"' if name else f"nobody is called {settings.ae_title}"
            click.echo(f"{orthanc.url}: {which}; nothing was taken away")
            return OK
        orthanc.unregister(symbol)
    click.echo(f'{orthanc.url}: "{symbol}" ({modalities[symbol]}) is taken away; {COMES_BACK}')
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
    from minipacs import orthanc_report

    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.registered_leg import compare

        us = _wanted(orthanc, settings, our_address, name)
        system = orthanc.system()
        symbol, outcome, words = compare(orthanc.url, us, orthanc.modalities())
    if is_json:
        click.echo(orthanc_report.check_as_json(orthanc.url, system, symbol, outcome, words))
    else:
        click.echo(orthanc_report.system_as_text(system))
        click.echo(f"{click.style(outcome, fg='green' if outcome == 'right' else 'red')}: {words.reason}")
        if words.fix:
            click.echo(f"fix: {words.fix}")
    return OK if outcome == "right" else FAILED


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
@no_wait_option
@with_settings
def import_(url: str, with_modalities: bool, no_wait: bool, settings: Settings) -> int:
    """Add Orthanc to our peer table, with the AE title and port that it tells."""
    orthanc = orthanc_at(url)
    with _asking():
        from minipacs.orthanc_peers import peers_of

        found = peers_of(orthanc, settings.ae_title, with_modalities=with_modalities)
    from minipacs.peer_file import growing

    with growing(settings.peers) as table:
        lines = [_take(name, peer, table, settings) for name, peer in found]
    for line, is_error in lines:
        click.echo(line, err=is_error)
    taken = OK if not table.added else wait_until_in_force([settings.peers], no_wait=no_wait)
    return max(taken, FAILED if any(is_error for _, is_error in lines) else OK)


def _take(name: str, peer: Peer | ValueError, table: GrowingTable, settings: Settings) -> tuple[str, bool]:
    """Add a peer, unless it is there; return what there is to say of it, and whether it cannot be added."""
    from minipacs.orthanc_peers import why_not_to_add

    if isinstance(peer, ValueError):
        return f"{name}: not taken: {peer}", True
    known = table.with_ae_title(peer.ae_title)
    if known is not None and (known.host, known.port) == (peer.host, peer.port):
        return f"{settings.peers}: {known.name} is {known} already", False
    if why_not := why_not_to_add(table, peer, settings.peers_option):
        return f"{name}: not taken: in {settings.peers} {why_not}", True
    table.add(peer)
    return f"{settings.peers}: added {peer.name}, {peer}", False
