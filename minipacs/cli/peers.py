"""minipacs peers: the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs import rules
from minipacs.cli import OK
from minipacs.cli.in_force import no_wait_option, wait_until_in_force
from minipacs.cli.options import Rule, unknown_peer, with_settings
from minipacs.peers import Peer, PeerTable, counted
from minipacs.rules import network, network_text, peer_name

if TYPE_CHECKING:
    from minipacs.rules import Network
    from minipacs.settings import Settings


_EXIT_CODES = (
    "Exit code: 0 done, and in force in a node that runs here with that table; 1 done, and not in force there; "
    "2 usage, or a file that cannot be edited."
)


@click.group(
    name="peers",
    invoke_without_command=True,
    epilog="""\b
Examples:
  minipacs peers                                   the table
  minipacs peers check                             is the file valid? every fault, a line each
  minipacs peers add ct1 CT1@10.0.0.5:104          admit CT1, and know where to call it
  minipacs peers add ct2 CT2 --allow-from 10.0.0.0/24   one that only calls us, from there
  minipacs peers remove ct1
""",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
@with_settings
@click.pass_context
def command(context: click.Context, is_json: bool, settings: Settings) -> int:
    """List the peer table; check and edit it."""
    if context.invoked_subcommand is None:
        return _list(settings, is_json)
    return OK


def _list(settings: Settings, is_json: bool) -> int:
    from minipacs.report import peer_as_json

    table = PeerTable.read(settings.peers)
    width = max((len(name) for name in table), default=0)
    for name, peer in table.items():
        if is_json:
            click.echo(peer_as_json(peer))
        else:
            where = f"  from {', '.join(map(network_text, peer.allow_from))}" if peer.allow_from else ""
            how = f"{'  tls' if peer.tls else ''}{'  tied to its certificate' if peer.certificate else ''}"
            how += f"  may {' '.join(peer.services)}" if peer.services is not None else ""
            click.echo(f"{name.ljust(width)}  {peer}{how}{where}")
    if not table:
        click.echo(f"{settings.peers} has no peers: nobody is admitted", err=True)
    return OK


@command.command(
    epilog="Example: minipacs peers check new.toml && mv new.toml conf/peers.toml\n\nExit code: 0 valid, 2 not."
)
@click.argument("file", metavar="[FILE]", required=False)
@with_settings
def check(file: str | None, settings: Settings) -> int:
    """Say whether FILE (else the table of the settings) is valid."""
    path = Path(file) if file else settings.peers
    table = PeerTable.read(path)
    click.echo(f"{path}: valid, {counted(len(table))}")
    return OK


@command.command(
    epilog="""\b
Examples:
  minipacs peers add ct1 CT1@10.0.0.5:104
  minipacs peers add ct1 'CT 1@[fd00::5]:104'           an IPv6 address in brackets
  minipacs peers add ct2 CT2 --allow-from 10.0.0.0/24   one that only calls us, from there
  minipacs peers add pacs PACS@10.0.0.6:2762 --tls      one that we call by TLS
  minipacs peers add ct3 CT3 --certificate CN=ct3       one that has to show that certificate
  minipacs peers add ct4 CT4 --services echo,store      one that may send objects, and fetch none

"""
    + _EXIT_CODES
)
@click.argument("name", type=Rule("name", peer_name))
@click.argument("target", metavar="TITLE[@HOST:PORT]")
@click.option(
    "--allow-from",
    metavar="NETWORK",
    multiple=True,
    type=Rule("network", network),
    help="IP address or network that it may call from; can be repeated. Without it: any.",
)
@click.option("--tls", is_flag=True, help="Call it by TLS.")
@click.option(
    "--certificate",
    metavar="TIE",
    multiple=True,
    type=Rule("certificate", rules.certificate),
    help="Tie it to its certificate: sha256:<fingerprint>, or a subject such as CN=ct1; can be repeated.",
)
@click.option(
    "--services",
    metavar="SERVICES",
    type=Rule("services", rules.services, lambda text: text.replace(",", " ").split()),
    help="What it may use of echo, store, find, move, get, joined by commas; without it: all that the node has.",
)
@no_wait_option
@with_settings
def add(
    name: str,
    target: str,
    allow_from: tuple[Network, ...],
    tls: bool,
    certificate: tuple[str, ...],
    services: tuple[str, ...] | None,
    no_wait: bool,
    settings: Settings,
) -> int:
    """Add the peer NAME; leave out @HOST:PORT for one that only calls us."""
    from msgspec.structs import replace

    from minipacs.peer_file import add_peer

    try:
        more = {"allow_from": allow_from, "tls": tls, "certificate": certificate, "services": services}
        peer = replace(Peer.parse(target, name), **more)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    add_peer(settings.peers, peer)
    click.echo(f"{settings.peers}: added {name}, {peer}")
    return wait_until_in_force([settings.peers], no_wait=no_wait)


@command.command(epilog=f"Example: minipacs peers remove ct1\n\n{_EXIT_CODES}")
@click.argument("name")
@no_wait_option
@with_settings
def remove(name: str, no_wait: bool, settings: Settings) -> int:
    """Remove the peer NAME."""
    from minipacs.peer_file import remove_peer

    try:
        remove_peer(settings.peers, name)
    except KeyError:
        raise unknown_peer(name, PeerTable.read(settings.peers), settings) from None
    click.echo(f"{settings.peers}: removed {name}")
    return wait_until_in_force([settings.peers], no_wait=no_wait)
