"""Who we are, and our deadlines and limits: conf/minipacs.toml, read once at start.

Each setting is written down once, here, with its default and its rule; the file may leave out any.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from minipacs import rules, schema, toml_file
from minipacs.errors import SettingsError
from minipacs.schema import Fault, Invalid
from minipacs.wire.framing import ASSOCIATE_PDU_LIMIT, MAXIMUM_LENGTH
from minipacs.wire.messages import COMMAND_SET_LIMIT

DEFAULT_FILE = Path("conf/minipacs.toml")
DEFAULT_PEERS = DEFAULT_FILE.with_name("peers.toml")
ENVIRONMENT_VARIABLE = "MINIPACS_CONFIG"


class Timeouts(Struct, frozen=True):
    """Deadlines of the node, in seconds.

    Attributes:
        request: from the connection to its first whole PDU, however slowly its bytes come (ARTIM, Sta2).
        pdu: from the first byte of any later PDU or message to its last.
        idle: without a byte on an association.
        close: from our last PDU to the peer's close (ARTIM, Sta13).
        stop: what is still open when the node is told to stop is aborted after this.
        handshake: from the connection to the end of its TLS handshake, however slowly it comes.
    """

    request: float = 5.0
    pdu: float = 10.0
    idle: float = 60.0
    close: float = 1.0
    stop: float = 1.0
    handshake: float = 5.0


class Limits(Struct, frozen=True):
    """What the node takes at most.

    Attributes:
        associate_pdu: bytes of an A-ASSOCIATE PDU.
        maximum_length: bytes of a P-DATA-TF, as we announce it (PS3.8 §D.1).
        command_set: bytes of the command set of one message.
        associations: negotiated associations at once.
        connections: TCP connections at once.
        associations_per_peer: of these associations, those of one peer.
        handshakes: TLS connections at once that have begun their handshake and hold no association.
        unfinished: bytes of association requests that are not whole, of all connections together.
    """

    associate_pdu: int = ASSOCIATE_PDU_LIMIT
    maximum_length: int = MAXIMUM_LENGTH
    command_set: int = COMMAND_SET_LIMIT
    associations: int = 100
    connections: int = 1_000
    associations_per_peer: int = 50
    handshakes: int = 200
    unfinished: int = 1 << 23


class TLS(Struct, frozen=True):
    """How we speak TLS (PS3.15 §B.12); the files are PEM.

    Attributes:
        certificate: ours, with those between it and its CA behind it; None: we have none to show.
        key: its private key; None together with *certificate*.
        trusted: the certificates of the CAs that we trust, or of the peers themselves; empty: those that the system
            trusts, when we call.
        require_client_certificate: whether a peer that calls us has to show a certificate of one of these CAs; if it
            need not, one that it shows is verified all the same, where there are any.
        minimum_version: ``1.2`` or ``1.3``.
        port: TCP port of our SCP for TLS; 0: one that is free; None: it speaks no TLS.
        only: whether the SCP listens for TLS alone, and not on the port for plain DICOM.
    """

    certificate: Path | None = None
    key: Path | None = None
    trusted: tuple[Path, ...] = ()
    require_client_certificate: bool = True
    minimum_version: str = "1.2"
    port: int | None = None
    only: bool = False


class StorageLimits(Struct, frozen=True):
    """What is kept at most.

    Attributes:
        free: bytes of the file system that are left free; what would take them is refused with 0xA700.
        object_size: bytes of the file of one object; likewise.
        objects: how many objects; likewise.
        keep: ``all``, or ``newest``: the oldest give way where *free* or *objects* is reached.
    """

    free: int = 1 << 30
    object_size: int = 4 << 30
    objects: int = 100_000
    keep: str = "all"


class Storage(Struct, frozen=True):
    """The services beyond Verification, and where their objects are.

    Attributes:
        folder: where objects are kept; None: there is nothing but Verification.
        any_sop_class: whether objects of private and unknown SOP classes are taken as well.
        overwrite: whether an object takes the place of another one with its UID; else the first is kept.
        limits: what is kept at most.
    """

    folder: Path | None = None
    any_sop_class: bool = False
    overwrite: bool = False
    limits: StorageLimits = StorageLimits()


class Settings(Struct, frozen=True):
    """Everything that minipacs.toml says.

    Attributes:
        ae_title: our AE title, as SCP and as SCU.
        host: IP address or host name to listen on.
        port: TCP port to listen on; 0: one that is free.
        peers: path of the peer table.
        timeouts: deadlines.
        limits: limits.
        tls: how we speak TLS.
        allow_from: IP addresses and networks from which connections are taken, on every port; empty: any.
        storage: the services beyond Verification.
    """

    ae_title: str = "MINIPACS"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: Path = DEFAULT_PEERS
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    tls: TLS = TLS()
    allow_from: tuple[rules.Network, ...] = ()
    storage: Storage = Storage()

    @property
    def peers_option(self) -> str:
        """The option, after a space, by which another command means the same peer table; empty for the usual one."""
        from shlex import quote

        return "" if self.peers == DEFAULT_PEERS else f" --peers {quote(str(self.peers.absolute()))}"

    @property
    def advertised_port(self) -> int:
        """The port where peers are to call us."""
        return self.tls.port if self.tls.only and self.tls.port is not None else self.port


NODE_RULES = {
    "ae_title": rules.ae_title,
    "host": rules.host,
    "port": rules.listening_port,
    "peers": rules.path,
    "allow_from": rules.networks,
}

_LIMIT_RULES = {
    "associate_pdu": rules.integer(1_024, 1 << 26),
    "maximum_length": rules.integer(1_024, 1 << 26),
    "command_set": rules.integer(1_024, 1 << 26),
    "associations": rules.integer(1, 100_000),
    "connections": rules.integer(1, 100_000),
    "associations_per_peer": rules.integer(1, 100_000),
    "handshakes": rules.integer(1, 100_000),
    "unfinished": rules.integer(1_024, 1 << 30),
}

_TLS_RULES = {
    "certificate": rules.path,
    "key": rules.path,
    "trusted": rules.one_or_more(rules.path),
    "require_client_certificate": rules.boolean,
    "minimum_version": rules.one_of("1.2", "1.3"),
    "port": rules.listening_port,
    "only": rules.boolean,
}


_STORAGE_RULES = {
    "folder": rules.path,
    "any_sop_class": rules.boolean,
    "overwrite": rules.boolean,
    "free": rules.integer(0, 1 << 60),
    "object_size": rules.integer(1_024, 1 << 50),
    "objects": rules.integer(1, 100_000_000),
    "keep": rules.one_of("all", "newest"),
}


def _what_tls_needs(fields: object) -> None:
    """A node without its certificate speaks no TLS, and one that trusts nobody admits no client certificate."""
    if not isinstance(fields, dict):
        return
    needs = {"certificate": ["key"], "key": ["certificate"], "port": ["certificate"]}
    needs["only"] = ["port"] if fields.get("only") is True else []
    if fields.get("require_client_certificate", True) is True:
        needs["port"].append("trusted")
    faults: dict[str, Fault] = {}
    for key, others in needs.items():
        for other in others if key in fields else ():
            if other not in fields:
                faults.setdefault(other, Fault(f"must be given beside {key}", (other,), is_missing=True))
    if faults:
        raise Invalid(*faults.values())


_FILE = schema.table(
    {
        "node": schema.table(NODE_RULES),
        "timeouts": schema.table(dict.fromkeys(Timeouts.__struct_fields__, rules.seconds)),
        "limits": schema.table(_LIMIT_RULES),
        "storage": schema.table(_STORAGE_RULES),
        "tls": schema.every(_what_tls_needs, schema.table(_TLS_RULES)),
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
        tls=_tls(content.get("tls", {}), path.parent),
        storage=_storage(content.get("storage", {}), path.parent),
        **{name: value for name, value in node.items() if name != "peers"},
    )
    return replace(settings, peers=path.parent / node.get("peers", "peers.toml"))


def _storage(fields: dict[str, Any], folder: Path) -> Storage:
    """What the section says; its folder is found from the *folder* of the settings file."""
    limits = {name: value for name, value in fields.items() if name in StorageLimits.__struct_fields__}
    others = {name: value for name, value in fields.items() if name not in limits}
    place = {"folder": folder / fields["folder"]} if "folder" in fields else {}
    return Storage(**(others | place), limits=StorageLimits(**limits))


def _tls(fields: dict[str, Any], folder: Path) -> TLS:
    """What the section says; its files are found from the *folder* of the settings file."""
    files = {name: folder / fields[name] for name in ("certificate", "key") if name in fields}
    trusted = tuple(folder / name for name in fields.get("trusted", ()))
    return TLS(**(fields | files | {"trusted": trusted}))
