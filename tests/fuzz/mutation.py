"""A stream of PDUs made into one that is broken, or only strange, as a chance of the caller's wants it.

What a mutator of plain bytes hardly finds: PDUs in another order, twice or missing, and lengths that lie or that fit.
"""

import random
from collections.abc import Callable, Sequence

from minipacs.wire.header import HEADER_LENGTH, read_header

_LENGTHS = (0, 1, 2, 3, 4, 68, 0xFF, 0x4000, 0x4001, 0xFFFF, 0x100000, 0x100001, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(stream: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return *stream* after one to three mutations, some of which put in a PDU of the *others*."""
    for _ in range(chance.randint(1, 3)):
        stream = chance.choice(_MUTATIONS)(stream, chance.choice(others), chance)
    return stream


def split(stream: bytes) -> list[bytes]:
    """Return the PDUs of *stream*; the last one is what is left when a length reaches past the end."""
    pdus = []
    while len(stream) >= HEADER_LENGTH:
        _, length = read_header(stream)
        pdus.append(stream[: HEADER_LENGTH + length])
        stream = stream[HEADER_LENGTH + length :]
    return pdus + [stream] * bool(stream)


def fitted(pdu: bytes) -> bytes:
    """Return *pdu* with the length that it has."""
    return pdu[:2] + (len(pdu) - HEADER_LENGTH).to_bytes(4, "big") + pdu[6:] if len(pdu) >= HEADER_LENGTH else pdu


def _flip_bits(stream: bytes, other: bytes, chance: random.Random) -> bytes:
    changed = bytearray(stream)
    for _ in range(chance.randint(1, 4) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _lie_about_length(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    pdus = split(stream)
    number = chance.randrange(len(pdus)) if pdus else 0
    lied = [pdu[:2] + chance.choice(_LENGTHS).to_bytes(4, "big") + pdu[6:] for pdu in pdus[number : number + 1]]
    return b"".join([*pdus[:number], *lied, *pdus[number + 1 :]])


def _lie_inside(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    """Put one of the lengths where one of an item or of an element may be."""
    place, size = chance.randint(0, len(stream)), chance.choice((1, 2, 4))
    value = (chance.choice(_LENGTHS) & ((1 << 8 * size) - 1)).to_bytes(size, chance.choice(("big", "little")))
    return stream[:place] + value + stream[place + size :]


def _truncate(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    return stream[: chance.randint(0, len(stream))]


def _leave_out(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    pdus = split(stream)
    chance.shuffle(pdus)
    return b"".join(pdu for pdu in split(stream) if pdu is not pdus[0])


def _duplicate(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    pdus = split(stream)
    number = chance.randint(0, len(pdus))
    return b"".join([*pdus[:number], *pdus[max(0, number - 1) :]])


def _reorder(stream: bytes, _: bytes, chance: random.Random) -> bytes:
    pdus = split(stream)
    chance.shuffle(pdus)
    return b"".join(pdus)


def _splice(stream: bytes, other: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(stream))
    return stream[:place] + other[chance.randint(0, len(other)) :]


def _put_in_a_pdu(stream: bytes, other: bytes, chance: random.Random) -> bytes:
    pdus, more = split(stream), split(other)
    place = chance.randint(0, len(pdus))
    return b"".join([*pdus[:place], *(chance.sample(more, 1) if more else []), *pdus[place:]])


def _resize_a_pdu(stream: bytes, other: bytes, chance: random.Random) -> bytes:
    """Take bytes out of a PDU, or put some in, and let its length fit: what is inside no longer does."""
    pdus = split(stream)
    if not pdus:
        return stream
    number = chance.randrange(len(pdus))
    pdu = pdus[number]
    place = chance.randint(min(HEADER_LENGTH, len(pdu)), len(pdu))
    pdus[number] = fitted(pdu[:place] + other[: chance.randint(0, 8)] + pdu[place + chance.randint(0, 8) :])
    return b"".join(pdus)


_MUTATIONS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _flip_bits,
    _lie_about_length,
    _lie_inside,
    _truncate,
    _leave_out,
    _duplicate,
    _reorder,
    _splice,
    _put_in_a_pdu,
    _resize_a_pdu,
)
