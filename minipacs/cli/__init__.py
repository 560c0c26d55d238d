"""The command line: one file a command, imported when that command is called. The library does the work."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import NoReturn

import click

from minipacs import __version__
from minipacs.cli.decoders import leave_out_decoders
from minipacs.cli.formats import is_for_monitoring
from minipacs.cli.interrupt import stoppable
from minipacs.errors import FileError, ListenError, MinipacsError
from minipacs.process import SIGNALS

OK, FAILED, USAGE, CANNOT_LISTEN, INTERRUPTED = 0, 1, 2, 3, 130
UNKNOWN = 3  # of a monitoring plugin

# Name → what it does, in the order of `minipacs --help`. The command is `command` in minipacs.cli.NAME.
_COMMANDS = {
    "serve": "Listen, admit the peers of the table, answer their echoes.",
    "status": "Ask the node that runs here how it is.",
    "echo": "Echo peers and say why when that fails.",
    "store": "Send images to a peer.",
    "find": "Ask what images a peer has.",
    "move": "Have a peer send images to us, or to another.",
    "get": "Fetch images from a peer.",
    "roundtrip": "Prove that a peer and we know each other.",
    "explain": "Say what a failure means and what to change.",
    "peers": "List, check and edit the peer table.",
    "orthanc": "Read and edit what an Orthanc knows of us.",
    "storage": "List and show the images that are stored.",
    "tls": "Make certificates for TLS, to try it out.",
    "init": "Write a commented conf/ to begin with.",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for: starting time is felt in every script."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"minipacs.cli.{name}").command
        gc.freeze()  # what is imported is no garbage; what the command makes may be
        gc.enable()
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.NoSuchCommand as error:  # click looks for the nearest among the commands that are imported
            raise click.NoSuchCommand(error.command_name, possibilities=_COMMANDS, ctx=context) from None

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  minipacs serve                            a node, with the peers of conf/peers.toml
  minipacs echo orthanc                     echo a peer of the table
  minipacs echo ORTHANC@127.0.0.1:4242      echo any AE
  minipacs roundtrip orthanc --orthanc http://127.0.0.1:8042   does each know the other?
  minipacs store orthanc samples/images     send images
  minipacs find orthanc 'PatientName=P*'    ask what it has
  minipacs explain rejected                 what such a failure means, and what to change
  minipacs peers add ct1 CT1@10.0.0.5:104   admit it, and know where it is
""",
)
@click.version_option(__version__, prog_name="minipacs", message="%(prog)s %(version)s")
def cli() -> None:
    """A bidirectional DICOM test node: it is pinged, it pings back, and it says why when that fails."""


def main() -> NoReturn:
    """Run the command line, and exit with a code that tells the truth."""
    leave_out_decoders()
    try:
        with nullcontext() if SIGNALS.are_held else stoppable(signal.SIGTERM, signal.SIGHUP):
            code = cli.main(standalone_mode=False, color=False if os.environ.get("NO_COLOR") else None)
    except (click.ClickException, MinipacsError, OSError) as error:
        code = _tell(error)
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


def _tell(error: Exception) -> int:
    """Say what is wrong, and return the exit code for it."""
    if isinstance(error, BrokenPipeError):  # `minipacs … | head`
        sys.stderr.close()
        return FAILED
    if is_for_monitoring():  # which reads standard output, and takes 2 for a peer that fails
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        line = "; ".join(text.splitlines()).replace("|", "/")  # behind a bar, times are read
        click.echo(f"MINIPACS UNKNOWN - {line}")
        return UNKNOWN
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, FileError):
        for fault in error.faults:
            click.echo(fault, err=True)
        return USAGE
    click.echo(f"minipacs: {error}", err=True)
    return CANNOT_LISTEN if isinstance(error, ListenError) else FAILED  # a disk that is full, a folder not ours
