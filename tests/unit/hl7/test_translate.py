"""What each event of PAM France says, and what is refused."""

from __future__ import annotations

import pytest

from archive.errors import MessageRefused
from archive.hl7.messages import parse
from archive.hl7.translate import Establishment, translate, why_nothing
from archive.services.adt import Statement, from_says, to_says
from tests.unit.hl7.making import MESSAGES, adt, life, pv1, sample, zbe

VISIT = "000897406"


def read(raw: bytes, *authorities: str) -> Statement | None:
    """Translate for one site."""
    return translate(parse(raw), lambda _names: Establishment("CHU", authorities))


def said(raw: bytes, *authorities: str) -> Statement:
    """Translate a message that says something."""
    statement = read(raw, *authorities)
    assert statement is not None
    return statement


def refusal(raw: bytes, *authorities: str) -> MessageRefused:
    """Return why a message is refused."""
    with pytest.raises(MessageRefused) as caught:
        read(raw, *authorities)
    return caught.value


def stay(name: str, **replaced: str) -> tuple[object, ...]:
    """Return what a sample says of a stay."""
    each = said(sample(name, **replaced))
    return each.kind, each.is_cancel, each.visit, each.movement, each.from_on, each.to_on


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a01_admission", ("start", False, VISIT, "312", "2024-03-06", None)),
        ("a04_outpatient", ("start", False, VISIT, "201", "2023-01-10", None)),
        ("a03_discharge", ("end", False, VISIT, "340", "2024-03-06", "2024-03-12")),
        ("a08_update", ("update", False, VISIT, "", "2024-03-05", None)),
        ("a11_cancel_admission", ("start", True, VISIT, "312", "2024-03-06", None)),
        ("a13_cancel_discharge", ("end", True, VISIT, "340", "2024-03-06", "2024-03-12")),
        ("z99_correction", ("start", False, VISIT, "312", "2024-03-05", None)),
        ("a28_new_person", ("identity", False, "", "", None, None)),
    ],
)
def test_each_event_says_what_it_says_of_a_stay(name: str, expected: tuple[object, ...]) -> None:
    """Admission, consultation, discharge, update, cancels and corrections give kind, stay, movement and days."""
    assert stay(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a31_death", ("2024-03-28", True, False)),
        ("a31_death_unknown_day", (None, True, False)),
        ("a03_death", (None, None, True)),
        ("a01_admission", (None, False, False)),
    ],
)
def test_death(name: str, expected: tuple[object, ...]) -> None:
    """PID-29 is the day, PID-30 alone a death of unknown day, ZFM-2 = 9 a discharge by death."""
    each = said(sample(name))
    assert (each.death_on, each.is_deceased, each.died_at_discharge) == expected


@pytest.mark.parametrize(("name", "other"), [("a40_merge", "000777"), ("a47_change_identifier", "000001")])
def test_merge_and_change_of_identifier(name: str, other: str) -> None:
    """A40 and A47 say that MRG-1 and PID-3 are one patient, by the establishment's identifiers."""
    each = said(sample(name))
    assert (each.kind, each.patient_id, each.others) == ("merge", "000003", (other,))


def test_link_and_unlink_name_two_persons() -> None:
    """A24 links and A37 unlinks the patients of its two PID segments."""
    second = "PID|2||000009^^^CHU-X&000897406&N^PI||PAT-NEUF^A"
    assert (said(adt("A24", segments=second)).kind, said(adt("A24", segments=second)).others) == ("merge", ("000009",))
    assert said(adt("A37", segments=second)).kind == "unmerge"


@pytest.mark.parametrize("name", ["a02_transfer", "a05_preadmission"])
def test_events_that_say_nothing_of_use(name: str) -> None:
    """Transfers and preadmissions are known and say nothing."""
    message = parse(sample(name))
    assert translate(message, lambda _names: Establishment("CHU")) is None
    assert "nothing of use" in why_nothing(message)


@pytest.mark.parametrize("event", ["A01", "A03", "A04"])
@pytest.mark.parametrize("evn", ["EVN||20240306111500|20240310080000", "EVN||20240306111500"])
def test_planned_and_pending_events_do_not_count(event: str, evn: str) -> None:
    """In PAM France an event with EVN-3, or with neither EVN-3 nor EVN-6, has not happened."""
    raw = adt(event, segments=pv1("V1", "20240310")).replace(b"EVN||20240306111500||||20240306111500", evn.encode())
    assert read(raw) is None
    assert "planned or pending" in why_nothing(parse(raw))


def test_a_sender_outside_pam_need_not_fill_the_time_of_the_event() -> None:
    """Without the French extension an admission that does not say when it happened counts: keeping longer wins."""
    raw = (
        adt("A01", segments=pv1("V1", "20240310")).replace(b"||||20240306111500", b"").replace(b"2.5^FRA^2.11", b"2.3")
    )
    assert said(raw).from_on == "2024-03-10"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1979", "1979"),
        ("197903", "1979-03"),
        ("19790000", "1979"),
        ("19790300", "1979-03"),
        ("197903281530", "1979-03-28"),
        ("", None),
        ('""', '""'),
        ("28/03/1979", None),
        ("19791399", None),
    ],
)
def test_birth_may_be_partial_or_none(text: str, expected: str | None) -> None:
    """PID-7 counts as far as it goes; what is no date costs nothing but itself."""
    assert said(adt("A28").replace(b"19790328", text.encode())).birth_on == expected


def test_an_impossible_day_of_death_is_refused() -> None:
    """PID-29 can shorten a retention: what is no date there refuses the message, naming the field and no value."""
    error = refusal(adt("A31", pid=life("20241399", "Y")))
    assert (error.fields["code"], error.fields["location"], error.fields["rejects"]) == (102, "PID^1^29", False)
    assert "2024" not in error.message


INS_FIRST = b"279035121518989^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS~"


def test_the_identifier_is_the_establishments_own() -> None:
    """Without settings the identifier of type PI is taken, never the INS beside it."""
    raw = adt("A28").replace(b"000003^^^CHU-X&000897406&N^PI", INS_FIRST + b"77^^^LABO^XX~000003^^^CHU-X^PI")
    assert said(raw).patient_id == "000003"
    only_ins = adt("A28").replace(b"000003^^^CHU-X&000897406&N^PI", INS_FIRST[:-1])
    assert refusal(only_ins).fields["code"] == 101


def test_the_identifier_is_of_a_configured_authority() -> None:
    """With ipp_authorities only these count, by name or by universal id; a message without any is refused."""
    raw = adt("A28").replace(b"000003^^^", b"AAA^^^OTHER^PI~000003^^^")
    assert said(raw, "CHU-X").patient_id == "000003"
    assert said(raw, "000897406").patient_id == "000003"
    assert said(raw, "OTHER").patient_id == "AAA"
    error = refusal(raw, "CLINIQUE")
    assert (error.fields["code"], error.fields["location"]) == (204, "PID^1^3")


def test_the_site_is_asked_for_by_sender_and_receiver() -> None:
    """The site may be known by application and facility of the sender, then of the receiver."""
    asked: list[tuple[str, str]] = []

    def choose(names: list[tuple[str, str]]) -> Establishment:
        asked.extend(names)
        return Establishment("CHU")

    translate(parse(adt("A28")), choose)
    assert asked[0] == ("GAM", "CHU-X") and ("DRIMBOX", "IMAGERIE") in asked


@pytest.mark.parametrize(
    ("raw", "code", "rejects"),
    [
        (adt("A01").replace(b"ADT^A01", b"ORU^R01"), 200, True),
        (adt("A99"), 201, True),
        (adt("A44"), 201, True),
        (adt("A40"), 101, False),
        (b"\r".join(line for line in adt("A01").split(b"\r") if not line.startswith(b"PID")), 100, False),
        (adt("A28").replace(b"000003", b""), 101, False),
        (adt("A28").replace(b"20240306111500", b""), 101, False),
    ],
)
def test_what_is_refused(raw: bytes, code: int, rejects: bool) -> None:
    """No ADT, unknown event, a stay given to another patient, no other patient, no PID, no identifier, no time."""
    error = refusal(raw)
    assert (error.fields["code"], error.fields["rejects"]) == (code, rejects)


def test_a_stay_without_a_number_has_one_all_the_same() -> None:
    """PID-18, the movement, or patient and day stand in for PV1-19."""
    assert said(adt("A01", segments=pv1("", "20240306"))).visit == "000003 2024-03-06"
    assert said(adt("A01", segments=f"{pv1('')} {zbe('77', '20240306')}")).visit == "77"


def test_zbe_4_cancels_any_movement() -> None:
    """ZBE-4 = CANCEL takes a movement back whatever the event."""
    assert said(adt("A01", segments=f"{pv1('V')} {zbe('1', '20240306', 'CANCEL')}")).is_cancel
    assert said(adt("Z99", segments=f"{pv1('V')} {zbe('1', '20240306', 'CANCEL', 'A03')}")).kind == "end"


@pytest.mark.parametrize("path", sorted(MESSAGES.glob("*.hl7")), ids=lambda path: path.stem)
def test_statements_survive_the_ledger(path: object) -> None:
    """What a message says is the same after it went through the ledger's JSON."""
    statement = read(sample(str(getattr(path, "stem", ""))))
    assert statement is None or from_says(to_says(statement)) == statement
