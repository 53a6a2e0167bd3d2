"""The journal's chain: what is sealed can be proved, what is changed shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from archive.audit import GENESIS, Entry, SealedEntry, seal, verify
from archive.errors import AuditBroken

AT = datetime(2026, 11, 23, 6, 35, 29, 123456, tzinfo=UTC)

moments = st.datetimes(datetime(1990, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))
bodies = st.dictionaries(
    st.text(max_size=12), st.text(max_size=20) | st.integers() | st.lists(st.text(max_size=8), max_size=3) | st.none()
)
entries = st.builds(Entry, at=moments, event=st.sampled_from(("stored", "retrieved")), actor=st.text(), body=bodies)


def stored(number: int = 1, **body: str | int | list[str] | None) -> Entry:
    """Return an entry that differs by ``number``."""
    return Entry(AT + timedelta(seconds=number), "stored", "CTSCAN", {"sop_instance_uid": f"2.25.{number}", **body})


def chain(count: int) -> list[SealedEntry]:
    """Return a sealed journal of ``count`` entries."""
    return seal([stored(number) for number in range(count)], sequence=1, previous_hash=GENESIS)


def test_an_empty_journal_holds_and_its_head_is_genesis() -> None:
    """Nothing sealed is nothing broken."""
    assert verify([]) == (0, GENESIS)
    assert bytes(32) == GENESIS


def test_the_first_entry_follows_genesis_with_the_sequence_given() -> None:
    """The caller says where the chain goes on; entries are numbered from there."""
    first, second = seal([stored(1), stored(2)], sequence=41, previous_hash=b"\x07" * 32)
    assert (first.sequence, second.sequence) == (41, 42)
    assert first.previous_hash == b"\x07" * 32
    assert second.previous_hash == first.hash != second.hash


def test_the_hash_is_what_the_documentation_says() -> None:
    """Anyone can recompute a hash with SHA-256 and a JSON encoder."""
    (sealed,) = seal([stored(1, size=3, notes=["é", "b"])], sequence=1, previous_hash=GENESIS)
    canonical = json.dumps(
        [1, "2026-11-23T06:35:30.123456Z", "stored", "CTSCAN", json.loads(sealed.body)],
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    assert sealed.hash == hashlib.sha256(GENESIS + canonical.encode()).digest()


def test_a_known_entry_has_a_known_hash() -> None:
    """The format is for ever: a change of it would break every journal in the field."""
    entry = Entry(AT, "stored", "CT^1", {"b": 1, "a": ["x", "é"], "c": None})
    (sealed,) = seal([entry], sequence=1, previous_hash=GENESIS)
    assert sealed.body == '{"a":["x","é"],"b":1,"c":null}'
    text = '[1,"2026-11-23T06:35:29.123456Z","stored","CT^1",{"a":["x","é"],"b":1,"c":null}]'
    assert sealed.hash.hex() == hashlib.sha256(bytes(32) + text.encode()).hexdigest()


def test_the_moment_is_sealed_in_utc() -> None:
    """The same moment told in another time zone seals the same."""
    paris = AT.astimezone(timezone(timedelta(hours=1)))
    here, there = (seal([Entry(at, "stored", "A", {})], sequence=1, previous_hash=GENESIS)[0] for at in (AT, paris))
    assert here.hash == there.hash


def test_the_order_of_a_body_does_not_count() -> None:
    """Two bodies that say the same seal the same."""
    one, other = Entry(AT, "stored", "A", {"a": "1", "b": "2"}), Entry(AT, "stored", "A", {"b": "2", "a": "1"})
    sealed = [seal([entry], sequence=1, previous_hash=GENESIS)[0].hash for entry in (one, other)]
    assert sealed[0] == sealed[1]


@given(bodies)
def test_a_body_is_canonical_json(body: dict[str, Any]) -> None:
    """Whatever the body, its text is what ``json.dumps`` makes of it with sorted keys and no spaces."""
    (sealed,) = seal([Entry(AT, "stored", "A", body)], sequence=1, previous_hash=GENESIS)
    assert sealed.body == json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@given(st.lists(entries, max_size=8))
def test_what_is_sealed_holds(journal: Sequence[Entry]) -> None:
    """Every sealed journal verifies, with its length and the hash of its last entry."""
    sealed = seal(journal, sequence=1, previous_hash=GENESIS)
    assert verify(sealed) == (len(journal), sealed[-1].hash if sealed else GENESIS)


@given(st.lists(entries, min_size=2, max_size=6), st.data())
def test_sealing_in_parts_is_sealing_at_once(journal: Sequence[Entry], data: st.DataObject) -> None:
    """The chain does not depend on how entries were grouped into transactions."""
    cut = data.draw(st.integers(1, len(journal) - 1))
    whole = seal(journal, sequence=1, previous_hash=GENESIS)
    first = seal(journal[:cut], sequence=1, previous_hash=GENESIS)
    rest = seal(journal[cut:], sequence=cut + 1, previous_hash=first[-1].hash)
    assert [*first, *rest] == whole


TAMPERINGS: dict[str, Callable[[SealedEntry], SealedEntry]] = {
    "moment": lambda row: replace(row, at=row.at + timedelta(microseconds=1)),
    "event": lambda row: replace(row, event="retrieved"),
    "actor": lambda row: replace(row, actor="SOMEONE"),
    "body": lambda row: replace(row, body=row.body.replace("2.25", "2.26")),
    "previous": lambda row: replace(row, previous_hash=bytes(31) + b"\x01"),
    "hash": lambda row: replace(row, hash=bytes(32)),
    "sequence": lambda row: replace(row, sequence=row.sequence + 1),
}


@pytest.mark.parametrize("what", TAMPERINGS)
@pytest.mark.parametrize("where", [0, 2, 4])
def test_any_changed_field_is_found_where_it_is(what: str, where: int) -> None:
    """A change to any field of any entry breaks the chain at that entry."""
    rows = chain(5)
    rows[where] = TAMPERINGS[what](rows[where])
    with pytest.raises(AuditBroken) as caught:
        verify(rows)
    assert caught.value.fields["sequence"] == where + 1


def test_a_removed_entry_is_found() -> None:
    """A hole in the sequence is a break at the hole."""
    rows = chain(5)
    del rows[2]
    with pytest.raises(AuditBroken, match="entry 3: an entry is missing"):
        verify(rows)


def test_a_removed_entry_is_found_even_when_the_rest_is_renumbered() -> None:
    """Closing the hole by renumbering does not help: the hashes do not follow."""
    rows = chain(5)
    forged = [*rows[:2], *(replace(row, sequence=row.sequence - 1) for row in rows[3:])]
    with pytest.raises(AuditBroken, match="does not follow"):
        verify(forged)


def test_swapped_entries_are_found() -> None:
    """Order is part of what is proved."""
    rows = chain(4)
    rows[1], rows[2] = rows[2], rows[1]
    with pytest.raises(AuditBroken) as caught:
        verify(rows)
    assert caught.value.fields["sequence"] == 2


def test_a_journal_that_does_not_start_at_the_first_entry_is_broken() -> None:
    """Cutting off the beginning is not possible without trace."""
    with pytest.raises(AuditBroken) as caught:
        verify(chain(3)[1:])
    assert caught.value.fields["sequence"] == 1


def test_a_cut_end_shows_against_a_head_kept_elsewhere() -> None:
    """The chain alone cannot know how long it was: count and head have to be compared with what was noted."""
    rows = chain(5)
    assert verify(rows[:4]) != verify(rows)
    assert verify(rows[:4]) == (4, rows[3].hash)


def test_text_cannot_slide_from_one_field_into_the_next() -> None:
    """``ab`` + ``c`` and ``a`` + ``bc`` are different entries, also with quotes and commas inside."""
    pairs = [('stored","x', "A"), ("stored", 'x","A'), ("stored", 'A",{'), ('stored","A', "{")]
    hashes = {seal([Entry(AT, *pair, {})], sequence=1, previous_hash=GENESIS)[0].hash for pair in pairs}
    assert len(hashes) == len(pairs)


@pytest.mark.parametrize("odd", ["\0", "\ud800", "a\0b\udfff"])
def test_what_a_database_cannot_hold_is_replaced_never_refused(odd: str) -> None:
    """An odd AE title must not keep an event out of the journal; what is stored is what was sealed."""
    (sealed,) = seal(
        [Entry(AT, "refused", f"AE{odd}", {"peer": f"x{odd}", "n": [odd]})], sequence=1, previous_hash=GENESIS
    )
    for text in (sealed.actor, sealed.body):
        assert "\0" not in text
        assert text.encode()
    assert verify([sealed]) == (1, sealed.hash)


def test_a_tampered_row_with_a_lone_surrogate_is_a_break_not_a_crash() -> None:
    """Verification survives whatever was written into the table."""
    rows = chain(2)
    rows[1] = replace(rows[1], actor="\ud800")
    with pytest.raises(AuditBroken):
        verify(rows)


def test_sealing_reads_entries_once() -> None:
    """A generator of entries is enough."""
    sealed = seal((stored(number) for number in range(3)), sequence=1, previous_hash=GENESIS)
    assert [row.sequence for row in sealed] == [1, 2, 3]


def test_verification_streams() -> None:
    """A journal need not fit in memory: verification stops at the first break without reading on."""
    rows = chain(3)
    rows[0] = replace(rows[0], actor="SOMEONE")
    left = iter(rows)
    with pytest.raises(AuditBroken):
        verify(left)
    assert next(left).sequence == 2


def test_the_message_of_a_break_names_the_entry_and_no_content() -> None:
    """The operator hears where and why, and nothing of what was stored."""
    rows = chain(2)
    rows[1] = replace(rows[1], body='{"patient":"MOREAU"}')
    with pytest.raises(AuditBroken) as caught:
        verify(rows)
    assert "entry 2" in str(caught.value)
    assert "MOREAU" not in str(caught.value)
