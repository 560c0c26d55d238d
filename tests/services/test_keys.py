"""KEY=VALUE as a person writes it, for what stands in a sequence."""

import pytest
from pydicom.dataset import Dataset

from minipacs.services.keys import Level, asked_for, query

REQUEST = "RequestAttributesSequence"


def items(*keys: str) -> list[Dataset]:
    return list(query(keys, Level.SERIES)[REQUEST].value)


def test_keys_of_one_sequence_are_in_one_item() -> None:
    [item] = items(f"{REQUEST}.ScheduledProcedureStepID=SPS1", f"{REQUEST}.0040,1001")
    assert (item.ScheduledProcedureStepID, item.RequestedProcedureID) == ("SPS1", "")
    assert items(REQUEST) == []


def test_a_sequence_may_be_in_a_sequence() -> None:
    [item] = items(f"{REQUEST}.ScheduledProtocolCodeSequence.CodeValue=1")
    assert item.ScheduledProtocolCodeSequence[0].CodeValue == "1"


def test_letters_in_a_sequence_need_a_character_set_as_well() -> None:
    asked = query([f"{REQUEST}.ScheduledProcedureStepDescription=Schädel"], Level.SERIES)
    assert asked.SpecificCharacterSet == "ISO_IR 192"


def test_a_column_is_that_of_the_sequence() -> None:
    tags = asked_for([f"{REQUEST}.ScheduledProcedureStepID=1", f"{REQUEST}.RequestedProcedureID"], Level.SERIES)
    assert tags.count(0x00400275) == 1
    assert len(tags) == len(asked_for([], Level.SERIES)) + 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (f"{REQUEST}=1", "must name what in the sequence has the value, such as RequestAttributesSequence.CodeValue=1"),
        ("PatientID.CodeValue=1", "PatientID.CodeValue: must begin with a sequence; PatientID is none"),
        (f"{REQUEST}.Nothing=1", "Nothing: must be a keyword such as PatientName"),
        (f"{REQUEST}.=1", ": must be a keyword such as PatientName"),
    ],
)
def test_a_key_that_is_none_is_refused(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        items(key)
