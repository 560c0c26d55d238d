"""What a command changes in the files of a node that runs is in force when it returns, or it says that it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from minipacs import control_place
from minipacs.cli import FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PATIENCE = 5.0
"""Seconds for which a node has time. It takes 1.3 s at the most, where it is not sure that a file is whole."""

_PATIENCE_OF_STRANGERS = 1.0


def no_wait_option(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command that edits files of a node the option not to wait for it."""
    option: Any = click.option(
        "--no-wait", is_flag=True, help="Do not wait until a node that runs here has what was changed in force."
    )
    return option(function)  # type: ignore[no-any-return]


def wait_until_in_force(files: Sequence[Path], *, no_wait: bool) -> int:
    """Wait until every node of this user that follows one of *files* has in force what they say now.

    Returns:
        The exit code: 0 when it has, or no such node runs; 1, with a line that says so, when one has not.
    """
    if no_wait:
        click.echo("minipacs: not waited for: a node that runs takes it up in a moment, if at all", err=True)
        return OK
    paths = [str(file.absolute()) for file in files]
    followed = {node: _followed(node, paths) for node, _, _ in control_place.sockets()}
    return max((_ask(node, some) for node, some in followed.items() if some), default=OK)


def _followed(node: Path, files: Sequence[str]) -> list[str]:
    """Return those files of a node that are among *files*, by that name or another."""
    noted = control_place.noted_files(node)
    if noted is None:  # a node of an earlier version: it is asked for its table
        from minipacs.control_client import NodeControl
        from minipacs.errors import ControlError

        try:
            noted = (NodeControl(node, _PATIENCE_OF_STRANGERS).status().peers.file,)
        except ControlError:
            return []
    return [one for one in noted if any(control_place.is_same(one, other) for other in files)]


def _ask(node: Path, files: Sequence[str]) -> int:
    from minipacs.control_client import GoneError, NodeControl
    from minipacs.errors import ControlError

    try:
        faults = NodeControl(node, _PATIENCE).take_up(files)
    except GoneError:  # it has ended without having removed its socket
        return OK
    except ControlError as error:
        click.echo(f"minipacs: written, and not known to be in force: {error}", err=True)
        return FAILED
    for fault in faults:
        click.echo(f"minipacs: written, and not in force in the node at {node.stem}: {fault}", err=True)
    return FAILED if faults else OK
