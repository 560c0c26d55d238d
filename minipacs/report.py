"""Results as a person or a script reads them. It prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minipacs.rules import network_text

if TYPE_CHECKING:
    from minipacs.echo_result import EchoResult
    from minipacs.peers import Peer


def peer_as_json(peer: Peer) -> str:
    """Return a peer as one JSON object."""
    return _json(
        {
            "name": peer.name,
            "ae_title": peer.ae_title,
            "host": peer.host,
            "port": peer.port,
            "allow_from": [network_text(network) for network in peer.allow_from],
            "tls": peer.tls,
            "tls_name": peer.tls_name,
        }
    )


def echo_as_json(result: EchoResult) -> str:
    """Return the result of an echo as one JSON object; what was not reached is null."""
    peer = result.peer
    return _json(
        {
            "peer": peer.name or None,
            "ae_title": peer.ae_title,
            "host": peer.host,
            "port": peer.port,
            "outcome": result.outcome,
            "status": None if result.status is None else f"0x{result.status:04X}",
            "reason": result.reason or None,
            "fix": result.fix or None,
            "observations": result.observations,
            "connect_ms": _rounded(result.connect_ms),
            "associate_ms": _rounded(result.associate_ms),
            "echo_ms": _rounded(result.echo_ms),
            "release_ms": _rounded(result.release_ms),
            "total_ms": _rounded(result.total_ms),
            "echoes": result.echoes,
        }
    )


def echo_as_text(result: EchoResult) -> str:
    """Return what came of an echo, behind the name of the peer: times, or the reason and what to change."""
    lines = [_times(result) if result.is_success else result.reason]
    if not result.is_success and result.requested > 1 and result.echo_times_ms:
        lines.append(f"echoes: {_echoes(result)}")
    if result.fix:
        lines.append(f"fix: {result.fix}")
    if result.observations:
        lines.append(f"observed: {'; '.join(result.observations)}")
    return "\n".join(lines)


def _times(result: EchoResult) -> str:
    phases = [("connect", result.connect_ms), ("associate", result.associate_ms)]
    if result.requested == 1:
        phases.append(("echo", result.echo_ms))
    phases.append(("release", result.release_ms))
    parts = ", ".join(f"{name} {time:.1f}" for name, time in phases if time is not None)
    echoes = f"; {_echoes(result)}" if result.requested > 1 else ""
    return f"{result.total_ms:.1f} ms ({parts}){echoes}"


def _echoes(result: EchoResult) -> str:
    shortest, longest = min(result.echo_times_ms), max(result.echo_times_ms)
    return (
        f"{result.echoes} of {result.requested} answered, {result.loss:.0%} lost, "
        f"{shortest:.2f} / {result.echo_ms:.2f} / {longest:.2f} ms (minimum / median / maximum)"
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _json(value: dict[str, object]) -> str:
    return msgspec.json.encode(value).decode()
