"""minipacs tls: certificates for trying TLS out."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minipacs import rules
from minipacs.cli.in_force import no_wait_option, wait_until_in_force
from minipacs.escape import escape
from minipacs.schema import Invalid
from minipacs.settings import DEFAULT_FILE, find_file, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minipacs.peers import Peer
    from minipacs.settings import Settings
    from minipacs.trial_certificates import Held

_MOST_DAYS = 3650

_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - nobody is called by them


@click.group(
    name="tls",
    epilog="""\b
Examples:
  minipacs tls init                a small CA, our certificate, and one for the peer orthanc
  minipacs tls init --peer ct1     one more, of the same CA
""",
)
def command() -> None:
    """Make certificates for TLS, to try it out."""


@command.command(
    epilog="""\b
Examples:
  minipacs tls init                                 ours and orthanc's, in conf/tls
  minipacs tls init --host 10.0.0.4 --host node.test   ours is for these, where peers call us
  minipacs tls init --peer ct1 --peer pacs@10.0.0.6    of the same CA, for two peers more
  minipacs tls init --renew                         all that are there anew: same keys, a new date

\b
A file that is there is kept, and used. The CA is valid for ten years. The keys have no password: their mode is 0600.
Exit code: 0 all is there, and in force in a node that runs here with it; 1 not in force there; 2 usage, or a file that
cannot be written or used; then nothing was written.
"""
)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Host name or IP address in our certificate, by which peers call us; can be repeated. Else 127.0.0.1, ::1, "
    "localhost, host of the settings, and this machine's name.",
)
@click.option(
    "--peer",
    "peers",
    metavar="NAME[@HOST]",
    multiple=True,
    help="A peer, and the host that its certificate is for, else as the peer table says, else as 127.0.0.1; can be "
    "repeated. Without it orthanc, or those that are there.",
)
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=365,
    show_default=True,
    help="How long the certificates are valid.",
)
@click.option("--renew", is_flag=True, help="Issue those that are there anew, for the same keys.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a certificate, without the next steps.")
@no_wait_option
@click.option("--config", metavar="FILE", help="Settings; else $MINIPACS_CONFIG, else conf/minipacs.toml.")
def init(
    folder: Path | None,
    hosts: tuple[str, ...],
    peers: tuple[str, ...],
    days: int,
    renew: bool,
    is_json: bool,
    no_wait: bool,
    config: str | None,
) -> int:
    """Make a small CA, our certificate and one for each peer, into FOLDER (tls beside minipacs.toml)."""
    from minipacs.cli.targets import table_of
    from minipacs.trial_certificates import NODE, is_new, make_certificates, peers_in

    ours = tuple(dict.fromkeys(_host(host) for host in hosts))
    named = _peers(peers)
    file = find_file(config)
    settings = read_settings(file)
    table = table_of(settings)
    folder = folder or (file or DEFAULT_FILE).parent / "tls"
    if not named:
        named = dict.fromkeys(peers_in(folder) or (("orthanc",) if is_new(folder) else ()), ())
    wanted = {NODE: ours} | named
    defaults = {NODE: _hosts_of_this_machine(settings)} | {name: _hosts_in(table, name) for name in named}
    held = make_certificates(folder, wanted, defaults=defaults, days=days, renew=renew)
    for one in held:
        if is_json:
            click.echo(_as_json(one))
        else:
            _tell(one)
        _warn(one, wanted.get(one.name, ()))
    if not is_json:
        from minipacs.tls_guide import next_steps

        click.echo(f"\n{next_steps(held, settings, file, table)}", nl=False)
    return wait_until_in_force([one.certificate for one in held if one.action == "renewed"], no_wait=no_wait)


def _host(host: str) -> str:
    """A host name or IP address that a certificate can hold."""
    try:
        name = rules.host(host)
        if "%" in name:
            raise Invalid("must be an IP address without a zone")
    except Invalid as broken:
        raise click.UsageError(f"host: {broken.msg}, not {escape(repr(host))}") from None
    return name.rstrip(".")


def _peers(given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names, each with the hosts that were given for it."""
    from minipacs.trial_certificates import is_reserved

    named: dict[str, tuple[str, ...]] = {}
    for peer in given:
        name, at, host = peer.partition("@")
        try:
            rules.peer_name(name)
        except Invalid as broken:
            raise click.UsageError(f"peer: {broken.msg}, not {escape(repr(name))}") from None
        if is_reserved(name):
            raise click.UsageError(
                f"peer: must not be ca or node, nor end in -key, not {name!r}: its file has that name"
            )
        named[name] = named.get(name, ()) + ((_host(host),) if at else ())
    return named


def _hosts_of_this_machine(settings: Settings) -> tuple[str, ...]:
    """What peers may call us by: loopback, where the node listens, and the name of this machine where it has one."""
    from socket import gethostname

    from minipacs.trial_certificates import LOOPBACK

    hosts = [*LOOPBACK]
    for host in (settings.host, gethostname()):
        with suppress(click.UsageError):
            hosts.append(_host(host))
    return tuple(host for host in dict.fromkeys(hosts) if host not in _ANY_ADDRESS)


def _hosts_in(table: Mapping[str, Peer], name: str) -> tuple[str, ...]:
    """What we check the certificate of that peer for, when we call it."""
    if name not in table:
        return ()
    peer = table[name]
    return tuple(dict.fromkeys(_host(host) for host in (peer.tls_name, peer.host) if host is not None))


def _tell(held: Held) -> None:
    hosts = f"for {', '.join(held.hosts)}, " if held.hosts else ""
    click.echo(f"{held.action} {held.certificate}: {hosts}until {held.not_after:%Y-%m-%d}, {held.fingerprint}")
    if held.is_key_written:
        click.echo(f"written {held.key}")


def _warn(held: Held, hosts: Iterable[str]) -> None:
    """Of what the files that were kept do not do, and of what the new ones can."""
    from minipacs.trial_certificates import CA

    path = held.certificate
    if held.action == "kept" and hosts and {*hosts} != {*held.hosts}:
        names = ", ".join(held.hosts) or "nobody"
        click.echo(f"minipacs: {path} is kept, for {names}; --renew makes it for {', '.join(hosts)}", err=True)
    if held.not_after <= datetime.now(UTC):
        fix = "begin anew in another folder" if held.name == CA else "minipacs tls init --renew"
        click.echo(f"minipacs: {path} has expired: {fix}", err=True)
    if held.name == CA and held.is_key_written:
        click.echo(
            f"minipacs: {held.key}: who has it can pass for anybody here; put it away until another peer comes",
            err=True,
        )


def _as_json(held: Held) -> str:
    import msgspec

    paths = {"certificate": str(held.certificate.absolute()), "key": str(held.key.absolute())}
    return msgspec.json.encode(msgspec.structs.asdict(held) | paths).decode()
