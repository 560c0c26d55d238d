"""What to do with the certificates of `minipacs tls init`: the lines for us, for an Orthanc and for DCMTK."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

from minipacs.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from minipacs.peers import Peer
    from minipacs.settings import Settings
    from minipacs.trial_certificates import Held

REGISTERED_PORT = 2762
"""Of DICOM by TLS (PS3.8 §9.1.1)."""


def next_steps(held: Sequence[Held], settings: Settings, file: Path | None, table: Mapping[str, Peer]) -> str:
    """Return the lines that switch mutual TLS on, ready to be copied.

    Args:
        held: the CA, ours, and those of the peers, as make_certificates() returns them.
        settings: who we are.
        file: where the settings were read; None: there is no such file yet.
        table: the peers that we know.
    """
    ca, ours, *peers = held
    port = settings.tls.port or REGISTERED_PORT
    parts = [*_our_half(ca, ours, port, file or DEFAULT_FILE)]
    for peer in peers:
        parts += _table_entry(peer.name, table, settings)
        parts += _half_of_orthanc(ca, ours, peer, settings.ae_title, port)
        parts += _half_of_dcmtk(ca, ours, peer, settings.ae_title, port, table.get(peer.name))
    return "\n".join(parts)


def _our_half(ca: Held, ours: Held, port: int, file: Path) -> Iterator[str]:
    files = {"certificate": ours.certificate, "key": ours.key, "trusted": ca.certificate}
    yield f"# {file}: these lines, for the node and for `minipacs echo`"
    yield "[tls]"
    yield from (f"{key} = {_quoted(_seen_from(file.parent, path))}" for key, path in files.items())
    yield f"port = {port}"
    yield ""


def _table_entry(name: str, table: Mapping[str, Peer], settings: Settings) -> Iterator[str]:
    if name not in table:
        yield f"# {name}: let it in, and call it by TLS"
        yield f"minipacs peers add {name} TITLE@HOST:PORT --tls{settings.peers_option}"
        yield ""
    elif not table[name].tls and table[name].host is not None:
        yield f"# {settings.peers}: one line more, so that we call it by TLS"
        yield f"[peers.{name}]"
        yield "tls = true"
        yield ""


def _half_of_orthanc(ca: Held, ours: Held, peer: Held, ae_title: str, port: int) -> Iterator[str]:
    yield f"# {peer.name} as an Orthanc: in its configuration; its user has to be able to read these files, or copies"
    yield '"DicomTlsEnabled": true,'
    yield f'"DicomTlsCertificate": {_quoted(peer.certificate.absolute())},'
    yield f'"DicomTlsPrivateKey": {_quoted(peer.key.absolute())},'
    yield f'"DicomTlsTrustedCertificates": {_quoted(ca.certificate.absolute())},'
    modality = {"AET": ae_title, "Host": ours.hosts[0], "Port": port, "UseDicomTls": True}
    yield f'"DicomModalities": {{ "minipacs": {json.dumps(modality)} }}'
    yield ""


def _half_of_dcmtk(ca: Held, ours: Held, peer: Held, ae_title: str, port: int, known: Peer | None) -> Iterator[str]:
    tls = shlex.join(["+tls", str(peer.key), str(peer.certificate), "+cf", str(ca.certificate)])
    yield f"# {peer.name} as DCMTK; in an activated environment say /usr/bin/echoscu, for pynetdicom has its own"
    calling = f" -aet {shlex.quote(known.ae_title)}" if known else ""  # else ECHOSCU, which no table may have
    yield f"echoscu {tls}{calling} -aec {shlex.quote(ae_title)} {ours.hosts[0]} {port}"
    yield f"storescp {tls} PORT"
    yield ""


def _seen_from(folder: Path, path: Path) -> str:
    """As minipacs.toml names it: relative where it is below the folder of that file."""
    relative = os.path.relpath(path, folder)
    return str(path.absolute()) if relative.startswith("..") else relative


def _quoted(path: object) -> str:
    return json.dumps(str(path), ensure_ascii=False)
