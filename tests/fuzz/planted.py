"""A check with a fault in it, for the test of the fuzzer: what no seed has, and what chance alone hardly finds."""


def check(data: bytes) -> None:
    """Fails at three bytes, each of which is another branch."""
    if len(data) > 3 and data[0] == 0x04:  # noqa: SIM102
        if data[1] == 0xEE:  # noqa: SIM102 - a branch that can be covered
            if data[2] == 0x7F:
                raise AssertionError("the fault that was planted")
