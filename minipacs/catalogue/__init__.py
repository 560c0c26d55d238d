"""The rows of the catalogue: what is seen → what is true → what to change, one row a cause.

`we_call` holds those of the SCU, `we_are_called` those of the SCP; diagnosis.py makes one table of them, CATALOGUE.
"""

from __future__ import annotations

from msgspec import Struct


class Row(Struct, frozen=True):
    """A cause.

    Attributes:
        code: its name, which does not change.
        seen: what is seen of it, in a phrase.
        reason: what is true; the names of facts in braces.
        fix: what to change, on which side; likewise. Empty when there is nothing to change.
    """

    code: str
    seen: str
    reason: str
    fix: str
