"""The feed on both databases: each message once, its facts with it, whatever the order, and again after a rebuild."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from archive.errors import IndexUnavailable, MessageNotFound
from archive.hl7.receiver import read
from archive.hl7.translate import Establishment
from archive.index import patient_facts
from archive.index.session import Database
from archive.index.statements import Statement
from archive.services.hl7 import Arrived, Feed, Kept, Reading
from archive.services.ledger import Ledger, LedgerFiles
from tests.unit.hl7.making import adt, life, pv1, sample, zbe
from tests.unit.services.shelf import NOON, Clock
from tiering.disk import OsDisk

SOURCE = "hl7:GAM|CHU-X"
VISIT = "000897406"


@dataclass
class Hospital:
    """A feed and what comes of it."""

    feed: Feed
    authorities: tuple[str, ...] = ()
    site: str = "CHU"

    def read(self, raw: bytes) -> Reading:
        """Read as this hospital is set up now."""
        return read(raw, lambda _names: Establishment(self.site, self.authorities), NOON)

    def send(self, *messages: bytes) -> Kept:
        """Keep messages; return what became of the last."""
        for raw in messages:
            control = raw.split(b"|")[9].decode() if raw.count(b"|") > 9 else ""
            kept = self.feed.keep(Arrived(raw, control, "ADT^A01", "192.0.2.9"), self.read(raw))
        return kept

    def known(self, patient_id: str = "000003") -> list[patient_facts.PatientFact]:
        """Return the facts that count."""
        with self.feed.database.read() as connection:
            return patient_facts.current(connection, self.site, patient_id)

    def facts(self, patient_id: str = "000003") -> set[tuple[str, str | None, str | None, str]]:
        """Return the facts that count: kind, from, to, reference."""
        return {(fact.kind, fact.from_on, fact.to_on, fact.reference) for fact in self.known(patient_id)}

    def of(self, *kinds: str) -> set[tuple[str | None, str | None]]:
        """Return the days of the facts of some kinds."""
        return {(from_on, to_on) for kind, from_on, to_on, _ in self.facts() if kind in kinds}

    def dump(self) -> list[object]:
        """Return the tables of the feed as they are."""
        with self.feed.database.read() as connection:
            messages = Statement("SELECT * FROM hl7_message ORDER BY id").rows(connection)
            facts = Statement(
                "SELECT site, patient_id, kind, from_on, to_on, source, reference, withdrawn_at FROM patient_fact"
                " ORDER BY id"
            ).rows(connection)
            return [*map(tuple, messages), *map(tuple, facts)]


@pytest.fixture
def hospital(database: Database, tmp_path: Path) -> Hospital:
    """A feed into an empty archive."""
    return Hospital(Feed(Ledger(LedgerFiles(OsDisk(), tmp_path / "ledger"), database, Clock()), database))


def test_a_stay_from_admission_to_discharge(hospital: Hospital) -> None:
    """Admission and discharge make one visit; birth comes with them; the audit and the detail name nobody."""
    kept = hospital.send(sample("a01_admission"))
    assert (kept.outcome, kept.is_new, kept.detail) == ("accepted", True, "facts recorded: 2")
    assert hospital.of("visit") == {("2024-03-06", None)}
    hospital.send(sample("a03_discharge"))
    assert hospital.facts() == {
        ("visit", "2024-03-06", "2024-03-12", VISIT),
        ("birth", "1979-03-28", None, "patient 000003"),
    }
    with hospital.feed.database.read() as connection:
        journal = repr(list(Statement("SELECT event, actor, body FROM audit").rows(connection)))
    assert "hl7_received" in journal and "DUR" not in journal and "000003" not in journal and "1979" not in journal


STEPS = ("a01_admission", "a03_discharge", "a13_cancel_discharge", "a11_cancel_admission")


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=lambda order: "".join(n[1:3] for n in order))
def test_cancels_roll_back_in_every_order(hospital: Hospital, order: tuple[str, ...]) -> None:
    """Whatever order the four messages of a stay that never was come in, no visit is left."""
    # The admission is cancelled last, as the sender's own clock says.
    for name in order:
        raw = sample(name)
        hospital.send(raw.replace(b"20240306140000", b"20240313090000") if "a11" in name else raw)
    assert hospital.of("visit") == set()


def everything() -> list[bytes]:
    """Return one message of every kind, about two records of one patient and two stays, each said at another time."""
    old = "|".join(["PID|1||000777^^^CHU-X&000897406&N^PI", "", "PAT^A", "", "19790328"])
    outpatient = sample("a04_outpatient").replace(VISIT.encode() + b"^^^CHU-X&000897406&M^VN", b"V2^^^CHU-X^VN")
    return [
        *map(sample, ("a01_admission", "a03_death", "a08_update", "a13_cancel_discharge", "a28_new_person")),
        *map(sample, ("a31_death", "a40_merge", "a47_change_identifier", "z99_correction", "a05_preadmission")),
        outpatient,
        adt("A11", "20230110100000", segments=f"{pv1('V2')} {zbe('201', '20230110', 'CANCEL')}"),
        adt("A04", "20230111100000", segments=f"{pv1('V2')} {zbe('202', '20230111')}"),
        adt("A31", "20240601000000").replace(b"PID|1||000003^^^CHU-X&000897406&N^PI||PAT-TROIS", old.encode()),
        adt("A08", "20240402000000", pid=life("", "Y"), segments=pv1(VISIT)),
        adt("A31", "20240701000000", pid=life("20240630", "Y")),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_any_order_and_repetition_comes_to_the_same(hospital: Hospital, seed: int) -> None:
    """One message of every kind, shuffled and some sent twice: the facts are those of the order they were made in."""
    hospital.send(*sorted(everything(), key=lambda raw: raw.split(b"|")[6]))
    expected = hospital.facts()
    assert {kind for kind, *_ in expected} == {"visit", "birth", "death"}
    hospital.site = "Other"
    shuffled = everything() * 2
    Random(seed).shuffle(shuffled)
    hospital.send(*(raw.replace(b"|P|", b"|T|") for raw in shuffled))
    assert hospital.facts() == expected


def test_a_cancelled_discharge_opens_the_stay_again(hospital: Hospital) -> None:
    """A13 takes back the end and a death by mode of discharge, and nothing else."""
    hospital.send(sample("a01_admission"), sample("a03_death"))
    assert hospital.of("death") == {("2024-03-12", None)}
    hospital.send(sample("a13_cancel_discharge"))
    assert hospital.of("visit") == {("2024-03-06", None)} and hospital.of("death") == set()


def test_the_same_message_again_changes_nothing(hospital: Hospital) -> None:
    """Sent twice, byte for byte under one control id, a message is kept once; other bytes under it are another."""
    first = hospital.send(sample("a01_admission"))
    before = hospital.dump()
    again = hospital.send(sample("a01_admission"))
    assert (again.number, again.outcome, again.is_new) == (first.number, "accepted", False)
    assert hospital.dump() == before
    other = hospital.send(sample("a01_admission").replace(b"20240306110000", b"20240307110000"))
    assert other.is_new and hospital.of("visit") == {("2024-03-07", None)}


def test_death_and_its_correction(hospital: Hospital) -> None:
    """PID-29 gives a death, PID-30 alone a flag, N takes both back; PID-29 goes before a discharge by death,
    which shortens nothing once the patient was said to live."""
    hospital.send(sample("a31_death_unknown_day"))
    assert hospital.of("deceased") == {(None, None)} and hospital.of("death") == set()
    hospital.send(sample("a03_death"))
    assert hospital.of("death") == {("2024-03-12", None)}
    hospital.send(sample("a31_death"))
    assert hospital.of("death") == {("2024-03-28", None)} and hospital.of("deceased") == set()
    hospital.send(adt("A08", "20240601100000", pid=life("", "N"), segments=pv1(VISIT)))
    assert hospital.of("death") == {("2024-03-12", None)} and hospital.of("deceased") == set()
    assert [fact.is_trusted for fact in hospital.known() if fact.kind == "death"] == [False]


def test_merge_joins_the_facts_of_both(hospital: Hospital) -> None:
    """A40 links the records: the visit of one counts for the other, and an A37 parts them."""
    hospital.send(sample("a01_admission").replace(b"000003^^^", b"000777^^^"))
    assert hospital.of("visit") == set()
    kept = hospital.send(sample("a40_merge"))
    assert "patients linked: 1" in kept.detail
    assert hospital.of("visit") == {("2024-03-06", None)}
    # What was admitted under the old number is discharged under the new one: still one stay.
    hospital.send(sample("a03_discharge"))
    assert hospital.of("visit") == {("2024-03-06", "2024-03-12")}
    hospital.send(adt("A37", "20240901100000", segments="PID|2||000777^^^CHU-X&000897406&N^PI"))
    assert hospital.facts("000777") == {("birth", "1979-03-28", None, "patient 000777")}


def test_change_of_identifier_links_old_to_new(hospital: Hospital) -> None:
    """A47 makes the old identifier and the new one a single patient; twice is once."""
    hospital.send(sample("a01_admission").replace(b"000003^^^", b"000001^^^"))
    hospital.send(sample("a47_change_identifier"))
    kept = hospital.send(sample("a47_change_identifier").replace(b"-1|P|", b"-2|P|"))
    assert "linked" not in kept.detail and hospital.of("visit") == {("2024-03-06", None)}


def test_what_says_nothing_is_kept_and_ignored(hospital: Hospital) -> None:
    """A preadmission is accepted, kept and brings no fact."""
    kept = hospital.send(sample("a05_preadmission"))
    assert (kept.outcome, kept.is_new) == ("ignored", True) and hospital.facts() == set()


def test_a_refused_message_waits_for_better_settings(hospital: Hospital) -> None:
    """Refused, kept byte for byte, the same again kept once; understood after the settings changed, then replayed."""
    hospital.authorities = ("WRONG",)
    raw = sample("a01_admission")
    kept = hospital.send(raw)
    assert kept.outcome == "refused" and "ipp_authorities" in kept.detail and hospital.facts() == set()
    assert not hospital.send(raw).is_new
    assert [each.message for each in hospital.feed.iter_refused()] == [raw]
    assert not hospital.feed.replay(kept.number, hospital.read, actor="anne").is_new
    hospital.authorities = ("CHU-X",)
    done = hospital.feed.replay(kept.number, hospital.read, actor="anne")
    assert (done.number, done.outcome, done.is_new) == (kept.number, "accepted", True)
    assert hospital.of("visit") == {("2024-03-06", None)} and list(hospital.feed.iter_refused()) == []
    assert not hospital.feed.replay(kept.number, hospital.read, actor="anne").is_new


def test_the_sender_of_a_refused_message_may_send_it_again(hospital: Hospital) -> None:
    """When a refused message comes again after the settings changed, it is accepted under its first number."""
    hospital.authorities = ("WRONG",)
    first = hospital.send(sample("a01_admission"))
    hospital.authorities = ()
    again = hospital.send(sample("a01_admission"))
    assert (again.number, again.outcome) == (first.number, "accepted") and hospital.of("visit")


def test_replay_under_another_site_moves_the_facts(hospital: Hospital) -> None:
    """When a facility turns out to be another site's, replaying takes its facts from the one to the other."""
    kept = hospital.send(sample("a01_admission"))
    hospital.site = "Clinique"
    hospital.feed.replay(kept.number, hospital.read, actor="anne")
    assert {kind for kind, *_ in hospital.facts()} == {"visit", "birth"}
    hospital.site = "CHU"
    assert hospital.facts() == set()


def test_replay_under_another_identifier_keeps_birth_and_moves_the_stay(hospital: Hospital) -> None:
    """When another of its identifiers turns out to be the patient's, replaying moves every fact, and back again."""
    raw = sample("a01_admission").replace(b"000003^^^", b"AAA^^^LABO^PI~000003^^^")
    kept = hospital.send(raw)
    assert hospital.facts("AAA") and not hospital.facts()
    for authorities, whose, not_whose in ((("CHU-X",), "000003", "AAA"), (("LABO",), "AAA", "000003")):
        hospital.authorities = authorities
        hospital.feed.replay(kept.number, hospital.read, actor="anne")
        assert {kind for kind, *_ in hospital.facts(whose)} == {"visit", "birth"}
        assert hospital.facts(not_whose) == set()


def test_replay_under_another_stay_keeps_what_is_said_of_the_patient(hospital: Hospital) -> None:
    """When only the stay is understood differently, birth stays and the old stay goes."""
    kept = hospital.send(sample("a01_admission"))
    statement = hospital.read(sample("a01_admission")).statement
    assert statement is not None
    now = Reading(replace(statement, visit="OTHER"))
    hospital.feed.replay(kept.number, lambda _raw: now, actor="anne")
    assert hospital.facts() == {
        ("visit", "2024-03-06", None, "OTHER"),
        ("birth", "1979-03-28", None, "patient 000003"),
    }


def test_a_stay_given_to_another_patient_has_both_assessed_again(hospital: Hospital) -> None:
    """When a stay turns out to be somebody else's, it is withdrawn from the one before it is recorded for the other."""
    hospital.send(sample("a01_admission"))
    hospital.send(sample("a03_discharge").replace(b"000003^^^", b"000009^^^"))
    assert hospital.of("visit") == set()
    assert {kind for kind, *_ in hospital.facts("000009")} == {"visit", "birth"}
    with hospital.feed.database.read() as connection:
        rows = Statement("SELECT event FROM audit ORDER BY sequence").rows(connection)
        assert [event for (event,) in rows].count("fact_withdrawn") == 1


@pytest.mark.parametrize(
    "raw", [adt("A31", "20261125000000"), adt("A31", pid=life("20261125", "Y")), adt("A31", pid=life("2027", "Y"))]
)
def test_the_future_is_refused(hospital: Hospital, raw: bytes) -> None:
    """What was recorded, or who died, after tomorrow is refused: nothing later could take it back."""
    kept = hospital.send(raw)
    assert kept.outcome == "refused" and "future" in kept.detail
    assert hospital.send(adt("A31", "20261124235900", pid=life("20261124", "Y"))).outcome == "accepted"


@pytest.mark.parametrize("raw", [b"", b"\x00\x01MSH", b"MSH|^~\\&|\xff\xfe", bytes(range(256))])
def test_any_bytes_are_kept_as_they_came(hospital: Hospital, raw: bytes) -> None:
    """What is no message is refused and comes back byte for byte, on both databases."""
    kept = hospital.send(raw)
    assert kept.outcome == "refused"
    assert hospital.feed.get(kept.number).message == raw


def test_a_rebuild_makes_the_same_tables(hospital: Hospital) -> None:
    """Replaying the ledger gives every message its number again, and the same facts."""
    hospital.authorities = ("WRONG",)
    kept = hospital.send(sample("a01_admission"))
    hospital.authorities = ()
    hospital.feed.replay(kept.number, hospital.read, actor="anne")
    hospital.send(*map(sample, ("a03_discharge", "a13_cancel_discharge", "a40_merge", "a31_death")))
    before = hospital.dump()
    with hospital.feed.database.write(synced=True) as connection:
        hospital.feed.ledger.files.replay(connection)
    assert hospital.dump() == before


def test_numbers_that_are_none(hospital: Hospital) -> None:
    """Asking for a message that is not there says so."""
    with pytest.raises(MessageNotFound, match="no HL7 message 12"):
        hospital.feed.get(12)
    assert hospital.feed.latest(5) == []


def test_latest_gives_the_last(hospital: Hospital) -> None:
    """The list ends with the newest message, and holds no more than asked for."""
    numbers = [hospital.send(sample(name)).number for name in STEPS]
    assert [each.number for each in hospital.feed.latest(2)] == numbers[-2:]


def test_a_stay_cancelled_by_another_movement_stays(hospital: Hospital) -> None:
    """A cancel of a movement that is not known changes nothing, and says so."""
    hospital.send(sample("a01_admission"))
    kept = hospital.send(adt("A11", "20240306180000", segments=f"{pv1(VISIT)} {zbe('9', '20240306', 'CANCEL')}"))
    assert "not known" in kept.detail and hospital.of("visit") == {("2024-03-06", None)}


def test_a_database_that_is_down_keeps_nothing(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the index fails the message is not kept and no half of it is."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise IndexUnavailable(reason="made up")

    with monkeypatch.context() as broken:
        broken.setattr("archive.services.facts.changes", fail)
        with pytest.raises(IndexUnavailable):
            hospital.send(sample("a01_admission"))
    assert hospital.dump() == []
    assert hospital.send(sample("a01_admission")).is_new
