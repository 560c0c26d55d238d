"""Who we are, and our deadlines and limits: conf/minipacs.toml, read once at start.

Each setting is written down once, here, with its default and its rule; the file may leave out any.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from voluptuous import Optional

from minipacs import rules, toml_file
from minipacs.errors import SettingsError
from minipacs.wire.framing import ASSOCIATE_PDU_LIMIT, MAXIMUM_LENGTH
from minipacs.wire.messages import COMMAND_SET_LIMIT

DEFAULT_FILE = Path("conf/minipacs.toml")
ENVIRONMENT_VARIABLE = "MINIPACS_CONFIG"


class Timeouts(Struct, frozen=True):
    """Deadlines of the node, in seconds.

    Attributes:
        request: from the connection to its first whole PDU, however slowly its bytes come (ARTIM, Sta2).
        pdu: from the first byte of any later PDU or message to its last.
        idle: without a byte on an association.
        close: from our last PDU to the peer's close (ARTIM, Sta13).
        stop: what is still open when the node is told to stop is aborted after this.
    """

    request: float = 5.0
    pdu: float = 10.0
    idle: float = 60.0
    close: float = 1.0
    stop: float = 1.0


class Limits(Struct, frozen=True):
    """What the node takes at most.

    Attributes:
        associate_pdu: bytes of an A-ASSOCIATE PDU.
        maximum_length: bytes of a P-DATA-TF, as we announce it (PS3.8 §D.1).
        command_set: bytes of the command set of one message.
        associations: negotiated associations at once.
        connections: TCP connections at once.
    """

    associate_pdu: int = ASSOCIATE_PDU_LIMIT
    maximum_length: int = MAXIMUM_LENGTH
    command_set: int = COMMAND_SET_LIMIT
    associations: int = 100
    connections: int = 1_000


class Settings(Struct, frozen=True):
    """Everything that minipacs.toml says.

    Attributes:
        ae_title: our AE title, as SCP and as SCU.
        host: IP address or host name to listen on.
        port: TCP port to listen on; 0: one that is free.
        peers: path of the peer table.
        timeouts: deadlines.
        limits: limits.
    """

    ae_title: str = "MINIPACS"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: Path = DEFAULT_FILE.with_name("peers.toml")
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


NODE_RULES = {
    "ae_title": rules.ae_title,
    "host": rules.host,
    "port": rules.listening_port,
    "peers": rules.path,
}

_LIMIT_RULES = {
    "associate_pdu": rules.integer(1_024, 1 << 26),
    "maximum_length": rules.integer(1_024, 1 << 26),
    "command_set": rules.integer(1_024, 1 << 26),
    "associations": rules.integer(1, 100_000),
    "connections": rules.integer(1, 100_000),
}


def _section(field_rules: dict[str, Any]) -> Any:
    return toml_file.table({Optional(name): rule for name, rule in field_rules.items()})


_FILE = toml_file.table(
    {
        Optional("node"): _section(NODE_RULES),
        Optional("timeouts"): _section(dict.fromkeys(Timeouts.__struct_fields__, rules.seconds)),
        Optional("limits"): _section(_LIMIT_RULES),
    }
)


def find_file(given: str | None) -> Path | None:
    """Return the settings file to read: *given*, else $MINIPACS_CONFIG, else conf/minipacs.toml if there is one."""
    named = given or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    return DEFAULT_FILE if toml_file.is_there(DEFAULT_FILE) else None


def read_settings(path: Path | None) -> Settings:
    """Return the settings in the TOML file at *path*; the defaults for None.

    Raises:
        SettingsError: with every fault of the file.
    """
    if path is None:
        return Settings()
    content = toml_file.parse(toml_file.read_bytes(path, SettingsError), str(path), _FILE, SettingsError)
    node = content.get("node", {})
    settings = Settings(
        timeouts=Timeouts(**content.get("timeouts", {})),
        limits=Limits(**content.get("limits", {})),
        **{name: value for name, value in node.items() if name != "peers"},
    )
    return replace(settings, peers=path.parent / node.get("peers", "peers.toml"))
