"""The ledger and the tables made from it: one truth, whatever stops in between."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archive.audit import verify
from archive.errors import ArchiveError, LedgerBroken, NotAllowed
from archive.index import journal, patient_facts
from archive.index.session import Connection, Database
from archive.services.ledger import Draft, Ledger, LedgerFiles
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk


def visit(number: int, patient_id: str = "P1", **data: Any) -> Draft:
    """Return the draft of a visit under a reference of its own."""
    fact = {"site": "CHU", "patient_id": patient_id, "kind": "visit", "from_on": f"2020-01-{number:02}", "to_on": None}
    told = {"is_trusted": True, "source": "file:visits", "reference": f"v{number}"}
    return Draft("fact_recorded", {**fact, **told, **data}, {"source": "file:visits"})


def record(ledger: Ledger, *drafts: Draft) -> None:
    """Let these things happen."""
    ledger.act("anne", lambda _: drafts)


def visits(ledger: Ledger, patient_id: str = "P1") -> list[str | None]:
    """Return what counts now."""
    with ledger.database.read() as connection:
        return [fact.from_on for fact in patient_facts.current(connection, "CHU", patient_id)]


def files(ledger: Ledger) -> list[Path]:
    """Return the ledger's files in their order."""
    return sorted(ledger.files.root.iterdir())


def test_what_happened_is_in_the_file_the_tables_and_the_journal(ledger: Ledger) -> None:
    """One act: a line each, a row each, a journal entry each that names the event and no patient."""
    record(ledger, visit(1), visit(2))
    assert visits(ledger) == ["2020-01-01", "2020-01-02"]
    lines = [json.loads(line) for line in files(ledger)[0].read_bytes().splitlines()]
    assert [(line["sequence"], line["kind"], line["actor"]) for line in lines] == [
        (1, "fact_recorded", "anne"),
        (2, "fact_recorded", "anne"),
    ]
    with ledger.database.read() as connection:
        rows = list(journal.iter_entries(connection))
    verify(rows)
    assert [(row.event, row.actor, json.loads(row.body)) for row in rows] == [
        ("fact_recorded", "anne", {"ledger": 1, "source": "file:visits"}),
        ("fact_recorded", "anne", {"ledger": 2, "source": "file:visits"}),
    ]


def test_an_act_that_is_refused_leaves_nothing(ledger: Ledger) -> None:
    """What the decision raises reaches the caller; no line, no row, no entry."""

    def refuse(_: Connection) -> list[Draft]:
        raise NotAllowed(name="anne", reason="no")

    with pytest.raises(NotAllowed):
        ledger.act("anne", refuse)
    assert ledger.act("anne", lambda _: []) == []
    assert not ledger.files.root.exists()
    with ledger.database.read() as connection:
        assert journal.head(connection)[0] == 0


def test_a_decision_sees_what_was_decided_before(ledger: Ledger) -> None:
    """Each act looks at the state the last one left."""
    record(ledger, visit(1))
    seen: list[int] = []

    def look(connection: Connection) -> list[Draft]:
        seen.append(len(patient_facts.current(connection, "CHU", "P1")))
        return [visit(2)]

    ledger.act("anne", look)
    ledger.act("anne", look)
    assert seen == [1, 2]


def test_the_tables_are_made_again_from_the_files(ledger: Ledger, clock: Clock) -> None:
    """Replayed from the first event, over several months, the tables are what they were, withdrawn facts too."""
    record(ledger, visit(1), visit(2))
    clock.advance(days=40)
    record(ledger, visit(1, from_on="2021-05-05"))
    key = {"site": "CHU", "patient_id": "P1", "kind": "visit", "source": "file:visits", "reference": "v2"}
    record(ledger, Draft("fact_withdrawn", key))
    assert len(files(ledger)) == 2
    with ledger.database.read() as connection:
        before = [(each.from_on, each.withdrawn_at) for each in patient_facts.history(connection, "CHU", "P1")]
    with ledger.database.write(synced=True) as connection:
        assert ledger.files.replay(connection) == 4
    with ledger.database.read() as connection:
        after = [(each.from_on, each.withdrawn_at) for each in patient_facts.history(connection, "CHU", "P1")]
    assert after == before
    assert visits(ledger) == ["2021-05-05"]
    assert ledger.files.verify()[0] == 4
    assert [event.sequence for event in ledger.files.iter_events()] == [1, 2, 3, 4]


class Interrupted(Exception):
    """What a test raises between the sync of the file and the commit."""


class CutBeforeCommit(OsDisk):
    """A disk after whose ``append`` nothing more happens."""

    def append(self, path: Path, data: bytes, offset: int) -> None:
        super().append(path, data, offset)
        raise Interrupted


def test_events_that_the_tables_missed_are_applied_before_the_next_decision(ledger: Ledger) -> None:
    """Killed after the file was synced and before the commit: the next act, or the next start, makes it good."""
    record(ledger, visit(1))
    cut = Ledger(LedgerFiles(CutBeforeCommit(), ledger.files.root), ledger.database, ledger.clock)
    with pytest.raises(Interrupted):
        record(cut, visit(2))
    assert visits(ledger) == ["2020-01-01"]
    record(ledger, visit(3))
    assert visits(ledger) == ["2020-01-01", "2020-01-02", "2020-01-03"]
    with pytest.raises(Interrupted):
        record(cut, visit(4))
    assert ledger.catch_up() == 1
    assert ledger.catch_up() == 0
    assert visits(ledger)[-1] == "2020-01-04"


@pytest.mark.parametrize("tail", [b"\0" * 40, b'{"actor":"zoe', b'{"actor":"zoe","at":"2026'])
def test_a_tail_that_a_power_cut_left_is_written_over(ledger: Ledger, clock: Clock, tail: bytes) -> None:
    """Bytes behind the last whole line were promised to nobody; they are gone with the next act, in any file."""
    for days in (0, 40):
        record(ledger, visit(1))
        with files(ledger)[-1].open("ab") as file:
            file.write(tail)
        clock.advance(days=days)
        record(ledger, visit(2))
    assert ledger.files.verify()[0] == 4
    assert tail not in b"".join(path.read_bytes() for path in files(ledger))


def test_a_clock_that_jumped_back_keeps_the_order(ledger: Ledger, clock: Clock) -> None:
    """Events of an earlier month than the last one's go behind it, not in front."""
    record(ledger, visit(1))
    clock.now -= timedelta(days=400)
    record(ledger, visit(2))
    assert [event.sequence for event in ledger.files.iter_events()] == [1, 2]


def damage(path: Path, how: str) -> None:
    """Change a ledger file as tampering or a bad restore would."""
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "changed":
        lines[0] = lines[0].replace(b"2020-01-01", b"2020-01-31")
    elif how == "removed":
        del lines[0]
    elif how == "unreadable":
        lines[0] = b"nothing\n"
    elif how == "shorter":
        del lines[-1]
    path.write_bytes(b"".join(lines))
    if how == "missing":
        path.unlink()


@pytest.mark.parametrize("how", ["changed", "removed", "unreadable"])
def test_a_line_that_was_changed_is_told(ledger: Ledger, how: str) -> None:
    """Changed, removed or unreadable: verifying says which event, and a replay changes nothing."""
    record(ledger, visit(1), visit(2))
    damage(files(ledger)[0], how)
    with pytest.raises(LedgerBroken):
        ledger.files.verify()
    with pytest.raises(ArchiveError), ledger.database.write(synced=True) as connection:
        ledger.files.replay(connection)
    assert len(visits(ledger)) == 2


@pytest.mark.parametrize("how", ["shorter", "missing"])
def test_nothing_is_decided_on_a_ledger_that_lost_events(ledger: Ledger, how: str) -> None:
    """A ledger older than its tables, as a bad restore leaves it, stops every act instead of being continued."""
    record(ledger, visit(1), visit(2))
    damage(files(ledger)[0], how)
    with pytest.raises(LedgerBroken):
        record(ledger, visit(3))
    assert len(visits(ledger)) == 2


def test_an_event_of_a_newer_version_is_not_passed_over(ledger: Ledger) -> None:
    """An archive that does not know a kind of event stops: it would forget what it cannot understand."""
    record(ledger, visit(1))
    path = files(ledger)[0]
    path.write_bytes(path.read_bytes().replace(b"fact_recorded", b"fact_foretold"))
    with pytest.raises(LedgerBroken, match="newer version"):
        ledger.files.verify()


def test_two_processes_take_turns(ledger: Ledger, url: str) -> None:
    """Another process's acts are seen and continued: one chain, whoever writes."""
    other = Ledger(ledger.files, Database(url), ledger.clock)
    try:
        for number in range(1, 9):
            record(ledger if number % 2 else other, visit(number))
    finally:
        other.database.close()
    assert ledger.files.verify()[0] == 8
    assert len(visits(ledger)) == 8


@pytest.mark.parametrize("kept", [1, 2])
def test_an_act_of_which_a_part_was_written_never_happened(ledger: Ledger, kept: int) -> None:
    """A power cut within an act: none of its events is applied, and the next act takes their place."""
    record(ledger, visit(1))
    before = files(ledger)[0].read_bytes()
    cut = Ledger(LedgerFiles(CutBeforeCommit(), ledger.files.root), ledger.database, ledger.clock)
    with pytest.raises(Interrupted):
        record(cut, visit(2), visit(3), visit(4))
    lines = files(ledger)[0].read_bytes()[len(before) :].splitlines(keepends=True)
    files(ledger)[0].write_bytes(before + b"".join(lines[:kept]))
    assert ledger.catch_up() == 0
    record(ledger, visit(5))
    assert visits(ledger) == ["2020-01-01", "2020-01-05"]
    assert ledger.files.verify()[0] == 2
