"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Counts and times, each of one contestant in one round."""

    rounds: int
    seconds: float  # that something is repeated for
    idle: int  # associations held open
    echoes: int  # of a process that echoes many times
    peers: int  # called side by side, a tenth of them dead
    table: int  # peers of the larger table
    reloads: int
    rest: float  # seconds at rest


FULL = Scale(rounds=5, seconds=0.6, idle=1000, echoes=200, peers=500, table=5000, reloads=4, rest=10.0)
QUICK = Scale(rounds=1, seconds=0.1, idle=100, echoes=20, peers=50, table=500, reloads=2, rest=1.0)
