"""The map from old UIDs to copies, and what the index answers for each of them, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from archive.errors import InvalidIdentifier
from archive.index import successors, tombstones
from archive.index.instances import AddOutcome, find_digest, find_digests, iter_digests, iter_instances
from archive.index.session import Database
from archive.index.successors import Successor
from archive.index.tombstones import Tombstone
from tests.integration.index.making import NOW, add, digest, find, new_instance, other_bytes, sop_uid
from tests.integration.index.replacing import copy_digest, copy_of, replace_by_copy

OLD, NEW = sop_uid(1), copy_of(sop_uid(1))
STUDY, SERIES = "2.25.1", "2.25.1.1"


def row(old: str, new: str, study: str = "2.25.9") -> Successor:
    """Return what a UID was replaced by."""
    return Successor(old, new, study, "1.2.840.10008.1.2.1", digest(old), 10)


def chain(length: int) -> list[Successor]:
    """Return a copy of a copy of a copy…"""
    return [row(f"2.25.{number}", f"2.25.{number + 1}") for number in range(1, length + 1)]


@pytest.fixture
def replaced(database: Database) -> Database:
    """Lend an index with three instances of a series, of which the first is a lossy copy."""
    add(database, *(new_instance(number, ImageType="ORIGINAL\\PRIMARY\\AXIAL") for number in (1, 2, 3)))
    replace_by_copy(database, OLD)
    return database


# ---- the map -------------------------------------------------------------------------------------------------------


def test_an_old_uid_leads_to_its_copy(database: Database) -> None:
    """UIDs that were never replaced are not in the answer; an empty map answers nothing."""
    with database.write(synced=False) as connection:
        assert successors.resolve(connection, ["2.25.1"]) == {}
        successors.add(connection, [row("2.25.1", "2.25.2")])
        assert successors.resolve(connection, ["2.25.1", "2.25.2", "2.25.3"]) == {"2.25.1": "2.25.2"}
        assert successors.resolve(connection, []) == {}


@pytest.mark.parametrize("length", [2, 40])
def test_a_chain_leads_to_its_end(database: Database, length: int) -> None:
    """A copy of a copy, however often: every UID on the way leads to the last."""
    last = f"2.25.{length + 1}"
    with database.write(synced=False) as connection:
        successors.add(connection, chain(length))
        asked = [f"2.25.{number}" for number in range(1, length + 2)]
        assert successors.resolve(connection, asked) == dict.fromkeys(asked[:-1], last)
        history = successors.histories(connection, ["2.25.9"])[last]
        assert {successors.received_as(connection, uid) for uid in asked} == {asked[0]}
    assert [was.sop_instance_uid for was in history] == asked[-2::-1]


def test_a_kept_uid_leads_nowhere_else(database: Database) -> None:
    """A copy under the UID of its original: the UID stands for the copy, its history is what was received."""
    with database.write(synced=False) as connection:
        successors.add(connection, [row("2.25.4", "2.25.4")])
        assert successors.resolve(connection, ["2.25.4"]) == {}
        assert successors.resolved(connection, ["2.25.4"]) == ["2.25.4"]
        assert successors.received_as(connection, "2.25.4") == "2.25.4"
        assert successors.histories(connection, ["2.25.9"]) == {"2.25.4": [row("2.25.4", "2.25.4")]}


def test_a_circle_ends(database: Database) -> None:
    """It cannot be made by this archive; if somebody does, nothing hangs."""
    with database.write(synced=False) as connection:
        successors.add(connection, [row("2.25.1", "2.25.2"), row("2.25.2", "2.25.3"), row("2.25.3", "2.25.1")])
        assert set(successors.resolve(connection, ["2.25.1", "2.25.3"])) == {"2.25.1", "2.25.3"}
        assert successors.received_as(connection, "2.25.1") in ("2.25.2", "2.25.3")
        assert all(len(history) == 3 for history in successors.histories(connection, ["2.25.9"]).values())


def test_what_is_known_of_a_uid_stays(database: Database) -> None:
    """Told a second time, the first counts."""
    with database.write(synced=False) as connection:
        successors.add(connection, [row("2.25.1", "2.25.2")])
        successors.add(connection, [row("2.25.1", "2.25.7")])
        successors.add(connection, [])
        assert successors.resolve(connection, ["2.25.1"]) == {"2.25.1": "2.25.2"}


def test_resolved_uids_keep_their_order_and_come_once(database: Database) -> None:
    """As a retrieve needs them."""
    with database.write(synced=False) as connection:
        successors.add(connection, chain(2))
        assert successors.resolved(connection, ["2.25.8", "2.25.2", "2.25.3", "2.25.1"]) == ["2.25.8", "2.25.3"]


def test_studies_do_not_mix(database: Database) -> None:
    """The history of a study's copies, of several studies, of one that has none."""
    with database.write(synced=False) as connection:
        successors.add(connection, [row("2.25.1", "2.25.2", "2.25.5"), row("2.25.3", "2.25.4", "2.25.6")])
        assert set(successors.histories(connection, ["2.25.5"])) == {"2.25.2"}
        assert set(successors.histories(connection, ["2.25.5", "2.25.6"])) == {"2.25.2", "2.25.4"}
        assert successors.histories(connection, ["2.25.7"]) == {}


# ---- queries -------------------------------------------------------------------------------------------------------


def images(database: Database, sop: str, **keys: str) -> list[str]:
    """Return the SOP Instance UIDs that a relational query at IMAGE level answers."""
    return sorted(each["SOPInstanceUID"] for each in find(database, "IMAGE", {"SOPInstanceUID": sop, **keys}))


def test_a_query_for_an_old_uid_answers_with_the_copy(replaced: Database) -> None:
    """Alone, in lists, beside its own copy, with the keys above: the answer names the UID that the object has."""
    assert images(replaced, OLD) == [NEW]
    assert images(replaced, NEW) == [NEW]
    assert images(replaced, f" {OLD} ") == [NEW]
    assert images(replaced, f"{OLD}\\{sop_uid(2)}") == sorted([NEW, sop_uid(2)])
    assert images(replaced, f"{NEW}\\{OLD}\\{OLD}") == [NEW]
    assert images(replaced, OLD, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES) == [NEW]
    assert images(replaced, OLD, StudyInstanceUID="2.25.2") == []
    assert images(replaced, f"{OLD}.1") == []
    assert len(images(replaced, "")) == len(images(replaced, "*")) == 3


def test_a_long_list_of_old_uids_is_answered(database: Database) -> None:
    """More than a statement has places for by itself."""
    count = 1200
    add(database, *(new_instance(number) for number in range(1, count + 1)))
    replace_by_copy(database, *(sop_uid(number) for number in range(1, 4)))
    asked = [sop_uid(number) for number in range(1, count + 1)]
    found = images(database, "\\".join(asked))
    assert len(found) == count
    assert {copy_of(uid) for uid in asked[:3]} <= set(found)


@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
def test_above_the_images_their_uids_are_no_keys(replaced: Database, level: str) -> None:
    """Old or new or unknown: neither matched nor answered, as before (PS3.4 C.4.1.2.2.1)."""
    for uid in (OLD, NEW, "1.2.3"):
        (answer,) = find(replaced, level, {"SOPInstanceUID": uid, "StudyInstanceUID": STUDY})
        assert answer.get("SOPInstanceUID", "") == ""


def test_a_hierarchical_query_takes_old_uids_too(replaced: Database) -> None:
    """With the unique keys of the levels above, which are needed as ever."""
    keys = {"SOPInstanceUID": OLD, "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}
    assert [each["SOPInstanceUID"] for each in find(replaced, "IMAGE", keys, relational=False)] == [NEW]
    with pytest.raises(InvalidIdentifier):
        find(replaced, "IMAGE", {"SOPInstanceUID": OLD}, relational=False)


def test_a_copy_under_the_same_uid_is_found_by_it(database: Database) -> None:
    """Where a site keeps UIDs nothing else is to be found."""
    add(database, new_instance(1))
    replace_by_copy(database, OLD, keeps_uids=True)
    assert images(database, OLD) == [OLD]


TOLD = ("ImageType", "LossyImageCompression", "PhotometricInterpretation")


def told(database: Database, **keys: str) -> list[tuple[str, ...]]:
    """Return what a query says of the values that compression with loss changes."""
    asked = {**dict.fromkeys(TOLD, ""), "InstanceNumber": "", **keys}
    found = sorted(find(database, "IMAGE", asked), key=lambda each: each["InstanceNumber"])
    return [tuple(each[keyword] for keyword in TOLD) for each in found]


@pytest.mark.parametrize(
    ("image_type", "photometric", "expected"),
    [
        ("ORIGINAL\\PRIMARY\\AXIAL", "MONOCHROME2", ("DERIVED\\PRIMARY\\AXIAL", "01", "MONOCHROME2")),
        ("DERIVED\\SECONDARY", "RGB", ("DERIVED\\SECONDARY", "01", "YBR_ICT")),
        ("ORIGINAL", "MONOCHROME1", ("DERIVED\\PRIMARY", "01", "MONOCHROME1")),
        (None, None, ("DERIVED\\PRIMARY", "01", "")),
    ],
)
@pytest.mark.parametrize("keeps_uids", [False, True])
def test_a_copy_is_told_as_derived_and_lossy(
    database: Database, image_type: str | None, photometric: str | None, expected: tuple[str, ...], keeps_uids: bool
) -> None:
    """Its row is the original's; the answers say what the object says, and of other instances what they said."""
    values = {"ImageType": image_type, "PhotometricInterpretation": photometric}
    add(database, new_instance(1, attributes=values), new_instance(2, attributes=values))
    before = told(database)
    replace_by_copy(database, OLD, keeps_uids=keeps_uids)
    assert told(database) == [expected, before[1]]


def test_a_copy_matches_as_it_is_told(replaced: Database) -> None:
    """Keys are compared with what the answers say."""
    assert images(replaced, "", LossyImageCompression="01") == [NEW]
    assert images(replaced, "", ImageType="DERIVED") == [NEW]
    assert images(replaced, "", ImageType="ORIGINAL") == [sop_uid(2), sop_uid(3)]
    assert images(replaced, "", ImageType="AXI*") == sorted([NEW, sop_uid(2), sop_uid(3)])


def test_an_index_made_again_says_the_same(database: Database) -> None:
    """It has the copy's own values: nothing is changed a second time."""
    own = {
        "ImageType": "DERIVED\\PRIMARY\\AXIAL",
        "LossyImageCompression": "01",
        "PhotometricInterpretation": "YBR_ICT",
    }
    add(database, new_instance(1, attributes={**own, "SOPInstanceUID": NEW}))
    with database.write(synced=False) as connection:
        successors.add(connection, [row(OLD, NEW, STUDY)])
    assert told(database) == [tuple(own.values())]


# ---- retrieve ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [[OLD], [NEW], [OLD, NEW], [NEW, OLD, OLD]])
def test_a_retrieve_of_an_old_uid_means_the_copy(replaced: Database, asked: Sequence[str]) -> None:
    """Once, with the copy's identity, and with series and study given too."""
    with replaced.read() as connection:
        for above in ({}, {"study": STUDY}, {"study": STUDY, "series": SERIES}):
            (found,) = iter_instances(connection, sops=asked, **above)
            assert (found.sop_instance_uid, found.dataset_sha256) == (NEW, copy_digest(OLD))
        assert list(iter_instances(connection, sops=asked, study="2.25.2")) == []


def test_a_retrieve_of_no_instance_means_none(replaced: Database) -> None:
    """An empty list is a list."""
    with replaced.read() as connection:
        assert list(iter_instances(connection, sops=[])) == []


# ---- the way in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_uids", [False, True])
def test_what_comes_again_is_known(database: Database, keeps_uids: bool) -> None:
    """The original and the copy are stored already, other bytes under either UID are in conflict; nothing is added."""
    original = new_instance(1)
    add(database, original)
    replace_by_copy(database, OLD, keeps_uids=keeps_uids)
    uid = OLD if keeps_uids else NEW
    copy = replace(new_instance(1, SOPInstanceUID=uid), dataset_sha256=copy_digest(OLD))
    assert add(database, original) == [AddOutcome.SAME]
    assert add(database, other_bytes(original)) == [AddOutcome.CONFLICT]
    assert add(database, copy) == [AddOutcome.SAME]
    assert add(database, other_bytes(copy)) == [AddOutcome.CONFLICT]
    assert add(database, original, copy, new_instance(2)) == [AddOutcome.SAME, AddOutcome.SAME, AddOutcome.ADDED]
    assert len(images(database, "")) == 2


def test_each_uid_has_its_own_digest(replaced: Database) -> None:
    """The copy's bytes under the old UID are other bytes, and the other way round."""
    with replaced.read() as connection:
        assert find_digests(connection, OLD) == [digest(OLD)]
        assert find_digests(connection, NEW) == [copy_digest(OLD)]
        assert find_digests(connection, "1.2.3") == []
        assert find_digest(connection, "1.2.3") is None


def test_a_kept_uid_has_two_digests(database: Database) -> None:
    """What was received, and the copy."""
    add(database, new_instance(1))
    replace_by_copy(database, OLD, keeps_uids=True)
    with database.read() as connection:
        assert set(find_digests(connection, OLD)) == {digest(OLD), copy_digest(OLD)}


@pytest.mark.parametrize("state", ["stored", "replaced", "kept", "gone"])
def test_what_is_stored_counts_before_what_was_destroyed(database: Database, state: str) -> None:
    """A tombstone beside an instance is an accident; whoever asks in order to delete hears that it is stored."""
    if state != "gone":
        add(database, new_instance(1))
    if state in ("replaced", "kept"):
        replace_by_copy(database, OLD, keeps_uids=state == "kept")
    with database.write(synced=False) as connection:
        tombstones.add(connection, [Tombstone(OLD, STUDY, "D-2026-0001", digest("gone"), NOW)])
    with database.read() as connection:
        found = find_digest(connection, OLD)
    assert isinstance(found, str if state == "gone" else bytes)
    assert add(database, new_instance(1)) == [AddOutcome.DESTROYED if state == "gone" else AddOutcome.SAME]


# ---- what a study says of itself -----------------------------------------------------------------------------------


def received(database: Database) -> set[tuple[str, str, bytes]]:
    """Return what a disposal list compares."""
    with database.read() as connection:
        return set(iter_digests(connection, [STUDY]))


@pytest.mark.parametrize("keeps_uids", [False, True])
def test_a_study_goes_on_to_say_what_was_received(database: Database, keeps_uids: bool) -> None:
    """Copies are told as what they took the place of, also a copy of a copy; new instances as themselves."""
    add(database, new_instance(1), new_instance(2))
    before = received(database)
    replace_by_copy(database, OLD, keeps_uids=keeps_uids)
    assert received(database) == before
    if not keeps_uids:
        replace_by_copy(database, NEW)
        assert received(database) == before
    add(database, new_instance(3))
    assert received(database) - before == {(STUDY, sop_uid(3), digest(sop_uid(3)))}
