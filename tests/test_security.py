"""The five lines of the README's chapter on security, on a node that runs: who still gets in, and who does not."""

import json
import re
import ssl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from minipacs import EchoResult, Peer, echo
from minipacs.certificate import fingerprint
from minipacs.tls import client_context

from .certificates import Authority, Identity
from .peers.node import Node, serving
from .raw import is_closed_unread

README = (Path(__file__).parents[1] / "README.md").read_text()
SOMEBODY_ELSE = "127.0.0.2"


def five_lines() -> tuple[str, str]:
    """What the chapter has for the settings, and for the table."""
    chapter = README.split("\n## Security\n")[1].split("\n## ")[0]
    [block] = re.findall(r"^```toml\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    settings, table = block.split("# conf/peers.toml\n")
    assert len([line for line in block.splitlines() if " = " in line]) == 5
    return settings, table


def merged(text: str, more: dict[str, Any]) -> str:
    document: dict[str, Any] = tomllib.loads(text)
    for name, fields in more.items():
        document[name] = fields | document.get(name, {})
    return tomlkit.dumps(document)


class Locked:
    """A node locked down so, its one peer, and who else has a certificate of its CA."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.peer, self.other = self.authority.issue("peer.test"), self.authority.issue("other.test")
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator[Node]:
        ours = self.authority.issue()
        settings, table = five_lines()
        tls = {"certificate": str(ours.certificate), "key": str(ours.key), "trusted": str(self.authority.certificate)}
        conf = self._folder / "conf"
        conf.mkdir()
        (conf / "minipacs.toml").write_text(
            merged(settings.replace("10.1.2.0/24", "127.0.0.1"), {"tls": tls | {"port": 0}})
        )
        der = ssl.PEM_cert_to_DER_cert(self.peer.certificate.read_text())
        table = table.replace("10.1.2.7", "127.0.0.1").replace("sha256:…", fingerprint(der))
        with serving(
            self._folder, merged(table, {}).replace("[peers.orthanc]", '[peers.orthanc]\nae_title = "ORTHANC"')
        ) as n:
            yield n

    def call(self, node: Node, identity: Identity | None, **changes: object) -> EchoResult:
        tls = client_context(self.authority.settings(identity))
        for name, value in changes.items():
            setattr(tls, name, value)
        return echo(Peer("", "MINIPACS", "127.0.0.1", node.port), "ORTHANC", tls=tls)


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    return Locked(tmp_path)


def test_five_lines_lock_a_node_down(locked: Locked) -> None:
    with locked.running() as node:
        assert locked.call(node, locked.peer).is_success

        assert locked.call(node, locked.other).code == "rejected.calling-ae-title"
        assert node.wait_for("association", 2)["reject"] == "1/1/3"
        assert locked.call(node, None).code == "tls.certificate-required"
        assert locked.call(node, locked.peer, maximum_version=ssl.TLSVersion.TLSv1_2).code == "tls.no-common-version"
        assert echo(Peer("", "MINIPACS", "127.0.0.1", node.port), "ORTHANC").code == "no-association.tls"
        node.wait_for("association", 5)  # it tells of the last three after their peers have seen the end

        assert is_closed_unread(node.port, source=SOMEBODY_ELSE)
        assert (
            json.loads(node.minipacs("status", "--json", "--port", str(node.port)).stdout)["associations"][
                "connections"
            ]
            == 0
        )
        assert len(node.events()) == 5
        assert locked.call(node, locked.peer).is_success
