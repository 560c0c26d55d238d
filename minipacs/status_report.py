"""The status of a node as its administrator reads it in the middle of the night. It prints nothing itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from minipacs.association_record import use_as_text
from minipacs.node_status import changes_as_text, tls_as_text
from minipacs.peers import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minipacs.node_status import AssociationsStatus, NodeStatus, TableReload, TLSStatus

_RESULTS = {
    "loaded": "read at the start",
    "reloaded": "reloaded",
    "valid-again": "valid again, and as it was",
    "invalid": "INVALID: the last good {what} stays in force",
    "missing": "NOT THERE: the last good {what} stays in force",
}


def status_as_text(status: NodeStatus, now: datetime | None = None) -> str:
    """Return the status of a node: who and where, its table, its associations.

    Args:
        status: what the node says.
        now: the time from which "ago" counts; by default the present.
    """
    now = now or datetime.now(UTC)
    host = f"[{status.host}]" if ":" in status.host else status.host
    tls = tls_as_text(status.port, status.tls_port)
    lines = [
        f"{status.ae_title} listening on {host}:{status.port}{tls}, up {_elapsed(status.started, now)} "
        f"(pid {status.pid}, minipacs {status.version})",
        *_tls(status.tls, now),
        *_table(status, now),
        *_associations(status.associations, now),
    ]
    return "\n".join(lines)


def _tls(tls: TLSStatus | None, now: datetime) -> Iterator[str]:
    if tls is None:
        return
    yield f"TLS: {tls.certificate}, valid until {tls.not_after[:10]}"
    if tls.warning is not None:
        yield f"  {tls.warning}"
    yield f"  {_RESULTS[tls.result].format(what='certificate')} ({_local(tls.time)}, {_elapsed(tls.time, now)} ago)"
    yield from (f"  {fault}" for fault in tls.faults)


def _table(status: NodeStatus, now: datetime) -> Iterator[str]:
    peers, reload = status.peers, status.peers.last_reload
    ago = f"{_local(reload.time)}, {_elapsed(reload.time, now)} ago"
    yield f"peers: {counted(peers.count)} from {_short(peers.file)}"
    yield f"  {_RESULTS[reload.result].format(what='table')}{_changes(reload)} ({ago})"
    yield from (f"  {fault}" for fault in reload.faults)
    if peers.watch_error is not None:
        yield f"  changes are not seen by themselves ({peers.watch_error}): kill -HUP {status.pid} to have it read"
    if not peers.count:
        yield "  nobody is admitted; begin with: minipacs peers add NAME TITLE@HOST:PORT"


def _changes(reload: TableReload) -> str:
    text = changes_as_text(reload.added, reload.removed, reload.changed)
    return f": {text}" if text else ""


def _associations(associations: AssociationsStatus, now: datetime) -> Iterator[str]:
    yield f"open: {_plural(len(associations.open), 'association')}, {_plural(associations.connections, 'connection')}"
    for one in associations.open:
        who = f"{one.calling_ae_title}@{one.address}"
        who = f"{one.peer} ({who})" if one.peer else who
        done = f", {', '.join(use_as_text(one))}" if one.services else ""
        lasts = f"{_plural(one.echoes, 'echo', 'echoes')}{done}, for {_elapsed(one.since, now)}"
        yield f"  {who} -> {one.called_ae_title}: {lasts}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in associations.counts.items())
    silent, refused = associations.silent_connections, associations.refused_connections
    without = f"; {_plural(silent, 'connection')} without a byte" if silent else ""
    closed = f"; {_plural(refused, 'connection')} from addresses outside allow_from" if refused else ""
    yield f"ended: {counts}{without}{closed}"
    for ended in reversed(associations.last):
        yield f"  {_local(ended.time)}  {replace(ended, fix=None)}"
        if ended.fix:
            yield f"    fix: {ended.fix}"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _elapsed(since: str, now: datetime) -> str:
    """Return the time since then in its two largest units."""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (count, _) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2])


def _short(file: str) -> str:
    """Return the path as it is typed here, when it is in the working folder or below."""
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
