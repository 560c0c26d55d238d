"""Show that what is stored endures: real processes, real kills, a disk that is really full.

    tests/endure                           all of it, in less than 15 minutes
    tests/endure kill --kills 200          one part, for longer
    tests/endure many large --objects 1000 --megabytes 100
    tests/endure kill --seed 7             at the moments of that seed
    tests/endure --json > endured.json     the figures for machines

Exit code: 0 every promise was kept, 1 one was broken, 2 usage or a peer is missing, 130 Ctrl-C, 143 SIGTERM.
"""

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from ..peers.dcmtk import STORESCU

PARTS = {
    "many": "many small objects are stored, found, fetched and moved: memory does not grow",
    "large": "one large object streams in and out: memory stays far below its size",
    "kill": "kill -9 of the node while clients store: what was acknowledged is there",
    "full": "a full disk: objects are refused, those before stay, and it goes on with room",
}


def _arguments() -> argparse.Namespace:
    parts = "\n".join(f"  {name:<8}{what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="tests/endure",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"parts:\n{parts}\n{(__doc__ or '').partition(chr(10))[2]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", metavar="PART", nargs="*", help="of many, large, kill, full; all, if left out")
    parser.add_argument("--objects", type=_count, default=10_000, metavar="N", help="of many; 10000")
    parser.add_argument("--megabytes", type=_count, default=1024, metavar="N", help="MiB of the large one; 1024")
    parser.add_argument("--kills", type=_count, default=20, metavar="N", help="in the middle; 20")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="of the moments of the kills")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for all files, which stay; else temporary")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"{unknown[0]!r} is no part: {', '.join(PARTS)}")
    arguments.parts = [part for part in PARTS if part in (arguments.parts or PARTS)]
    if arguments.output and (old := [part for part in arguments.parts if (arguments.output / part).exists()]):
        parser.error(f"{arguments.output / old[0]} is there already: name another folder")
    if not os.access(STORESCU, os.X_OK):
        parser.error(f"{STORESCU} (package dcmtk): missing")
    return arguments


def _count(text: str) -> int:
    if not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be 1 to 1000000, not {text}")
    return int(text)


def main() -> int:
    """Run it; the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order, so that no process is left behind
    try:
        if arguments.output:
            return _run(arguments, arguments.output.absolute())
        with tempfile.TemporaryDirectory(prefix="minipacs-endure-") as folder:
            return _run(arguments, Path(folder))
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    # Not before it is known that they are needed: they take their time.
    from .account import Account
    from .full_disk import full_disk
    from .killing import killing
    from .large import large
    from .many import many

    doing: dict[str, partial[None]] = {
        "many": partial(many, count=arguments.objects),
        "large": partial(large, size=arguments.megabytes << 20),
        "kill": partial(killing, kills=arguments.kills, seed=arguments.seed),
        "full": partial(full_disk),
    }
    accounts, started = {}, time.monotonic()
    for part in arguments.parts:
        accounts[part] = Account(partial(_tell, started, part))
        place = folder / part
        place.mkdir(parents=True)
        doing[part](place, accounts[part])
    is_broken = any(account.broken for account in accounts.values())
    seconds = round(time.monotonic() - started)
    if arguments.json:
        told = {part: {"figures": account.figures, "broken": account.broken} for part, account in accounts.items()}
        print(json.dumps({"passed": not is_broken, "seconds": seconds, "parts": told}, indent=2))
    else:
        for part, account in accounts.items():
            print(f"{part}: {PARTS[part]}\n{account.as_text()}")
        print(f"{'FAILED' if is_broken else 'passed'}, in {seconds} s")
    return 1 if is_broken else 0


def _tell(started: float, part: str, text: str) -> None:
    print(f"{time.monotonic() - started:5.0f} s  {part}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
