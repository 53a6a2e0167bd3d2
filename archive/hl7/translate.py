"""What an ADT message of IHE PAM (French extension) says, as a statement; pure, must not know what was said before.

Sources: HL7 v2.5 chapter 3; IHE ITI TF-2 3.30 and 3.31; IHE ITI TF-4 section 4 (France): past events have EVN-6 and
no EVN-3, planned ones EVN-3, pending ones neither. Reasons for a refusal name places in the message, never values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from archive.errors import MessageRefused
from archive.hl7.messages import (
    DATA_TYPE,
    FIELD_MISSING,
    NULL,
    SEGMENT_SEQUENCE,
    UNKNOWN_KEY,
    UNSUPPORTED_EVENT,
    UNSUPPORTED_TYPE,
    Message,
    Segment,
    refused,
)
from archive.services.adt import Statement

_STARTS: Final = frozenset({"A01", "A04", "A06", "A07"})
_MERGES: Final = frozenset({"A18", "A24", "A30", "A34", "A36", "A39", "A40", "A46", "A47"})
_IDENTITY: Final = frozenset({"A28", "A31"})
_KINDS: Final = {
    **dict.fromkeys(_STARTS, "start"),
    **dict.fromkeys(_MERGES, "merge"),
    **dict.fromkeys(_IDENTITY, "identity"),
    **{"A03": "end", "A08": "update", "A11": "start", "A13": "end", "A37": "unmerge"},
}
_CANCELS: Final = frozenset({"A11", "A13"})
_MOVES: Final = frozenset({"A43", "A44", "A45", "A49", "A50", "A51"})
"""They give a stay to another patient or another number: not to be taken as if they said nothing."""
_EVENTS: Final = frozenset(f"A{number:02d}" for number in range(1, 63)) | {"Z99"}

_INS: Final = re.compile(r"ASIP-SANTE-INS|^1\.2\.250\.1\.213\.1\.4\.")
_NOT_IPP: Final = frozenset({"INS", "INS-C", "INS-NIR", "NH", "SS", "NI", "AN", "VN"})
_MOMENT: Final = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,4})?)?)?)?(?:[+-]\d{4})?")
_EARLIEST_BIRTH: Final = "1800"
_DIED: Final = "9"  # mode of discharge of the PMSI: death


@dataclass(frozen=True, slots=True)
class Establishment:
    """The site a message belongs to; ``authorities`` of PID-3 give its PatientIDs, none: the first that is no INS."""

    site: str
    authorities: tuple[str, ...] = ()


ChooseSite = Callable[[list[tuple[str, str]]], Establishment]
"""Takes the names of sending then receiving (application, facility), by namespace and by universal id."""


def message_type(message: Message) -> str:
    """Return ``ADT^A01`` of MSH-9; empty parts for what is not letters and digits."""
    header = message.first("MSH")
    parts = [header.value(9), header.value(9, 2) or message.first("EVN").value(1)]
    return "^".join(part if re.fullmatch(r"[A-Z0-9]{1,3}", part) else "" for part in parts)


def translate(message: Message, choose_site: ChooseSite) -> Statement | None:
    """Return what a message says, or None for one that says nothing of stays, death or identity.

    Raises MessageRefused for what is not an ADT event, lacks what its event needs, or holds a date that is none.
    """
    kind, event, _ = message_type(message).partition("^")[0], *_event(message)
    if kind != "ADT":
        raise refused("it is not an ADT message", code=UNSUPPORTED_TYPE, location="MSH^1^9", rejects=True)
    if event in _MOVES or event not in _EVENTS:
        raise refused("its event is not supported", code=UNSUPPORTED_EVENT, location="MSH^1^9^1^2", rejects=True)
    if event not in _KINDS:
        return None
    statement = _base(message, event, choose_site)
    if statement.kind in {"merge", "unmerge"}:
        return _with_others(message, event, statement, choose_site)
    if statement.kind == "identity":
        return statement
    return _with_stay(message, event, statement)


def check_clock(statement: Statement, tomorrow: date) -> None:
    """Refuse what was said, or who died, after tomorrow: no later message could take it back.

    Raises MessageRefused. A sender may be in another time zone, hence not today.
    """
    latest = tomorrow.isoformat()
    if _day_of(statement.said_at) > latest:
        raise refused("it was recorded in the future: a clock is wrong", code=DATA_TYPE, location="EVN^1^2")
    if statement.death_on not in {None, NULL} and (statement.death_on or "") > latest:
        raise refused("the day of death is in the future", code=DATA_TYPE, location="PID^1^29")


def why_nothing(message: Message) -> str:
    """Say of a message that ``translate`` gave None for why it says nothing."""
    event, _ = _event(message)
    return "planned or pending: it has not happened" if event in _KINDS else "this event says nothing of use here"


def _event(message: Message) -> tuple[str, str]:
    """Return the event and the action of ZBE-4; Z99 changes a movement of the event in ZBE-6."""
    event = message_type(message).partition("^")[2]
    movement = message.first("ZBE")
    if event == "Z99":
        event = movement.value(6) or event
    return event, movement.value(4).upper()


# ---- who ------------------------------------------------------------------------------------------------------------


def _base(message: Message, event: str, choose_site: ChooseSite) -> Statement:
    header, person = message.first("MSH"), message.first("PID")
    place = choose_site(_names(header))
    if "PID" not in message.segment_names:
        raise refused("it has no PID segment", code=SEGMENT_SEQUENCE, location="PID^1")
    died = person.value(30).upper()
    return Statement(
        kind=_KINDS[event],
        site=place.site,
        source=f"hl7:{header.value(3)}|{header.value(4)}",
        patient_id=_patient_id(person, 3, place),
        said_at=_said_at(message),
        birth_on=_birth(person),
        death_on=_day(person, 29),
        is_deceased={"Y": True, "N": False, NULL: False}.get(died),
    )


def _names(header: Segment) -> list[tuple[str, str]]:
    """Return every (application, facility) a site may be known by, the sender's first."""
    found = []
    for application, facility in ((3, 4), (5, 6)):
        for component in (1, 2):
            found.append((header.value(application, component), header.value(facility, component)))
            found.append((header.value(application), header.value(facility, component)))
    return found


def _patient_id(segment: Segment, number: int, place: Establishment) -> str:
    """Return the identifier of the site's own authority; raise MessageRefused when there is none."""
    where = f"{segment.name}^1^{number}"
    rest = []
    for repetition in range(1, segment.repetitions(number) + 1):
        identifier = segment.value(number, repetition=repetition)
        if not identifier or identifier == NULL:
            continue
        authority = {segment.value(number, 4, part, repetition=repetition) for part in (1, 2)} - {""}
        if authority & set(place.authorities):
            return identifier
        kind = segment.value(number, 5, repetition=repetition)
        if kind not in _NOT_IPP and not any(map(_INS.search, authority)):
            rest.append((kind != "PI", repetition, identifier))
    if place.authorities:
        raise refused(
            "no identifier is of an authority of the site (ipp_authorities)", code=UNKNOWN_KEY, location=where
        )
    if not rest:
        raise refused("there is no identifier of the establishment", code=FIELD_MISSING, location=where)
    return min(rest)[2]


def _said_at(message: Message) -> str:
    for segment, field in (("EVN", 2), ("MSH", 7)):
        digits = re.match(r"\d{8,14}", message.first(segment).value(field))
        if digits:
            return digits[0].ljust(14, "0")
    raise refused("it does not say when it was recorded", code=FIELD_MISSING, location="EVN^1^2")


def _birth(person: Segment) -> str | None:
    """Return PID-7, partial as it may be; what is no date says nothing, since it must not cost a stay."""
    try:
        born = _day(person, 7)
    except MessageRefused:
        return None
    return born if born == NULL or (born or "") >= _EARLIEST_BIRTH else None


def _with_others(message: Message, event: str, statement: Statement, choose_site: ChooseSite) -> Statement:
    """Add who is the same patient: MRG-1 of each pair of segments, or the second PID of A24 and A37."""
    place = choose_site(_names(message.first("MSH")))
    if event in {"A24", "A37"}:
        persons = list(message.segments("PID"))
        others = [_patient_id(person, 3, place) for person in persons[1:]]
    else:
        others = [_patient_id(segment, 1, place) for segment in message.segments("MRG")]
    if not others:
        raise refused("it does not name the other patient", code=FIELD_MISSING, location="MRG^1^1")
    if len({segment.value(3) for segment in message.segments("PID")}) > 1 and event not in {"A24", "A37"}:
        raise refused("it merges into several patients at once", code=UNSUPPORTED_EVENT, location="PID^2", rejects=True)
    # A change of identifier may keep the establishment's own and change another: nothing is linked then.
    return replace(statement, others=tuple(other for other in dict.fromkeys(others) if other != statement.patient_id))


# ---- when -----------------------------------------------------------------------------------------------------------


def _with_stay(message: Message, event: str, statement: Statement) -> Statement | None:
    stay, movement = message.first("PV1"), message.first("ZBE")
    _, action = _event(message)
    is_cancel = event in _CANCELS or action in {"CANCEL", "DELETE"}
    if not is_cancel and statement.kind != "update" and not _has_happened(message):
        return None
    began, ended = _day(stay, 44), _day(stay, 45)
    days = (_day(message.first("EVN"), 6), _day(movement, 2))
    happened = next((day for day in days if day not in {None, NULL}), None)
    if statement.kind == "update" and (began or "") > _day_of(statement.said_at):
        began = None  # the day on which somebody is expected
    if statement.kind == "start":
        began = began if began not in {None, NULL} else happened
    if statement.kind == "end":
        ended = ended if ended not in {None, NULL} else happened
        began = None if began == NULL else began
    if not is_cancel and statement.kind in {"start", "end"} and not (began if statement.kind == "start" else ended):
        raise refused("it does not say on which day", code=FIELD_MISSING, location="PV1^1^44")
    number = stay.value(19) or message.first("PID").value(18) or movement.value(1)
    return replace(
        statement,
        visit=number or f"{statement.patient_id} {began or ended or ''}".strip(),
        movement=movement.value(1),
        is_cancel=is_cancel,
        from_on=began,
        to_on=ended if statement.kind != "start" else None,
        died_at_discharge=statement.kind == "end" and message.first("ZFM").value(2) == _DIED,
    )


def _day_of(said_at: str) -> str:
    return f"{said_at[:4]}-{said_at[4:6]}-{said_at[6:8]}"


def _has_happened(message: Message) -> bool:
    """Tell past events from planned and pending ones; a sender outside PAM France need not fill EVN-6."""
    event, header = message.first("EVN"), message.first("MSH")
    if event.value(3) and not event.value(6):
        return False
    is_french = header.value(12, 2) == "FRA" or "PAM" in header.value(21)
    return bool(event.value(6)) or not is_french


def _day(segment: Segment, number: int) -> str | None:
    """Return a TS field as ``YYYY[-MM[-DD]]``, NULL as it is, None when it is empty; MessageRefused when it is none."""
    text = segment.value(number)
    if not text or text == NULL:
        return text or None
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise refused("a date is not one", code=DATA_TYPE, location=f"{segment.name}^1^{number}")
    year, month, day = (part if part and int(part) else None for part in found.groups())
    try:
        date(int(year or 0), int(month or 1), int((month and day) or 1))
    except ValueError as exc:
        raise refused("a date is not one", code=DATA_TYPE, location=f"{segment.name}^1^{number}") from exc
    return "-".join(filter(None, (year, month, month and day)))
