"""Run a soak, for as long as asked.

    tests/soak 600                      ten minutes
    tests/soak 60 --output soak --json  where to write, and the summary as JSON

Exit code: 0 passed, 1 something failed, 2 usage or a peer is missing, 130 Ctrl-C, 143 SIGTERM.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from ..peers.dcmtk import ECHOSCU, STORESCP
from ..peers.orthanc import ORTHANC

_PACKAGES = {ORTHANC: "orthanc", ECHOSCU: "dcmtk", STORESCP: "dcmtk"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/soak",
        description="A node among real peers, strangers and hostile clients: no echo of an admitted peer fails, no "
        "stranger gets in, memory and descriptors stay flat.",
    )
    parser.add_argument("seconds", type=float, metavar="SECONDS", help="for how long")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="a new one for temporary files, if left out")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    arguments = parser.parse_args()
    if not 1 <= arguments.seconds <= 7 * 86_400:
        parser.error("SECONDS must be 1 to 604800")
    missing = [f"{program} (package {name})" for program, name in _PACKAGES.items() if not os.access(program, os.X_OK)]
    if missing:
        parser.error(f"{', '.join(missing)}: missing")
    return arguments


def main() -> int:
    """Run it; the exit code."""
    arguments = _arguments()
    # Not before it is known that they are needed: they take their time.
    from .plot import draw
    from .report import as_json, as_text
    from .soak import soak

    folder = (arguments.output or Path(tempfile.mkdtemp(prefix="minipacs-soak-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order, so that no process is left behind
    print(f"tests/soak: {arguments.seconds:g} s, into {folder}", file=sys.stderr, flush=True)
    try:
        result = soak(arguments.seconds, folder, lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        return 130
    draw(result, folder / "plot.png")
    print(json.dumps(as_json(result), indent=2) if arguments.json else as_text(result))
    return 1 if result.failure_count else 0


if __name__ == "__main__":
    sys.exit(main())
