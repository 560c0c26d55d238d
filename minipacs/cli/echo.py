"""minipacs echo: we call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from minipacs.cli import FAILED, OK
from minipacs.cli.formats import with_format
from minipacs.cli.options import Refused, Rule, Seconds, with_settings
from minipacs.cli.progress import Progress
from minipacs.cli.targets import peer_at, table_of, tls_context
from minipacs.report import echo_as_json, echo_as_text
from minipacs.rules import ae_title, maximum_length, transfer_syntaxes
from minipacs.scu import DEFAULT_TIMEOUT, echo
from minipacs.side_by_side import echo_all
from minipacs.wire.framing import MAXIMUM_LENGTH
from minipacs.wire.verification import IMPLICIT_VR_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.echo_callbacks import EchoCallbacks
    from minipacs.echo_result import EchoResult
    from minipacs.peers import Peer
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs echo orthanc                            a peer of the table
  minipacs echo ORTHANC@127.0.0.1:4242             any AE; an IPv6 address in brackets
  minipacs echo --all --json                       every peer of the table, side by side
  minipacs echo orthanc --count 100                100 echoes on one association
  minipacs echo orthanc --wait 30                  until it answers, for 30 s at most
  minipacs echo --all --format junit > echo.xml    a test case a peer, for a CI server
  minipacs echo orthanc -v                         what both sides say when they negotiate; -vv: every byte
  minipacs echo orthanc --propose all -v           which transfer syntax does it choose?
  minipacs echo ORTHANC@127.0.0.1:2762 --tls       by TLS, as [tls] in minipacs.toml says

\b
Exit code: 0 every target answered with success, 1 one did not, 2 usage or configuration, 130 Ctrl-C;
with --format nagios 0, 1 (some echoes were answered), 2, 3.
Outcome: success, failure, no-response, aborted, rejected, no-context, no-association, unreachable.
"""
)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every peer of the table that has a host and a port.")
@click.option("--count", metavar="N", type=click.IntRange(1), default=1, help="Echoes on one association.")
@click.option("--interval", metavar="S", type=Seconds(0), default=0.0, help="Seconds between them.")
@click.option(
    "--timeout",
    metavar="S",
    type=Seconds(0, min_open=True),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    help="Seconds to wait for the connection and for each answer.",
)
@click.option("--calling", metavar="TITLE", type=Rule("title", ae_title), help="Call as this AE title, not as ours.")
@click.option("--wait", metavar="S", type=Seconds(0), default=0.0, help="Try again for this many seconds.")
@click.option(
    "--propose",
    metavar="SYNTAX",
    multiple=True,
    type=Rule("syntax", transfer_syntaxes),
    help="A transfer syntax to propose, for more than one repeated: implicit (alone, unless told otherwise), explicit, "
    "big-endian, deflated, a UID, pydicom's keyword such as JPEGBaseline8Bit, or all (those in use).",
)
@click.option("--abort", is_flag=True, help="End by A-ABORT, not by A-RELEASE.")
@click.option(
    "--pdu",
    metavar="N",
    type=Rule("length", maximum_length, int),
    default=MAXIMUM_LENGTH,
    show_default=True,
    help="The maximum length that we announce, in bytes; 0: unlimited.",
)
@click.option("--tls", "by_tls", is_flag=True, help="Call by TLS, whatever the table says.")
@click.option(
    "-v", "--verbose", count=True, help="Show the negotiation on standard error; -vv: every PDU, with its bytes."
)
@with_format
@with_settings
def command(
    targets: tuple[str, ...],
    is_all: bool,
    count: int,
    interval: float,
    timeout: float,
    calling: str | None,
    wait: float,
    propose: tuple[tuple[str, ...], ...],
    abort: bool,
    pdu: int,
    by_tls: bool,
    verbose: int,
    output: str,
    settings: Settings,
) -> int:
    """Echo each TARGET: a name of the peer table, or TITLE@HOST:PORT."""
    peers = [replace(peer, tls=peer.tls or by_tls) for peer in _peers(targets, is_all, settings)]
    context = tls_context(settings, peers)

    def call(peer: Peer, callbacks: EchoCallbacks | None = None) -> EchoResult:
        return echo(
            peer,
            calling_ae_title=calling or settings.ae_title,
            count=count,
            interval=interval,
            timeout=timeout,
            wait=wait,
            scp_port=settings.advertised_port,
            transfer_syntaxes=tuple(dict.fromkeys(uid for uids in propose for uid in uids))
            or (IMPLICIT_VR_LITTLE_ENDIAN,),
            maximum_length=pdu,
            abort=abort,
            callbacks=callbacks,
            tls=context if peer.tls else None,
        )

    seen = _Seen(call, verbose) if verbose else None
    results = []
    with Progress(f"calling {', '.join(str(peer) for peer in peers[:3])}{' …' if len(peers) > 3 else ''}") as progress:
        for result in echo_all(peers, seen or call):
            progress.clear()
            if seen is not None:
                click.echo(seen.text(result), err=True, nl=False)
            _show(result, peers, output)
            results.append(result)
    return _finish(results, output)


class _Seen:
    """Makes the calls, and keeps what passed on the wire until its turn comes to be shown."""

    def __init__(self, call: Callable[..., EchoResult], verbose: int) -> None:
        from minipacs.tracing.transcript import Transcript

        self._new = partial(Transcript, with_bytes=verbose > 1)
        self._call = call
        self._texts: dict[int, str] = {}  # by the identity of the result: one peer may be called twice

    def __call__(self, peer: Peer) -> EchoResult:
        transcript = self._new()
        result = self._call(peer, callbacks=transcript)
        heading = f"{peer.name} ({peer})" if peer.name else str(peer)
        self._texts[id(result)] = transcript.text(heading, result.observations)
        return result

    def text(self, result: EchoResult) -> str:
        return self._texts.pop(id(result))


def _peers(targets: tuple[str, ...], is_all: bool, settings: Settings) -> list[Peer]:
    if is_all and targets:
        raise click.UsageError("targets or --all, not both")
    if is_all:
        peers = [peer for peer in table_of(settings).values() if peer.host is not None]
        if not peers:
            raise Refused(f"{settings.peers} has no peer with a host and a port")
        return peers
    if not targets:
        raise click.UsageError("no target: name a peer of the table, TITLE@HOST:PORT, or --all")
    return [peer_at(target, settings) for target in targets]


def _show(result: EchoResult, peers: list[Peer], output: str) -> None:
    """Print what is printed of one target as soon as it is its turn."""
    if output == "json":
        click.echo(echo_as_json(result))
    elif output == "text":
        click.echo(_line(result, peers))


def _finish(results: list[EchoResult], output: str) -> int:
    """Print what is printed of all of them; return the exit code."""
    if output == "nagios":
        from minipacs.leg_report import nagios_of_echoes

        code, line = nagios_of_echoes(results)
        click.echo(line)
        return code
    if output == "junit":
        from minipacs.leg_report import junit_of_echoes

        click.echo(junit_of_echoes(results))
    return OK if all(result.is_success for result in results) else FAILED


def _line(result: EchoResult, peers: list[Peer]) -> str:
    """One target in aligned columns; what there is to say besides stands in lines of its own."""
    columns = []
    if width := max(len(peer.name) for peer in peers):
        columns.append(result.peer.name.ljust(width))
    columns.append(str(result.peer).ljust(max(len(str(peer)) for peer in peers)))
    columns.append(click.style(result.outcome.value, fg="green" if result.is_success else "red"))
    columns.append(echo_as_text(result))
    return "  ".join(columns)
