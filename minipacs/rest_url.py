"""The URL of a web server that we can ask, as a user types or pastes it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from minipacs import rules
from minipacs.errors import OrthancError
from minipacs.escape import escape
from minipacs.schema import Invalid

_RULE = "Orthanc's URL must be http://HOST:PORT or https://HOST:PORT, with a path if it has one"

# What the address line of a browser shows behind the root, in Orthanc Explorer and Orthanc Explorer 2.
_PAGE = re.compile(r"/(app|ui)/.*|[?#].*")


def host_in(url: str, username: str, password: str) -> str:
    """Return the host in *url*.

    Args:
        url: as the user gave it.
        username: the environment variable that holds it, for a URL must not.
        password: likewise.

    Raises:
        OrthancError: *url* is none that we can ask; the message never shows a password.
    """
    if "@" in url:
        raise OrthancError(f"{_RULE}, without user name and password: set {username} and {password}, or use netrc")
    host = _valid_host(url)
    if host is None:
        raise OrthancError(f"{_RULE}, not {escape(url) or 'empty'}{_nearest(url)}")
    return host


def _valid_host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        is_valid = parts.scheme in {"http", "https"} and port != 0 and url.isascii() and url.isprintable()
        return rules.host(host) if is_valid and " " not in url and not _PAGE.search(url) else None
    except (ValueError, Invalid):
        return None


def _nearest(url: str) -> str:
    """Return what may have been meant."""
    root = _PAGE.sub("", url if "://" in url else f"http://{url}").rstrip("/")
    return f"; did you mean {root}?" if _valid_host(root) is not None else ""
