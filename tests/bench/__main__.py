"""Measure the node beside pynetdicom, DCMTK and Orthanc, on this machine, in one run.

    tests/bench/run                     all of it, about a quarter of an hour
    tests/bench/run --quick             whether it all works, in about a minute; no figures to rely on
    tests/bench/run --only reload       the trials whose name has that in it
    tests/bench/run --output bench      where to write results.json, results.csv and plot.png

Exit code: 0 all that has to be reached was reached, 1 something was not, 2 usage or a peer is missing, 130 Ctrl-C.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from ..peers.dcmtk import ECHOSCU, STORESCP
from ..peers.orthanc import ORTHANC
from .scale import FULL, QUICK

_PACKAGES = {ORTHANC: "orthanc", ECHOSCU: "dcmtk", STORESCP: "dcmtk"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description=(__doc__ or "").partition("\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", metavar="WORD", default="", help="trials whose name has WORD in it")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="a new one for temporary files, if left out")
    parser.add_argument("--record", action="store_true", help="put the run on record, as the README shows it")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, not as a table")
    arguments = parser.parse_args()
    if arguments.record and (arguments.quick or arguments.only):
        parser.error("only a whole run is put on record")
    missing = [f"{program} (package {name})" for program, name in _PACKAGES.items() if not os.access(program, os.X_OK)]
    if missing:
        parser.error(f"{', '.join(missing)}: missing")
    return arguments


def main() -> int:
    """Run it; the exit code."""
    arguments = _arguments()
    # Not before it is known that they are needed: they take their time.
    from .benchmark import measure
    from .plot import draw
    from .report import RECORD, as_text, record, write
    from .telling import Telling

    folder = (arguments.output or Path(tempfile.mkdtemp(prefix="minipacs-bench-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order, so that no process is left behind
    try:
        with Telling() as telling:
            results = measure(QUICK if arguments.quick else FULL, arguments.only, telling)
    except KeyboardInterrupt:
        return 130
    if not results.outcomes:
        print(f"tests/bench/run: no figure has {arguments.only!r} in its name", file=sys.stderr)
        return 2
    write(results, folder)
    draw(results, folder / "plot.png")
    if arguments.record:
        record(results)
        draw(results, RECORD.with_name("plot.png"))
    print((folder / "results.json").read_text() if arguments.json else as_text(results), end="")
    print(f"tests/bench/run: results.json, results.csv and plot.png are in {folder}", file=sys.stderr)
    return 0 if all(verdict.is_reached for outcome in results.outcomes for verdict in outcome.verdicts()) else 1


if __name__ == "__main__":
    sys.exit(main())
