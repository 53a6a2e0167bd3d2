"""Instances found again by their unique keys, and the state of their copies."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from archive.errors import InvalidIdentifier
from archive.index.instances import iter_instances, iter_locations, set_location_state
from archive.index.records import StoredInstance, StoredLocation
from archive.index.session import Database, IndexRefused
from archive.index.statements import Statement
from tests.integration.index.making import (
    CT_CLASS,
    EXPLICIT,
    NOW,
    add,
    change,
    digest,
    new_instance,
    numbers,
    rows,
    sop_uid,
    value,
)


def retrieved(database: Database, **keys: str) -> list[str]:
    """Return the SOP Instance UIDs selected, in the order of the index."""
    with database.read() as connection:
        return [instance.sop_instance_uid for instance in iter_instances(connection, **keys)]


def copy_to_cold(database: Database, uid: str, key: str, state: str = "present") -> None:
    """Give an instance a cold copy."""
    change(
        database,
        "INSERT INTO location (instance_fk, tier, key, sha256, header_size, size_bytes, state) "
        "SELECT id, 'cold', ?, ?, 10, 20, ? FROM instance WHERE sop_instance_uid = ?",
        (key, digest(key), state, uid),
    )


@pytest.fixture
def stocked(database: Database) -> Database:
    """Lend an index with two patients, three studies, two series each, two instances each."""
    items = [
        new_instance(n, series, study, PatientID="A" if study < 3 else "B")
        for study in (1, 2, 3)
        for series in (2, 1)
        for n in (2, 1)
    ]
    add(database, *items)
    return database


def test_an_instance_comes_back_whole(database: Database) -> None:
    """Identifiers, transfer syntax, digest, size and copy are those that were added."""
    item = new_instance()
    add(database, item)
    at = item.location
    with database.read() as connection:
        (stored,) = iter_instances(connection, study="2.25.1")
    assert stored == StoredInstance(
        instance_id=1,
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.1.1",
        sop_instance_uid=sop_uid(),
        sop_class_uid=CT_CLASS,
        transfer_syntax_uid=EXPLICIT,
        dataset_sha256=digest(sop_uid()),
        dataset_size=1001,
        locations=(StoredLocation("hot", at.key, at.sha256, 700, 1700, "present"),),
    )
    assert isinstance(stored.dataset_sha256, bytes)


@pytest.mark.parametrize("given", [("study",), ("study", "series"), ("series",), ("study", "sops"), ("sops",)])
def test_one_of_a_kind_is_found_as_one_of_many(stocked: Database, given: tuple[str, ...]) -> None:
    """By one value of each key the same comes, in the same order, as by a list with another that nothing has."""
    uids = {"study": "2.25.2", "series": "2.25.2.1", "sops": sop_uid(2, 1, 2)}
    with stocked.read() as connection:
        (known,) = iter_instances(connection, sops=[uids["sops"]])
        assert (known.study_instance_uid, known.series_instance_uid) == (uids["study"], uids["series"])
        one: dict[str, Any] = {key: [uids[key]] if key == "sops" else uids[key] for key in given}
        many: dict[str, Any] = {
            key: [*value, "9.9"] if key == "sops" else value + "\\9.9" for key, value in one.items()
        }
        found = list(iter_instances(connection, **one))
        assert found == list(iter_instances(connection, **many))
    assert len(found) == (1 if "sops" in given else 2 if "series" in given else 4)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"patient": "A"}, 8),
        ({"patient": "A\\B"}, 12),
        ({"patient": "A", "study": "2.25.3"}, 0),
        ({"study": "2.25.1"}, 4),
        ({"study": "2.25.1\\2.25.3"}, 8),
        ({"study": " 2.25.1 "}, 4),
        ({"study": "2.25.1", "series": "2.25.1.2"}, 2),
        ({"series": "2.25.1.2\\2.25.2.2"}, 4),
        ({"study": "2.25.9"}, 0),
        ({"study": "2.25"}, 0),
        ({"study": ""}, 0),
        ({"patient": "a"}, 0),
    ],
)
def test_keys_select_what_they_name(stocked: Database, keys: dict[str, str], expected: int) -> None:
    """All the keys given must match; a key may hold several values; nothing is matched by a part of it."""
    assert len(retrieved(stocked, **keys)) == expected


def test_instances_are_selected_by_their_own_uids(stocked: Database) -> None:
    """A list of SOP Instance UIDs selects those that exist, once each."""
    wanted = [sop_uid(1, 1, 1), sop_uid(2, 2, 3), "2.25.404", sop_uid(1, 1, 1)]
    with stocked.read() as connection:
        found = [instance.sop_instance_uid for instance in iter_instances(connection, sops=iter(wanted))]
    assert found == [sop_uid(1, 1, 1), sop_uid(2, 2, 3)]


def test_many_uids_at_once_are_no_problem(database: Database) -> None:
    """A C-MOVE may name more instances than a statement takes parameters."""
    add(database, *(new_instance(number) for number in range(50)))
    wanted = [sop_uid(number) for number in range(70_000)]
    with database.read() as connection:
        assert len(list(iter_instances(connection, sops=wanted))) == 50


def test_no_key_at_all_is_refused(stocked: Database) -> None:
    """Nobody means the whole archive."""
    with pytest.raises(InvalidIdentifier), stocked.read() as connection:
        list(iter_instances(connection))


def test_nothing_asked_is_nothing_found(stocked: Database) -> None:
    """An empty list of UIDs selects no instance, it does not select all."""
    with stocked.read() as connection:
        assert list(iter_instances(connection, sops=[])) == []
        assert list(iter_instances(connection, study="2.25.1", sops=[])) == []


def test_instances_come_in_the_order_of_their_numbers(database: Database) -> None:
    """Series number, then instance number, as numbers; what has none comes last; arrival decides the rest."""
    arrivals = [("10", "1"), ("2", "11"), ("2", "9"), (None, "1"), ("2", None), ("2", "x"), ("-1", " 5"), ("2", "+10")]
    for number, (series_number, instance_number) in enumerate(arrivals):
        attributes = {"SeriesNumber": series_number, "InstanceNumber": instance_number}
        add(database, new_instance(number, {"10": 1, "2": 2, None: 3, "-1": 4}[series_number], 1, attributes))
    assert numbers([retrieved(database, study="2.25.1")[0]]) == [6]
    assert [int(uid.rpartition(".")[2]) for uid in retrieved(database, study="2.25.1")] == [6, 2, 7, 1, 4, 5, 0, 3]


def test_copies_come_with_their_instance_hot_first(database: Database) -> None:
    """An instance with several copies is one instance; the nearest copy comes first."""
    add(database, new_instance(1), new_instance(2))
    copy_to_cold(database, sop_uid(1), "pack/1")
    change(database, "UPDATE location SET tier = 'cold' WHERE key LIKE ?", ("20261123/%/2.25.1.1.2",))
    copy_to_cold(database, sop_uid(2), "pack/2")
    with database.read() as connection:
        found = list(iter_instances(connection, series="2.25.1.1"))
    assert [[copy.tier for copy in instance.locations] for instance in found] == [["hot", "cold"], ["cold", "cold"]]
    assert found[0].locations[1] == StoredLocation("cold", "pack/1", digest("pack/1"), 10, 20, "present")


def test_an_instance_without_a_copy_is_still_found(database: Database) -> None:
    """The retrieve that needs it fails for this one instance; it does not overlook it."""
    add(database, new_instance(1), new_instance(2))
    change(database, "DELETE FROM location WHERE key LIKE ?", ("%2.25.1.1.1",))
    with database.read() as connection:
        found = list(iter_instances(connection, study="2.25.1"))
    assert [len(instance.locations) for instance in found] == [0, 1]


def test_the_stream_may_be_left_early(stocked: Database) -> None:
    """A cancelled retrieve stops reading; the connection serves the next one."""
    for _ in range(40):
        with stocked.read() as connection:
            assert next(iter_instances(connection, patient="A\\B")).study_instance_uid == "2.25.1"


@pytest.mark.parametrize("hostile", ["' OR '1'='1", "%", "*", "2.25.?", "\0", '"', "\ud800"])
def test_hostile_keys_select_nothing(stocked: Database, hostile: str) -> None:
    """Keys are values: no wildcard, no SQL, no crash."""
    assert retrieved(stocked, study=hostile) == []
    with stocked.read() as connection:
        assert list(iter_instances(connection, sops=[hostile] * 40 + [f"{hostile}{n}" for n in range(40)])) == []


# ---- copies ---------------------------------------------------------------------------------------------------------


def test_copies_are_read_page_by_page(database: Database) -> None:
    """A fixity check goes through all copies in ascending order and can go on where it stopped."""
    add(database, *(new_instance(number) for number in range(25)))
    seen: list[int] = []
    while True:
        with database.read() as connection:
            page = list(iter_locations(connection, after_id=seen[-1] if seen else 0, limit=10))
        seen += [copy.location_id for copy in page]
        if len(page) < 10:
            break
    assert seen == sorted(set(seen))
    assert len(seen) == 25


def test_a_copy_comes_with_what_proves_it(database: Database) -> None:
    """Digest and size of data set and header, and when they were last compared."""
    item = new_instance()
    add(database, item)
    with database.read() as connection:
        (copy,) = iter_locations(connection)
    assert (copy.sop_instance_uid, copy.dataset_sha256, copy.dataset_size) == (sop_uid(), digest(sop_uid()), 1001)
    assert copy.location == StoredLocation("hot", item.location.key, item.location.sha256, 700, 1700, "present")
    assert copy.verified_at is None


def test_the_state_of_a_copy_can_be_set(database: Database) -> None:
    """Damaged, missing, present again; the moment of verification is kept when none is given."""
    item = new_instance()
    add(database, item)
    later = NOW + timedelta(days=1)
    with database.write(synced=False) as connection:
        assert set_location_state(connection, item.location.key, "damaged", verified_at=later)
    with database.read() as connection:
        (copy,) = iter_locations(connection)
    assert (copy.location.state, copy.verified_at) == ("damaged", later)
    with database.write(synced=False) as connection:
        assert set_location_state(connection, item.location.key, "present")
    assert rows(database, "SELECT state, verified_at FROM location") == [("present", "2026-11-24T06:35:29.123456Z")]


def test_the_state_of_an_unknown_copy_cannot_be_set(database: Database) -> None:
    """The caller is told that there was nothing to change."""
    with database.write(synced=False) as connection:
        assert not set_location_state(connection, "no/such/key", "missing")


def test_a_state_nobody_defined_is_refused(database: Database) -> None:
    """States are three words; the database knows them."""
    item = new_instance()
    add(database, item)
    with pytest.raises(IndexRefused), database.write(synced=False) as connection:
        set_location_state(connection, item.location.key, "fine")
    assert value(database, "SELECT state FROM location") == "present"


def test_setting_one_copy_s_state_leaves_the_others(database: Database) -> None:
    """A key names one copy."""
    first, second = new_instance(1), replace(new_instance(2))
    add(database, first, second)
    with database.write(synced=False) as connection:
        set_location_state(connection, first.location.key, "missing")
        states = {key: state for key, state in Statement("SELECT key, state FROM location").rows(connection)}
    assert states == {first.location.key: "missing", second.location.key: "present"}
