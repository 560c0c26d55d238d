"""Each target fuzzed for so many inputs, one after the other, in a process of its own with bounded memory and time."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS, Fuzzed

_FUZZER = Path(__file__).with_name("fuzzer.py")
_MEGABYTES = 1_024  # of memory
_SECONDS_AN_INPUT = 10
_GRACE = 60  # seconds behind its own limit, before a fuzzer is killed


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 0 when nothing was found, 1 for a find, 2 where there is no atheris."""
    options = _parser().parse_args(arguments)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("tests/fuzz/run: atheris is missing: it has wheels for CPython on Linux x86-64 alone", file=sys.stderr)
        return 2
    found = [name for name in options.target or TARGETS if not fuzz(name, options)]
    print(f"found something in: {', '.join(found)}" if found else "nothing found")
    return 1 if found else 0


def fuzz(name: str, options: argparse.Namespace) -> bool:
    """Fuzz one target, and say what came of it; whether nothing was found."""
    finds: Path = options.finds / name
    finds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        done = _run(name, options, finds, Path(folder))
    output = done.stdout + done.stderr
    units = re.findall(r"cov: (\d+) ft: (\d+)", output)
    inputs = re.findall(r"number_of_executed_units: (\d+)", output)
    memory = re.findall(r"peak_rss_mb: +(\d+)", output)
    growth = f"coverage {units[0][0]} -> {units[-1][0]}, features {units[0][1]} -> {units[-1][1]}" if units else ""
    print(f"{name}: {inputs[-1] if inputs else 'no'} inputs, {growth}, {memory[-1] if memory else '?'} MB", flush=True)
    if done.returncode == 0 and inputs:
        return True
    print(output if options.verbose else _cause(done))
    for find in re.findall(r"Test unit written to (\S+)", output):
        print(f"to reproduce: {sys.executable} {_FUZZER} {name} {find}")
    return False


def _run(name: str, options: argparse.Namespace, finds: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    seeds, new = folder / "seeds", folder / "new"
    corpus.write_seeds(seeds, _some(TARGETS[name], options.seeds))
    new.mkdir()
    words = folder / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in TARGETS[name].words))
    limits = {
        "runs": options.inputs,
        "max_len": corpus.LONGEST,
        "timeout": _SECONDS_AN_INPUT,
        "rss_limit_mb": _MEGABYTES,
        "max_total_time": options.seconds,
        "seed": options.seed,
        "dict": words,
        "artifact_prefix": f"{finds.absolute()}{os.sep}",
        "print_final_stats": 1,
    }
    command = [sys.executable, str(_FUZZER), name, *(f"-{key}={value}" for key, value in limits.items())]
    return subprocess.run(
        [*command, str(new), str(seeds)],
        env=_environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        errors="replace",
        timeout=options.seconds + _GRACE,
        check=False,
    )


def _some(target: Fuzzed, most: int | None) -> Sequence[bytes]:
    """Seeds, spread over all of them where there are more than so many."""
    seeds = target.seeds()
    return seeds if most is None else seeds[:: max(1, -(-len(seeds) // most))]


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "MINIPACS_CONFIG"}


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word)


def _cause(done: "subprocess.CompletedProcess[str]") -> str:
    """The end of the traceback of a find, which is in the standard output; or else of what libFuzzer says."""
    said = done.stdout if "Uncaught Python exception" in done.stdout else done.stderr
    return "\n".join(said.strip().splitlines()[-12:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/fuzz/run",
        description=f"Fuzz {', '.join(TARGETS)}, guided by coverage. Exit code 0 when nothing was found, 1 for a find.",
    )
    parser.add_argument("inputs", type=int, nargs="?", default=100_000, help="for each target (default: 100000)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="this one alone; may be given again")
    parser.add_argument("--seconds", type=int, default=600, help="for each target at most (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of chance (default: another one each time)")
    parser.add_argument("--seeds", type=int, help="of the corpus, at most (default: all)")
    finds = Path(tempfile.gettempdir()) / "minipacs-fuzz"
    parser.add_argument("--finds", type=Path, default=finds, help=f"folder for what is found (default: {finds})")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what a fuzzer that found something said")
    return parser
