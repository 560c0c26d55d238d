"""minipacs serve: the node, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from minipacs import __version__, log, rules
from minipacs.certificate import shown, validity
from minipacs.cli.options import Rule, with_settings
from minipacs.control_server import ControlServer, Followed
from minipacs.descriptors import make_room
from minipacs.flood_log import AT_ONCE, FloodLog
from minipacs.listener import Listener
from minipacs.live_tls import Credentials, LiveTLS, Renewal
from minipacs.node_status import ListedPeer, NodeStatus, TableStatus, tls_as_text
from minipacs.peers import PeerTable, counted
from minipacs.process import SIGNALS
from minipacs.reload import LivePeerTable, Reload
from minipacs.timestamp import rfc3339
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from minipacs.connection import Connection
    from minipacs.listening import Watch
    from minipacs.services.node_services import NodeServices
    from minipacs.settings import Settings

logger = logging.getLogger("minipacs")

_DAY = 86_400.0  # seconds

_SWITCH = 0.001
"""Seconds after which a thread that reads a table has to let the loop run. Python's own 5 ms would be waited for four
times in an echo: when it comes, and behind each call of the system."""


@click.command(
    epilog="""\b
Examples:
  minipacs serve
  minipacs serve --port 0 --log-format json       any free port; the first line of output tells which
  minipacs serve --ae-title TEST --host 0.0.0.0   on every IPv4 address of this machine
  minipacs serve --storage objects                store what peers send, find and send it
  minipacs serve -v                               what both sides say when they negotiate; -vv: every byte

\b
Save the peer table and it is in force; SIGHUP reads it at once. SIGTERM or Ctrl-C stops the node.
Exit code: 0 stopped, 2 usage or configuration, 3 cannot listen.
"""
)
@with_settings
@click.option(
    "--storage",
    metavar="FOLDER",
    type=Rule("folder", rules.path),
    help="Store objects there, and answer queries for them; in place of [storage] folder.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of standard error.")
@click.option(
    "-v", "--verbose", count=True, help="Log more: each negotiation, connections without a byte; -vv: each PDU."
)
def command(settings: Settings, storage: str | None, log_format: str, verbose: int) -> int:
    """Listen, admit the peers of the table, answer their echoes; store what they send, if told where."""
    log.configure(log_format, debug=verbose > 0)
    sys.setswitchinterval(_SWITCH)
    if storage is not None:
        settings = replace(settings, storage=replace(settings.storage, folder=Path(storage)))
    try:
        asyncio.run(_Node(settings, verbose, is_json=log_format == "json").run())
    finally:
        log.close()
    return 0


def _watch(verbose: int) -> Callable[[Connection], Watch | None]:
    if not verbose:
        return lambda _: None
    from minipacs.tracing.log import WireLog

    return WireLog(with_bytes=verbose > 1).watch


def _for_services(settings: Settings) -> int:
    """Return the descriptors that associations handed over take besides: a socket pair, a bell of two, and a file."""
    return 0 if settings.storage.folder is None else 5 * settings.limits.associations


def _services(
    settings: Settings, peers: Callable[[], PeerTable], client_context: Callable[[], ssl.SSLContext] | None
) -> NodeServices | None:
    if settings.storage.folder is None:
        return None
    from minipacs.services.node_services import NodeServices

    threading.excepthook = _thread_failed
    return NodeServices(settings, peers, client_context)


def _thread_failed(failure: threading.ExceptHookArgs, told: FloodLog = FloodLog()) -> None:  # noqa: B008 - one for all
    """Tell it in a line of the log: standard error is read by programs."""
    if failure.exc_value is not None:
        kind = type(failure.exc_value).__name__
        told.log(kind, logging.ERROR, "what served an association failed", failure.exc_value, AT_ONCE)


@contextmanager
def _closing(services: NodeServices | None) -> Iterator[None]:
    try:
        yield
    finally:
        if services is not None:
            services.stop()


def _warn_of_validity(credentials: Credentials) -> None:
    warning = credentials.warning(datetime.now(UTC))
    if warning:
        logger.warning("TLS: %s", warning)


def _as_text(said: object) -> str:
    """Return *said* as JSON can carry it: the name of a file may be no text."""
    return str(said).encode(errors="backslashreplace").decode()


class _Node:
    def __init__(self, settings: Settings, verbose: int, *, is_json: bool) -> None:
        self._settings = settings
        self._watch = _watch(verbose)
        self._is_json = is_json
        self._stop = asyncio.Event()
        self._started = rfc3339(time())
        self._listed: tuple[PeerTable, tuple[ListedPeer, ...]] = (PeerTable(), ())

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        live = LivePeerTable(self._settings.peers, self._reloaded)
        tls = None if self._settings.tls.port is None else LiveTLS(self._settings.tls, self._renewed)
        services = _services(self._settings, live.now, None if tls is None else tls.client_context)
        forget = None if services is None else services.files.remove
        followed: list[Followed] = [live] if tls is None else [live, tls]
        control = ControlServer(lambda: self._status(port, live, tls), forget, followed)
        self._listener = Listener(
            self._settings,
            lambda: live.current,
            control.tell,
            watch=self._watch,
            tls=tls,
            services=services,
            up_to_date=live.is_up_to_date,
        )
        steps = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._stop.set)
        steps[signal.SIGHUP] = partial(self._reload, live, tls)
        with SIGNALS.led_to(self._loop, steps), live, tls or nullcontext(), _closing(services):
            port = await self._listener.start()
            try:
                if amiss := make_room(self._settings.limits.connections, _for_services(self._settings)):
                    logger.warning("%s", amiss)
                await control.start(self._listener.addresses[0], port)
                self._announce(port, live)
                self._look_at_validity(tls)
                await self._stop.wait()
                control.withdraw()  # before the port is free for the next node
                await self._listener.stop()
            finally:
                await control.stop()
        logger.info("stopped", extra={"event": "stopped", "fields": {}})

    def _announce(self, port: int, live: LivePeerTable) -> None:
        settings, count = self._settings, len(live.current)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        peers = f"{counted(count)} from {settings.peers}"
        tls_port = self._listener.tls_port
        tls = tls_as_text(port, tls_port)
        log.say(f"minipacs: {settings.ae_title} listening on {host}:{port}{tls}, {peers}")
        if self._is_json:  # in text, the line above says it on the same terminal
            fields = {"ae_title": settings.ae_title, "host": settings.host, "port": port, "count": count}
            fields |= {} if tls_port is None else {"tls_port": tls_port}
            logger.info("listening", extra={"event": "listening", "fields": fields})
        if not count:
            add = "minipacs peers add NAME TITLE@HOST:PORT"
            why, how = (
                ("has no peers", add) if is_there(settings.peers) else ("is not there", f"minipacs init, or {add}")
            )
            logger.warning("nobody is admitted: %s %s; begin with: %s", settings.peers, why, how)

    def _look_at_validity(self, tls: LiveTLS | None) -> None:
        """Warn, once a day, of a certificate of ours that is about to end."""
        if tls is not None:
            _warn_of_validity(tls.current)
            self._loop.call_later(_DAY, self._look_at_validity, tls)

    def _status(self, port: int, live: LivePeerTable, tls: LiveTLS | None) -> NodeStatus:
        settings, table, reload = self._settings, live.current, live.last_reload
        return NodeStatus(
            ae_title=settings.ae_title,
            host=settings.host,
            addresses=self._listener.addresses,
            port=port,
            tls_port=self._listener.tls_port,
            pid=os.getpid(),
            version=__version__,
            started=self._started,
            peers=TableStatus(
                file=_as_text(settings.peers.absolute()),
                count=len(table),
                last_reload=replace(reload, faults=tuple(map(_as_text, reload.faults))),
                watch_error=None if live.watch_error is None else _as_text(live.watch_error),
                table=self._list(table),
            ),
            associations=self._listener.associations,
            tls=None if tls is None else replace(tls.status, faults=tuple(map(_as_text, tls.status.faults))),
            storage=None if settings.storage.folder is None else _as_text(settings.storage.folder.absolute()),
        )

    def _list(self, table: PeerTable) -> tuple[ListedPeer, ...]:
        """List the table, once for all who ask: 5 000 peers take 150 ms, in which no peer would be served."""
        if self._listed[0] is not table:
            self._listed = table, tuple(map(ListedPeer.of, table.values()))
        return self._listed[1]

    @staticmethod
    def _reload(*live: LivePeerTable | LiveTLS | None) -> None:
        for files in live:
            if files is not None:
                files.reload()

    @staticmethod
    def _renewed(renewal: Renewal) -> None:
        """Called in the thread that reads the files of TLS."""
        if renewal.faults:
            logger.error("%s", renewal, extra={"event": "tls-invalid", "fields": {"errors": renewal.faults}})
            return
        certificate = renewal.credentials.certificate
        fields = {"certificate": shown(certificate), "not_after": rfc3339(validity(certificate)[1].timestamp())}
        logger.info("%s", renewal, extra={"event": "tls-reloaded", "fields": fields})
        _warn_of_validity(renewal.credentials)

    def _reloaded(self, reload: Reload) -> None:
        """Called in the thread that reads the table."""
        if reload.faults:
            logger.error("%s", reload, extra={"event": "peers-invalid", "fields": {"errors": reload.faults}})
            return
        fields = {name: getattr(reload, name) for name in ("added", "removed", "changed", "count")}
        logger.info("%s", reload, extra={"event": "peers-reloaded", "fields": fields})
        self._loop.call_soon_threadsafe(self._listener.peers_changed)
