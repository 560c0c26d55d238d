"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Counts and times, each of one contestant in one round."""

    rounds: int
    is_warmed_up: bool  # by a round before, which does not count
    seconds: float  # that something is repeated for
    crowded_seconds: float  # that many clients at once go on for
    idle: int  # associations held open
    echoes: int  # of a process that echoes many times
    peers: int  # called side by side, a tenth of them dead
    table: int  # peers of the larger table
    reloads: int
    rest: float  # seconds at rest
    objects: int  # small ones, stored on one association
    images: int  # of 512 KiB


FULL = Scale(
    rounds=5,
    is_warmed_up=True,
    seconds=0.6,
    crowded_seconds=1.0,
    idle=1000,
    echoes=200,
    peers=500,
    table=5000,
    reloads=4,
    rest=10.0,
    objects=200,
    images=40,
)
QUICK = Scale(
    rounds=1,
    is_warmed_up=False,
    seconds=0.1,
    crowded_seconds=0.1,
    idle=50,
    echoes=20,
    peers=50,
    table=500,
    reloads=2,
    rest=1.0,
    objects=20,
    images=4,
)
