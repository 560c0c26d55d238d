"""minipacs serve: the node, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

import click

from minipacs import log
from minipacs.cli.options import with_settings
from minipacs.listener import Listener
from minipacs.peers import counted
from minipacs.reload import LivePeerTable, Reload
from minipacs.tls import server_context
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    from minipacs.settings import Settings

logger = logging.getLogger("minipacs")


@click.command(
    epilog="""\b
Examples:
  minipacs serve
  minipacs serve --port 0 --log-format json       any free port; the first line of output tells which
  minipacs serve --ae-title TEST --host 0.0.0.0   on every IPv4 address of this machine

\b
Save the peer table and it is in force; SIGHUP reads it at once. SIGTERM or Ctrl-C stops the node.
Exit code: 0 stopped, 2 usage or configuration, 3 cannot listen.
"""
)
@with_settings
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of standard error.")
@click.option("-v", "--verbose", count=True, help="Log more, such as connections without a byte.")
def command(settings: Settings, log_format: str, verbose: int) -> int:
    """Listen, admit the peers of the table, answer their echoes."""
    log.configure(log_format, debug=verbose > 0)
    asyncio.run(_Node(settings, is_json=log_format == "json").run())
    return 0


class _Node:
    def __init__(self, settings: Settings, *, is_json: bool) -> None:
        self._settings = settings
        self._is_json = is_json
        self._stop = asyncio.Event()

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        live = LivePeerTable(self._settings.peers, self._reloaded)
        tls = None if self._settings.tls.port is None else server_context(self._settings.tls)
        self._listener = Listener(self._settings, lambda: live.current, tls=tls)
        with live:
            port = await self._listener.start()
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop.set)
            self._loop.add_signal_handler(signal.SIGHUP, live.reload)
            self._announce(port, live)
            await self._stop.wait()
            await self._listener.stop()
        logger.info("stopped", extra={"event": "stopped", "fields": {}})

    def _announce(self, port: int, live: LivePeerTable) -> None:
        settings, count = self._settings, len(live.current)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        peers = f"{counted(count)} from {settings.peers}"
        tls_port = self._listener.tls_port
        tls = "" if tls_port is None else f"TLS on port {tls_port}, " if tls_port != port else "by TLS alone, "
        click.echo(f"minipacs: {settings.ae_title} listening on {host}:{port}, {tls}{peers}")
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

    def _reloaded(self, reload: Reload) -> None:
        """Called in the thread that reads the table."""
        if reload.faults:
            logger.error("%s", reload, extra={"event": "peers-invalid", "fields": {"errors": reload.faults}})
            return
        fields = {name: getattr(reload, name) for name in ("added", "removed", "changed", "count")}
        logger.info("%s", reload, extra={"event": "peers-reloaded", "fields": fields})
        self._loop.call_soon_threadsafe(self._listener.peers_changed)
