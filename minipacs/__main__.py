"""Where the process begins and ends: `minipacs`, and `python -m minipacs`."""

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line without collecting garbage among what is imported, which stays as long as the process.

    Measured for one echo of 94 ms: to look through it while it comes takes 4 ms, and once more at the end 11 ms.
    """
    gc.disable()  # until a command runs
    from minipacs.cli import main as run

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
