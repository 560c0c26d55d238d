"""What the legs of a round trip prove: every verdict, and that nothing else is ever mutual."""

from itertools import product

import pytest

from minipacs import Outcome
from minipacs.diagnosis import CATALOGUE
from minipacs.leg import Leg, Standing
from minipacs.verdict import (
    Evidence,
    ImageOutcome,
    InboundOutcome,
    RegisteredOutcome,
    StrangerOutcome,
    Verdict,
    enforced,
    verdict,
)

OK = Outcome.SUCCESS
REFUSED, ADMITTED, UNCLEAR = StrangerOutcome.REFUSED, StrangerOutcome.ADMITTED, StrangerOutcome.UNCLEAR
RIGHT, WRONG, MISSING = RegisteredOutcome.RIGHT, RegisteredOutcome.WRONG, RegisteredOutcome.MISSING
UNKNOWN, UNASKED = RegisteredOutcome.UNKNOWN, RegisteredOutcome.SKIPPED
CAME, REJECTED, UNCALLED = InboundOutcome.SUCCESS, InboundOutcome.REJECTED, InboundOutcome.SKIPPED
SILENCE, ELSEWHERE = InboundOutcome.NOT_ARRIVED, InboundOutcome.ELSEWHERE
NO_STRANGER = StrangerOutcome.SKIPPED
SAME, ASTRAY = ImageOutcome.SAME, ImageOutcome.NOT_ARRIVED

WHAT_BECAME_OF_IT = (
    SAME,
    ASTRAY,
    ImageOutcome.UNLISTED,
    ImageOutcome.REJECTED,
    ImageOutcome.CHANGED,
    ImageOutcome.REFUSED,
    ImageOutcome.MISSING,
)
STANDINGS = dict.fromkeys(["refused", "missing", "unlisted", "changed", "left"], Standing.FAILED) | {
    "re-encoded": Standing.WARNED,
    "skipped": Standing.SKIPPED,
}

ROWS = [
    # each refuses strangers and knows the other
    (Evidence(OK, "", REFUSED, RIGHT, CAME), "mutual", True),
    (Evidence(OK, "", REFUSED, UNASKED, CAME), "mutual", True),
    (Evidence(OK, "", REFUSED, UNKNOWN, CAME), "mutual", True),
    (Evidence(OK, "", REFUSED, WRONG, CAME), "mutual", True),
    # it lets anybody echo: only what it has registered shows that it knows us
    (Evidence(OK, "", ADMITTED, RIGHT, CAME), "mutual", False),
    (Evidence(OK, "", ADMITTED, WRONG, CAME), "mutual", False),  # and its echo arrived by that very entry
    (Evidence(OK, "", ADMITTED, UNASKED, CAME), "open: the peer admits anybody", False),
    (Evidence(OK, "", ADMITTED, UNKNOWN, CAME), "open: the peer admits anybody", False),
    (Evidence(OK, "", ADMITTED, UNASKED, UNCALLED), "open: the peer admits anybody", False),
    (Evidence(OK, "", ADMITTED, MISSING, CAME), "one-way: they do not know us", False),
    (Evidence(OK, "", ADMITTED, MISSING, REJECTED), "strangers: neither knows the other", False),
    # nobody asked whether it lets anybody echo
    (Evidence(OK, "", NO_STRANGER, RIGHT, CAME), "mutual", None),
    (Evidence(OK, "", NO_STRANGER, UNASKED, CAME), "unproven: nothing shows that they know us", None),
    (Evidence(OK, "", UNCLEAR, UNASKED, CAME), "unproven: nothing shows that they know us", None),
    (Evidence(OK, "", UNCLEAR, WRONG, CAME), "mutual", None),
    # it knows us, and cannot call us
    (Evidence(OK, "", REFUSED, RIGHT, REJECTED), "one-way: we do not admit them", True),
    (Evidence(OK, "", ADMITTED, UNASKED, REJECTED), "one-way: we do not admit them", False),
    (
        Evidence(OK, "", REFUSED, WRONG, InboundOutcome.MISCALLED),
        "one-way: they know us by another title",
        True,
    ),
    (Evidence(OK, "", REFUSED, RIGHT, SILENCE), "one-way: they do not reach us", True),
    (Evidence(OK, "", REFUSED, WRONG, ELSEWHERE), "one-way: they do not reach us", True),
    (Evidence(OK, "", REFUSED, RIGHT, InboundOutcome.FAILED), "one-way: they do not reach us", True),
    (
        Evidence(OK, "", REFUSED, RIGHT, InboundOutcome.UNKNOWN),
        "unproven: nothing shows that they can call us",
        True,
    ),
    (Evidence(OK, "", REFUSED, UNASKED, UNCALLED), "unproven: nothing shows that they can call us", True),
    # it knows us, and the Orthanc that was asked and made to call us does not: that is another one
    (Evidence(OK, "", REFUSED, MISSING, CAME), "unproven: nothing shows that they can call us", True),
    (Evidence(OK, "", REFUSED, UNKNOWN, UNCALLED), "unproven: nothing shows that they can call us", True),
    # it does not know us
    (Evidence(Outcome.REJECTED, "rejected.calling-ae-title", inbound=CAME), "one-way: they do not know us", True),
    (Evidence(Outcome.REJECTED, "rejected.no-reason", inbound=CAME), "one-way: they do not know us", None),
    (Evidence(Outcome.ABORTED, "aborted.at-echo", inbound=CAME), "one-way: they do not know us", None),
    (
        Evidence(Outcome.REJECTED, "rejected.calling-ae-title", inbound=REJECTED),
        "strangers: neither knows the other",
        True,
    ),
    # an image that came back shows that each has the other in its table, whatever else was asked
    (Evidence(OK, "", ADMITTED, UNASKED, UNCALLED, SAME), "mutual", False),
    (Evidence(OK, "", NO_STRANGER, UNASKED, UNCALLED, SAME), "mutual", None),
    (Evidence(OK, "", REFUSED, UNKNOWN, UNCALLED, SAME), "mutual", True),
    (Evidence(OK, "", REFUSED, RIGHT, CAME, SAME), "mutual", True),
    (Evidence(OK, "", REFUSED, MISSING, CAME, SAME), "unproven: nothing shows that they can call us", True),
    (Evidence(OK, "", REFUSED, RIGHT, CAME, ASTRAY), "one-way: images do not come back", True),
    (Evidence(OK, "", ADMITTED, UNASKED, UNCALLED, ASTRAY), "one-way: images do not come back", False),
    (Evidence(OK, "", ADMITTED, UNASKED, UNCALLED, ImageOutcome.UNLISTED), "one-way: they do not know us", False),
    (Evidence(OK, "", ADMITTED, UNASKED, UNCALLED, ImageOutcome.REJECTED), "one-way: we do not admit them", False),
    (
        Evidence(OK, "", REFUSED, RIGHT, CAME, ImageOutcome.CHANGED),
        "changed: images do not come back as they were sent",
        True,
    ),
    (
        Evidence(OK, "", REFUSED, RIGHT, CAME, ImageOutcome.REFUSED),
        "no images: the peer does not take or does not find them",
        True,
    ),
    (
        Evidence(OK, "", REFUSED, RIGHT, CAME, ImageOutcome.MISSING),
        "no images: the peer does not take or does not find them",
        True,
    ),
    # what the echoes refute, no image proves
    (Evidence(OK, "", REFUSED, RIGHT, REJECTED, SAME), "one-way: we do not admit them", True),
    (Evidence(OK, "", ADMITTED, MISSING, CAME, SAME), "one-way: they do not know us", False),
    # there is no echo at all
    (Evidence(Outcome.REJECTED, "rejected.called-ae-title"), "wrong title: the peer is not called so", None),
    (Evidence(Outcome.REJECTED, "rejected.limit"), "busy: the peer takes no more associations", None),
    (Evidence(Outcome.REJECTED, "rejected.congestion"), "busy: the peer takes no more associations", None),
    (
        Evidence(Outcome.NO_CONTEXT, "no-context.abstract-syntax"),
        "no echo: the peer accepts us and does not answer the echo",
        None,
    ),
    (
        Evidence(Outcome.NO_RESPONSE, "no-response.silence"),
        "no echo: the peer accepts us and does not answer the echo",
        None,
    ),
    (Evidence(Outcome.FAILURE, "failure.other"), "no echo: the peer accepts us and does not answer the echo", None),
    (
        Evidence(Outcome.NO_ASSOCIATION, "no-association.http"),
        "unreachable: the port opens, and no DICOM peer answers",
        None,
    ),
    (Evidence(Outcome.UNREACHABLE, "unreachable.refused"), "unreachable", None),
]


@pytest.mark.parametrize(("evidence", "text", "is_enforced"), ROWS)
def test_what_the_legs_prove(evidence: Evidence, text: str, is_enforced: bool | None) -> None:
    assert (verdict(evidence), enforced(evidence)) == (text, is_enforced)


def test_every_verdict_is_given_by_some_evidence() -> None:
    assert {text for _, text, _ in ROWS} == set(Verdict)


def test_it_is_mutual_only_where_both_have_echoed_and_nothing_says_that_they_do_not_know_us() -> None:
    codes = ["", *(code for code in CATALOGUE if code.startswith(("rejected.", "aborted.", "unreachable.")))]
    for out, code, stranger, registered, inbound in product(
        Outcome, codes, StrangerOutcome, RegisteredOutcome, InboundOutcome
    ):
        evidence = Evidence(out, code, stranger, registered, inbound)
        if verdict(evidence) is Verdict.MUTUAL:
            assert out is OK
            assert inbound is CAME
            assert registered is not MISSING
            assert stranger is REFUSED or registered in {RIGHT, WRONG}


def test_where_an_image_was_sent_it_is_mutual_only_if_that_came_back() -> None:
    for stranger, registered, inbound, image in product(
        StrangerOutcome, RegisteredOutcome, InboundOutcome, WHAT_BECAME_OF_IT
    ):
        evidence = Evidence(OK, "", stranger, registered, inbound, image)
        if verdict(evidence) is Verdict.MUTUAL:
            assert image is SAME
            assert registered is not MISSING
            assert inbound in {CAME, UNCALLED, InboundOutcome.UNKNOWN}


@pytest.mark.parametrize(
    ("outcomes", "image"),
    [
        ({"store": "refused"}, ImageOutcome.REFUSED),
        ({"store": "stored", "find": "missing", "move": "returned", "compare": "same"}, ImageOutcome.MISSING),
        ({"store": "stored", "find": "found", "move": "unlisted"}, ImageOutcome.UNLISTED),
        ({"store": "stored", "find": "found", "move": "returned", "compare": "changed"}, ImageOutcome.CHANGED),
        ({"store": "stored", "find": "found", "move": "returned", "compare": "same", "remove": "left"}, SAME),
        ({"store": "stored", "find": "found", "move": "returned", "compare": "re-encoded"}, SAME),
        ({"store": "skipped", "find": "skipped", "move": "skipped", "compare": "skipped"}, ImageOutcome.SKIPPED),
        ({}, ImageOutcome.SKIPPED),
    ],
)
def test_of_an_image_what_went_amiss_first_counts(outcomes: dict[str, str], image: ImageOutcome) -> None:
    echoes = {"out": "success", "stranger": "unclear", "registered": "right", "in": "success"}
    after = {name: "skipped" for name in ("find", "move", "compare", "remove") if outcomes}
    legs = [
        Leg(leg=name, outcome=outcome, standing=STANDINGS.get(outcome, Standing.PASSED))
        for name, outcome in (echoes | after | outcomes).items()
    ]
    assert Evidence.of(legs).image is image
