"""What becomes of a test whose real peer is missing: skipped on a desk, a failure where MINIPACS_REQUIRE_PEERS=1."""

import os

import pytest


def required(*programs: str) -> pytest.MarkDecorator:
    """The mark for tests that need these programs, each by its full path.

    Raises:
        RuntimeError: one is missing and must not be, so that the test module cannot even be collected.
    """
    missing = [program for program in programs if not os.access(program, os.X_OK)]
    if missing and os.environ.get("MINIPACS_REQUIRE_PEERS") == "1":
        raise RuntimeError(f"{', '.join(missing)}: missing, and MINIPACS_REQUIRE_PEERS=1")
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing) or 'nothing'} missing")
