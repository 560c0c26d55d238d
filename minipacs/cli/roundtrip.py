"""minipacs roundtrip: does each know the other?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from minipacs.cli import FAILED, OK
from minipacs.cli.formats import with_format
from minipacs.cli.interrupt import stoppable
from minipacs.cli.options import Refused, Seconds, with_settings
from minipacs.cli.orthanc_options import orthanc_at, our_address_option, symbolic_name_option, url_option
from minipacs.cli.progress import Progress
from minipacs.cli.targets import peer_at, tls_context

if TYPE_CHECKING:
    from minipacs.leg import Leg
    from minipacs.roundtrip import Plan, RoundTrip
    from minipacs.settings import Settings

_TIMEOUT = 30.0
_COLOURS = {"passed": "green", "warned": "yellow", "failed": "red", "skipped": None}
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(
    epilog="""\b
Examples:
  minipacs roundtrip orthanc --orthanc http://127.0.0.1:8042
  minipacs roundtrip orthanc --orthanc http://127.0.0.1:8042 --register --unregister
                                                   leaves nothing behind
  minipacs roundtrip orthanc --image --orthanc http://127.0.0.1:8042
                                                   an image goes there, and comes back by C-MOVE
  minipacs roundtrip ct1 --wait-inbound 60         press Test Echo, or the like, on ct1 meanwhile
  minipacs roundtrip orthanc --orthanc https://pacs.example/orthanc --format nagios

\b
Legs: out (we echo the peer), stranger (we echo it under a title that it cannot know),
registered (what Orthanc has for us), in (the peer echoes us; our node, or the `minipacs serve`
of this user that has its port, sees it arrive). With --image: store, find, move (the peer sends
it back to our node, which needs storage: minipacs serve --storage FOLDER, or none that runs),
compare (its data set, byte by byte), remove (by --orthanc).
User name and password for Orthanc: MINIPACS_ORTHANC_USERNAME and MINIPACS_ORTHANC_PASSWORD, or netrc.
Exit code: 0 mutual, 1 not, 2 usage or configuration, 130 Ctrl-C; with --format nagios 0, 1, 2, 3.
"""
)
@click.argument("target", metavar="PEER")
@url_option(default=None)
@our_address_option
@symbolic_name_option
@click.option("--register", "registers", is_flag=True, help="Put our entry in Orthanc right first.")
@click.option("--unregister", "unregisters", is_flag=True, help="Take away at the end what --register put.")
@click.option("--skip-stranger", "skips_stranger", is_flag=True, help="Where a refused association raises an alarm.")
@click.option("--image", is_flag=True, help="Store a sample there, have it moved back, compare it, take it away.")
@click.option(
    "--wait-inbound",
    metavar="S",
    type=Seconds(0, min_open=True),
    help="Wait this many seconds for somebody to let the peer echo us.",
)
@click.option(
    "--timeout",
    metavar="S",
    type=Seconds(0, min_open=True),
    help=f"Seconds for all of it ({_TIMEOUT:g}, and what --wait-inbound says).",
)
@with_format
@with_settings
def command(
    target: str,
    url: str | None,
    our_address: str | None,
    name: str | None,
    registers: bool,
    unregisters: bool,
    skips_stranger: bool,
    image: bool,
    wait_inbound: float | None,
    timeout: float | None,
    output: str,
    settings: Settings,
) -> int:
    """Prove that PEER and we know each other: a name of the peer table, or TITLE@HOST:PORT."""
    from minipacs.roundtrip import Plan

    if registers and not url:
        raise click.UsageError("--register needs --orthanc URL: only Orthanc can be told of us")
    if unregisters and not registers:
        raise click.UsageError(
            "--unregister needs --register, and takes away what that puts; else: minipacs orthanc unregister"
        )
    plan = Plan(
        orthanc=orthanc_at(url) if url else None,
        our_address=our_address,
        name=name,
        registers=registers,
        unregisters=unregisters,
        skips_stranger=skips_stranger,
        image=image,
        wait_inbound=wait_inbound or 0.0,
        timeout=timeout or _TIMEOUT + (wait_inbound or 0.0),
    )
    return _Command(target, settings, plan, output).run()


class _Command:
    def __init__(self, target: str, settings: Settings, plan: Plan, output: str) -> None:
        self._peer = peer_at(target, settings)
        self._settings = settings
        self._plan = replace(plan, tls=tls_context(settings, [self._peer]))
        self._output = output

    def run(self) -> int:
        import logging

        from minipacs.errors import ControlError, ListenError, OrthancError
        from minipacs.roundtrip import RoundTripRun

        logging.getLogger("minipacs").addHandler(logging.NullHandler())  # what the node would log is told as legs
        if self._output == "text":
            name = f"{self._peer.name}  " if self._peer.name else ""
            click.echo(f"{name}{self._peer}")
        with stoppable(*_STOPS), Progress(f"round trip with {self._peer.ae_title}") as self._progress:
            try:
                result = RoundTripRun(self._peer, self._settings, self._plan, self._show, self._tell).run()
            except (ControlError, ListenError, OrthancError) as error:
                raise Refused(str(error)) from None
        return self._finish(result)

    def _show(self, leg: Leg) -> None:
        from minipacs.leg_report import leg_as_text

        if self._output == "text":
            self._progress.clear()
            click.echo(leg_as_text(leg, click.style(leg.outcome, fg=_COLOURS[leg.standing])))

    def _tell(self, text: str) -> None:
        self._progress.clear()
        click.echo(f"minipacs: {text}", err=True)

    def _finish(self, result: RoundTrip) -> int:
        from minipacs import leg_report

        if self._output == "nagios":
            code, line = leg_report.nagios_of_round_trip(result)
            click.echo(line)
            return code
        if self._output == "json":
            click.echo(leg_report.round_trip_as_json(result))
        elif self._output == "junit":
            click.echo(leg_report.junit_of_round_trip(result))
        else:
            click.secho(result.verdict, fg="green" if result.is_mutual else "red")
            if result.warning:
                click.echo(f"warning: {result.warning}")
        return OK if result.is_mutual else FAILED
