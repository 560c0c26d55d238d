"""The association state machine as the standard prints it (PS3.8 Tables 9-1 to 9-5 and 9-10).

To be held against the standard line by line. What the actions do is in association.py.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Where an association stands; the numbers are the standard's (Tables 9-1 to 9-5)."""

    Sta1 = 1  # idle
    Sta2 = 2  # transport connection open, A-ASSOCIATE-RQ awaited
    Sta3 = 3  # our A-ASSOCIATE response awaited
    Sta4 = 4  # transport connection awaited
    Sta5 = 5  # A-ASSOCIATE-AC or -RJ awaited
    Sta6 = 6  # association established
    Sta7 = 7  # A-RELEASE-RP awaited
    Sta8 = 8  # our A-RELEASE response awaited
    Sta9 = 9  # release collision, requestor: our A-RELEASE response awaited
    Sta10 = 10  # release collision, acceptor: A-RELEASE-RP awaited
    Sta11 = 11  # release collision, requestor: A-RELEASE-RP awaited
    Sta12 = 12  # release collision, acceptor: our A-RELEASE response awaited
    Sta13 = 13  # association over, close of the transport connection awaited


class Event(IntEnum):
    """What can happen to an association; the numbers are the standard's (Table 9-10)."""

    Evt1 = 1  # A-ASSOCIATE request (local)
    Evt2 = 2  # transport connection confirmed
    Evt3 = 3  # A-ASSOCIATE-AC came
    Evt4 = 4  # A-ASSOCIATE-RJ came
    Evt5 = 5  # transport connection indicated
    Evt6 = 6  # A-ASSOCIATE-RQ came
    Evt7 = 7  # A-ASSOCIATE response, accept (local)
    Evt8 = 8  # A-ASSOCIATE response, reject (local)
    Evt9 = 9  # P-DATA request (local)
    Evt10 = 10  # P-DATA-TF came
    Evt11 = 11  # A-RELEASE request (local)
    Evt12 = 12  # A-RELEASE-RQ came
    Evt13 = 13  # A-RELEASE-RP came
    Evt14 = 14  # A-RELEASE response (local)
    Evt15 = 15  # A-ABORT request (local)
    Evt16 = 16  # A-ABORT came
    Evt17 = 17  # transport connection closed
    Evt18 = 18  # ARTIM timer expired
    Evt19 = 19  # unrecognized or invalid PDU came


class Action(IntEnum):
    """What is done then (Tables 9-6 to 9-9)."""

    AE_1, AE_2, AE_3, AE_4, AE_5, AE_6, AE_7, AE_8 = range(11, 19)
    DT_1, DT_2 = range(21, 23)
    AR_1, AR_2, AR_3, AR_4, AR_5, AR_6, AR_7, AR_8, AR_9, AR_10 = range(31, 41)
    AA_1, AA_2, AA_3, AA_4, AA_5, AA_6, AA_7, AA_8 = range(41, 49)


# One row an event, one column a state, as printed; a dot is a blank cell: that event cannot happen there.
_TABLE_9_10 = """
        Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
Evt1    AE-1  .     .     .     .     .     .     .     .     .     .     .     .
Evt2    .     .     .     AE-2  .     .     .     .     .     .     .     .     .
Evt3    .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4    .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5    AE-5  .     .     .     .     .     .     .     .     .     .     .     .
Evt6    .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7    .     .     AE-7  .     .     .     .     .     .     .     .     .     .
Evt8    .     .     AE-8  .     .     .     .     .     .     .     .     .     .
Evt9    .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
Evt10   .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11   .     .     .     .     .     AR-1  .     .     .     .     .     .     .
Evt12   .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13   .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14   .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
Evt15   .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
Evt16   .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17   .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18   .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
Evt19   .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _parse(table: str) -> dict[tuple[Event, State], Action]:
    head, *rows = (line.split() for line in table.replace("-", "_").strip().splitlines())
    states = [State[name] for name in head]
    return {
        (event, state): Action[cell]
        for event, cells in ((Event[name], cells) for name, *cells in rows)
        for state, cell in zip(states, cells, strict=True)
        if cell != "."
    }


TRANSITIONS = _parse(_TABLE_9_10)
"""The action for each event in each state where that event can happen."""


class Effect(IntEnum):
    """What an action does with the PDU or primitive of its event."""

    SEND, INDICATE, ABORT, NOTHING = range(4)


# What an action does with the PDU of its event, and the state that follows (PS3.8 Tables 9-6 to 9-9). Starting and
# stopping ARTIM is the same as entering and leaving Sta2 and Sta13; closing, the same as entering Sta1.
EFFECTS = {
    Action.AE_1: (Effect.NOTHING, State.Sta4),
    Action.AE_2: (Effect.SEND, State.Sta5),
    Action.AE_3: (Effect.INDICATE, State.Sta6),
    Action.AE_4: (Effect.INDICATE, State.Sta1),
    Action.AE_5: (Effect.NOTHING, State.Sta2),
    Action.AE_6: (Effect.INDICATE, State.Sta3),
    Action.AE_7: (Effect.SEND, State.Sta6),
    Action.AE_8: (Effect.SEND, State.Sta13),
    Action.DT_1: (Effect.SEND, State.Sta6),
    Action.DT_2: (Effect.INDICATE, State.Sta6),
    Action.AR_1: (Effect.SEND, State.Sta7),
    Action.AR_2: (Effect.INDICATE, State.Sta8),
    Action.AR_3: (Effect.INDICATE, State.Sta1),
    Action.AR_4: (Effect.SEND, State.Sta13),
    Action.AR_5: (Effect.NOTHING, State.Sta1),
    Action.AR_6: (Effect.INDICATE, State.Sta7),
    Action.AR_7: (Effect.SEND, State.Sta8),
    Action.AR_8: (Effect.INDICATE, State.Sta10),  # the requestor goes to Sta9
    Action.AR_9: (Effect.SEND, State.Sta11),
    Action.AR_10: (Effect.INDICATE, State.Sta12),
    Action.AA_1: (Effect.ABORT, State.Sta13),
    Action.AA_2: (Effect.NOTHING, State.Sta1),
    Action.AA_3: (Effect.INDICATE, State.Sta1),
    Action.AA_4: (Effect.INDICATE, State.Sta1),
    Action.AA_5: (Effect.NOTHING, State.Sta1),
    Action.AA_6: (Effect.NOTHING, State.Sta13),
    Action.AA_7: (Effect.ABORT, State.Sta13),
    Action.AA_8: (Effect.ABORT, State.Sta13),
}
