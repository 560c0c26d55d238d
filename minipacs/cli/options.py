"""The options that every command has, each written down here and nowhere else."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from minipacs.cli import USAGE
from minipacs.escape import escape
from minipacs.rules import MOST_SECONDS
from minipacs.schema import Invalid
from minipacs.settings import NODE_RULES, find_file, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from minipacs.peers import Peer
    from minipacs.settings import Settings


class Refused(click.ClickException):
    """What was asked for cannot be, for what our files say; the command line itself is right."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        """Say so in one line, without the usage."""
        click.echo(f"minipacs: {self.format_message()}", file=file, err=file is None)


class Rule(click.ParamType[Any]):
    """An option value that keeps one of our rules."""

    def __init__(self, name: str, rule: Callable[[object], Any], read: Callable[[str], object] = str) -> None:
        self.name = name
        self._rule = rule
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as the rule makes it, or fail with the rule and the value."""
        try:
            return self._rule(self._read(value))
        except Invalid as broken:
            self.fail(f"{broken.msg}, not {escape(str(value))}", param, ctx)
        except ValueError:
            self.fail(f"must be a number, not {escape(str(value))}", param, ctx)


class Seconds(click.FloatRange):
    """A time in seconds: as its base, but for inf and nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with the rule and the value."""
        seconds: float = super().convert(value, param, ctx)
        if not seconds <= MOST_SECONDS:  # and nan is not
            self.fail(f"must be at most {MOST_SECONDS} seconds, not {seconds:g}", param, ctx)
        return seconds


_OPTIONS = (
    click.option(
        "--config",
        metavar="FILE",
        help="Settings; else $MINIPACS_CONFIG, else conf/minipacs.toml if there is one, else the defaults.",
    ),
    click.option(
        "--peers",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The peer table; else as the settings say (conf/peers.toml).",
    ),
    click.option(
        "--ae-title", metavar="TITLE", type=Rule("title", NODE_RULES["ae_title"]), help="Our AE title (MINIPACS)."
    ),
    click.option(
        "--host", metavar="HOST", type=Rule("host", NODE_RULES["host"]), help="Where our SCP listens (127.0.0.1)."
    ),
    click.option(
        "--port",
        metavar="PORT",
        type=Rule("port", NODE_RULES["port"], int),
        help="Its TCP port (11112); 0: a free one.",
    ),
)


def with_settings(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the common options, and hand it the settings that they make."""

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> int:
        given = {name: kwargs.pop(name) for name in ("config", "peers", "ae_title", "host", "port")}
        context = click.get_current_context()
        if context.parent is not None:  # `minipacs peers --config FILE check` is `minipacs peers check --config FILE`
            given = {name: context.parent.params.get(name) if value is None else value for name, value in given.items()}
        settings = read_settings(find_file(given.pop("config")))
        settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
        if settings.tls.only and given["port"] is not None:  # the one port that there is
            settings = replace(settings, tls=replace(settings.tls, port=given["port"]))
        return function(*args, settings=settings, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def unknown_peer(name: str, table: Mapping[str, Peer], settings: Settings) -> Refused:
    """Return the error for a name that the table does not have, with the nearest that it has."""
    return Refused(f"no peer is called {escape(name)} in {settings.peers}{_nearest(name, table)}")


def _nearest(name: str, table: Iterable[str]) -> str:
    from difflib import get_close_matches

    names = list(table)
    if not names:
        return "; it has no peers: minipacs peers add NAME TITLE@HOST:PORT, or call TITLE@HOST:PORT"
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else f"; it has {', '.join(sorted(names)[:10])}"
