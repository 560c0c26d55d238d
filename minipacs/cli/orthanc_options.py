"""The options of every command that asks an Orthanc, each written down here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from minipacs.cli.options import Refused, Rule
from minipacs.rules import host

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.orthanc import Orthanc

DEFAULT_URL = "http://127.0.0.1:8042"


def url_option(default: str | None) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return the option that names an Orthanc, by default that one."""
    where = f" ({default})" if default else ""
    return click.option(
        "--orthanc",
        "url",
        metavar="URL",
        default=default,
        envvar="MINIPACS_ORTHANC_URL",
        help=f"Orthanc's web server, with its path prefix; else $MINIPACS_ORTHANC_URL{where}.",
    )


our_address_option: Callable[[Any], Any] = click.option(
    "--our-address",
    metavar="HOST",
    type=Rule("host", host),
    help="Where Orthanc reaches our SCP, as in a container; else where it listens.",
)

symbolic_name_option: Callable[[Any], Any] = click.option(
    "--name", metavar="NAME", help="Of our entry among Orthanc's modalities; else made of our AE title."
)


def orthanc_at(url: str) -> Orthanc:
    """Return the Orthanc at *url*; nothing is asked yet.

    Raises:
        Refused: that is no URL of one.
    """
    from minipacs.errors import OrthancError
    from minipacs.orthanc import Orthanc

    try:
        return Orthanc(url)
    except OrthancError as error:
        raise Refused(str(error)) from None
