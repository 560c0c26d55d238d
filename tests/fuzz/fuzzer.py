"""One target under atheris: python tests/fuzz/fuzzer.py TARGET [libFuzzer's options and files]. See tests/fuzz/run.

FUZZ_CHECK=MODULE:NAME names another function in the place of what the target checks: so the tests plant a fault.
"""

import os
import random
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

# At the end: the package is the one that is installed, and not the folder of that name.
sys.path.append(str(Path(__file__).parents[2]))

import atheris

with atheris.instrument_imports(include=["minipacs"]):
    from tests.fuzz.targets import TARGETS, Target

from tests.fuzz.mutation import mutated


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """As libFuzzer does, or by whole PDUs."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return bytes(atheris.Mutate(data, most))
    return mutated(data, _streams(), chance)[:most]


def main() -> None:
    """Fuzz, or check the files that are named."""
    name = sys.argv[1]
    check: Target = TARGETS[name].check
    if planted := os.environ.get("FUZZ_CHECK"):
        module, _, function = planted.partition(":")
        with atheris.instrument_imports(include=[module]):
            check = getattr(import_module(module), function)
    arguments = [sys.argv[0], *sys.argv[2:]]
    if TARGETS[name].is_stream:
        atheris.Setup(arguments, check, custom_mutator=mutate)
    else:
        atheris.Setup(arguments, check)
    atheris.Fuzz()


@cache
def _streams() -> list[bytes]:
    from tests.fuzz import corpus

    return corpus.streams()


if __name__ == "__main__":
    main()
