"""Answers have the form of HL7 v2.5 chapter 2, whatever was asked."""

from __future__ import annotations

from datetime import UTC, datetime

import hl7
import pytest

from archive.hl7.acknowledgement import answers
from archive.hl7.messages import read_header, refused
from tests.unit.hl7.making import adt

NOW = datetime(2026, 11, 27, 8, 30, 1, 5, tzinfo=UTC)
NO = refused("a | reason ^ with ~ separators", code=101, location="PID^1^3")
NEVER = refused("no", code=201, rejects=True)


def lines(raw: bytes, error: object = None) -> list[list[list[str]]]:
    """Return the answers to a message as fields."""
    found = answers(read_header(raw), error, NOW)  # type: ignore[arg-type]
    return [[line.split("|") for line in each.decode("latin-1").split("\r")[:-1]] for each in found]


def test_acceptance() -> None:
    """The ends are swapped, time, type, version and character set given, the control id repeated."""
    ((head, acknowledgement),) = lines(adt("A01", control="C42", head="|||||FRA|8859/15"))
    assert head[:6] == ["MSH", "^~\\&", "DRIMBOX", "IMAGERIE", "GAM", "CHU-X"]
    assert head[6] == "20261127083001+0000" and head[8] == "ACK^A01^ACK" and head[10:12] == ["P", "2.5^FRA^2.11"]
    assert 0 < len(head[9]) <= 20 and head[16:18] == ["FRA", "8859/15"]
    assert acknowledgement == ["MSA", "AA", "C42"]


def test_refusal_says_where_and_why() -> None:
    """ERR has place, code of table 0357, severity and a reason in which no separator stands."""
    ((_, acknowledgement, error),) = lines(adt("A01", control="C"), NO)
    assert acknowledgement == ["MSA", "AE", "C"]
    assert error[:5] == ["ERR", "", "PID^1^3", "101^Required field missing^HL70357", "E"]
    assert len(error) == 9 and "a   reason   with   separators" in error[8]
    assert lines(adt("A01"), NEVER)[0][1][1] == "AR"


@pytest.mark.parametrize(
    ("accept", "application", "error", "codes"),
    [
        ("AL", "", None, ["CA"]),
        ("AL", "AL", NO, ["CE", "AE"]),
        ("ER", "ER", None, []),
        ("ER", "SU", NEVER, ["CR"]),
        ("SU", "NE", None, ["CA"]),
        ("NE", "ER", NO, ["AE"]),
        ("XX", "", None, []),
    ],
)
def test_enhanced_mode(accept: str, application: str, error: object, codes: list[str]) -> None:
    """By table 0155 each of the two acknowledgements is owed always, on error, on success or never."""
    assert [each[1][1] for each in lines(adt("A01", head=f"|||{accept}|{application}"), error)] == codes


@pytest.mark.parametrize("raw", [b"", b"garbage", b"MSH|^~\\&|only", adt("A01").replace(b"ADT^A01", b"")])
def test_anything_is_answered_with_a_message(raw: bytes) -> None:
    """Whatever came, the answer is a message that a library reads, with an MSA."""
    (answer,) = answers(read_header(raw), NEVER, NOW)
    parsed = hl7.parse(answer.decode("latin-1"))
    assert str(parsed.segment("MSA")[1]) == "AR" and str(parsed.segment("MSH")[12]) in {"2.5", "2.5^FRA^2.11"}


def test_bytes_of_the_sender_come_back_as_they_were() -> None:
    """A facility with accents is named in the answer in the sender's own bytes."""
    raw = adt("A01").replace(b"CHU-X|DRIMBOX", "HÔPITAL".encode("iso8859-15") + b"|DRIMBOX")
    assert "HÔPITAL".encode("iso8859-15") in answers(read_header(raw), None, NOW)[0]
