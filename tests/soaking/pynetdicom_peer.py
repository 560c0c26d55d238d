"""pynetdicom in a process of its own, in both roles: it calls the node, and answers whoever calls it.

    python -m tests.soaking.pynetdicom_peer NODE_PORT

It prints the port of its SCP, then a line of JSON for each association that it has asked for. SIGTERM ends it.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ..peers.pynetdicom import Checkpoint

SCP_TITLE = "PYNETDICOM"
PERIOD = 1.0  # seconds between two rounds
_TIMEOUT = 30.0  # seconds

CALLERS = (("PYNETDICOM", "127.0.0.1"), ("FENCED", "127.0.0.2"))
"""By which title it calls, from which address; the table lets FENCED call from there alone."""

ROOT = Path(__file__).parents[2]


def command(node_port: int) -> list[str]:
    """How it is started, in ROOT."""
    return [sys.executable, "-m", "tests.soaking.pynetdicom_peer", str(node_port)]


def application_entity(title: str) -> AE:
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _TIMEOUT
    return ae


def call(port: int, title: str, address: str) -> str:
    """One association with one echo: what is wrong with it, or nothing."""
    ae = application_entity(title)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title="MINIPACS", bind_address=(address, 0))
    if not association.is_established:
        return "rejected" if association.is_rejected else "no association"
    association._reactor_checkpoint = Checkpoint()
    status = association.send_c_echo().get("Status")
    association.release()
    return "" if status == 0 else f"status {status}"


def main() -> None:
    port = int(sys.argv[1])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ae = application_entity(SCP_TITLE)
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    assert server.socket is not None
    print(json.dumps({"port": server.socket.getsockname()[1]}), flush=True)
    while not ended.wait(PERIOD):
        for title, address in CALLERS:
            started = time.monotonic()
            told = call(port, title, address)
            line = {"who": title, "started": started, "ended": time.monotonic(), "told": told}
            print(json.dumps(line), flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
