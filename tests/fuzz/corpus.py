"""What the fuzzers begin with: the PDUs and streams of PDUs of the tests, and every TOML file of tests/data and conf/.

The PDUs are in corpus.txt, one stream a line in hexadecimal, sorted. tests/fuzz/record makes it from a run of the
tests: what their peers sent, and what we sent; of longer ones, and of those that tests of properties make up, none.
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("corpus.txt")

LONGEST = 4096
"""Bytes of a stream that is recorded. The few longer ones of the tests are long to reach a limit, and slow to fuzz."""


def streams() -> list[bytes]:
    """What peers of either role send in the tests."""
    return read_file(FILE)


def tables() -> list[bytes]:
    """Peer tables and settings, right and wrong."""
    files = [*(ROOT / "tests" / "data").glob("*.toml"), *(ROOT / "conf").glob("*.toml")]
    return [path.read_bytes() for path in sorted(files)]


def read_file(path: Path) -> list[bytes]:
    """The streams in a file such as corpus.txt."""
    return [bytes.fromhex(line) for line in path.read_text().splitlines()]


def write_file(path: Path, recorded: Collection[bytes]) -> None:
    """Write them down, each once."""
    path.write_text("".join(f"{line}\n" for line in sorted({stream.hex() for stream in recorded})))


def write_seeds(folder: Path, seeds: Collection[bytes]) -> None:
    """Write each into a file of its own, as libFuzzer reads them, named for its content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in _named(seeds):
        (folder / name).write_bytes(seed)


def _named(seeds: Collection[bytes]) -> Iterator[tuple[str, bytes]]:
    for seed in seeds:
        yield hashlib.sha256(seed).hexdigest()[:16], seed
