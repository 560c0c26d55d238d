"""minipacs echo: we call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from minipacs.cli import FAILED, OK
from minipacs.cli.options import Refused, Rule, unknown_peer, with_settings
from minipacs.cli.progress import Progress
from minipacs.peers import Peer, PeerTable
from minipacs.report import echo_as_json, echo_as_text
from minipacs.rules import ae_title
from minipacs.scu import DEFAULT_TIMEOUT, echo
from minipacs.side_by_side import echo_all
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    import ssl

    from minipacs.echo_result import EchoResult
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs echo orthanc                            a peer of the table
  minipacs echo ORTHANC@127.0.0.1:4242             any AE; an IPv6 address in brackets
  minipacs echo --all --json                       every peer of the table, side by side
  minipacs echo orthanc --count 100                100 echoes on one association
  minipacs echo orthanc --wait 30                  until it answers, for 30 s at most
  minipacs echo ORTHANC@127.0.0.1:2762 --tls       by TLS, as [tls] in minipacs.toml says

\b
Exit code: 0 every target answered with success, 1 one did not, 2 usage or configuration, 130 Ctrl-C.
Outcome: success, failure, no-response, aborted, rejected, no-context, no-association, unreachable.
"""
)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every peer of the table that has a host and a port.")
@click.option("--count", metavar="N", type=click.IntRange(1), default=1, help="Echoes on one association.")
@click.option("--interval", metavar="S", type=click.FloatRange(0), default=0.0, help="Seconds between them.")
@click.option(
    "--timeout",
    metavar="S",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    help="Seconds to wait for the connection and for each answer.",
)
@click.option("--calling", metavar="TITLE", type=Rule("title", ae_title), help="Call as this AE title, not as ours.")
@click.option("--wait", metavar="S", type=click.FloatRange(0), default=0.0, help="Try again for this many seconds.")
@click.option("--tls", "by_tls", is_flag=True, help="Call by TLS, whatever the table says.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
@with_settings
def command(
    targets: tuple[str, ...],
    is_all: bool,
    count: int,
    interval: float,
    timeout: float,
    calling: str | None,
    wait: float,
    by_tls: bool,
    is_json: bool,
    settings: Settings,
) -> int:
    """Echo each TARGET: a name of the peer table, or TITLE@HOST:PORT."""
    peers = [replace(peer, tls=peer.tls or by_tls) for peer in _peers(targets, is_all, settings)]
    context = _context(settings) if any(peer.tls for peer in peers) else None

    def call(peer: Peer) -> EchoResult:
        return echo(
            peer,
            calling_ae_title=calling or settings.ae_title,
            count=count,
            interval=interval,
            timeout=timeout,
            wait=wait,
            scp_port=settings.tls.port if settings.tls.only and settings.tls.port else settings.port,
            tls=context if peer.tls else None,
        )

    worst = OK
    with Progress(f"calling {', '.join(str(peer) for peer in peers[:3])}{' …' if len(peers) > 3 else ''}") as progress:
        for result in echo_all(peers, call):
            progress.clear()
            click.echo(echo_as_json(result) if is_json else _line(result, peers))
            worst = worst if result.is_success else FAILED
    return worst


def _context(settings: Settings) -> ssl.SSLContext:
    from minipacs.tls import client_context

    return client_context(settings.tls)


def _peers(targets: tuple[str, ...], is_all: bool, settings: Settings) -> list[Peer]:
    if is_all and targets:
        raise click.UsageError("targets or --all, not both")
    if is_all:
        peers = [peer for peer in _table(settings).values() if peer.host is not None]
        if not peers:
            raise Refused(f"{settings.peers} has no peer with a host and a port")
        return peers
    if not targets:
        raise click.UsageError("no target: name a peer of the table, TITLE@HOST:PORT, or --all")
    return [_peer(target, settings) for target in targets]


def _peer(target: str, settings: Settings) -> Peer:
    if "@" in target:
        try:
            return Peer.parse(target)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    table = _table(settings)
    if target not in table:
        raise unknown_peer(target, table, settings)
    if table[target].host is None:
        raise Refused(f"peer {target} has no host and port in {settings.peers}: it only calls us")
    return table[target]


def _table(settings: Settings) -> PeerTable:
    return PeerTable.read(settings.peers) if is_there(settings.peers) else PeerTable()


def _line(result: EchoResult, peers: list[Peer]) -> str:
    """One target in aligned columns; what there is to say besides stands in lines of its own."""
    columns = []
    if width := max(len(peer.name) for peer in peers):
        columns.append(result.peer.name.ljust(width))
    columns.append(str(result.peer).ljust(max(len(str(peer)) for peer in peers)))
    columns.append(click.style(result.outcome.value, fg="green" if result.is_success else "red"))
    columns.append(echo_as_text(result))
    return "  ".join(columns)
