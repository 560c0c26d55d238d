"""minipacs status: what the node that runs here says of itself."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from minipacs.cli import FAILED, OK
from minipacs.cli.options import with_settings

if TYPE_CHECKING:
    from minipacs.node_status import NodeStatus
    from minipacs.settings import Settings


@click.command(
    epilog="""\b
Examples:
  minipacs status                       the node of conf/minipacs.toml, else on 127.0.0.1 port 11112
  minipacs status --port 11113          another one
  minipacs status --json | jq .associations.counts

\b
The node is asked through a local socket that its user alone may use.
Exit code: 0 it answers, 1 none of yours runs there, 2 usage or configuration.
"""
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def command(is_json: bool, settings: Settings) -> int:
    """Ask the node that runs here how it is: its peer table, its associations, and why some failed."""
    from minipacs.control_client import running_node, running_nodes
    from minipacs.errors import ControlError

    try:
        node = running_node(settings.host, settings.advertised_port)
        status = node.status() if node else None
    except ControlError as error:
        click.echo(f"minipacs: {error}", err=True)
        return FAILED
    if status is None:
        click.echo(f"minipacs: no node of yours runs on {settings.host} port {settings.advertised_port}", err=True)
        others = list(running_nodes())
        for other in others:
            click.echo(
                f"{other.ae_title} runs on {other.host} port {other.port}: {_how_to_ask(other, settings)}", err=True
            )
        if not others:
            click.echo("start one: minipacs serve", err=True)
        return FAILED
    if is_json:
        import msgspec

        click.echo(msgspec.json.encode(status).decode())
    else:
        from minipacs.status_report import status_as_text

        click.echo(status_as_text(status))
    return OK


def _how_to_ask(node: NodeStatus, settings: Settings) -> str:
    host = "" if node.host == settings.host else f" --host {shlex.quote(node.host)}"
    return f"minipacs status{host} --port {node.port}"
