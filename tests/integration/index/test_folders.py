"""Landing folders, and the rows of what lies in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from archive.index import folders
from archive.index.instances import AddOutcome
from archive.index.records import LandingFolderRow
from archive.index.session import Database
from tests.integration.index.making import NOW, add, new_instance, new_location, rows, sop_uid, value
from tests.integration.index.test_retrieving import copy_to_cold

FOLDER = "20261123/063529-aa"


def unsealed(database: Database) -> list[str]:
    """Return the names of the folders not sealed."""
    with database.read() as connection:
        return [folder.name for folder in folders.unsealed_folders(connection)]


def drop(database: Database, *keys: str) -> list[str]:
    """Drop rows in one transaction."""
    with database.write(synced=False) as connection:
        return folders.drop_rows_without_file(connection, keys)


def test_an_open_folder_is_not_sealed(database: Database) -> None:
    """What was opened is compared at the next start, until it is sealed."""
    with database.write(synced=True) as connection:
        folders.open_folder(connection, FOLDER, NOW)
    with database.read() as connection:
        assert folders.unsealed_folders(connection) == [LandingFolderRow(FOLDER, NOW, None)]


def test_a_sealed_folder_is_done(database: Database) -> None:
    """Sealing ends it; other folders stay open, oldest first."""
    with database.write(synced=True) as connection:
        for number in (3, 1, 2):
            folders.open_folder(connection, f"20261123/{number}", NOW + timedelta(seconds=number))
        folders.seal_folder(connection, "20261123/2", NOW + timedelta(hours=1))
    assert unsealed(database) == ["20261123/1", "20261123/3"]
    sealed = rows(database, "SELECT name, sealed_at FROM landing_folder WHERE sealed_at IS NOT NULL")
    assert sealed == [("20261123/2", "2026-11-23T07:35:29.123456Z")]


def test_a_folder_opened_again_stays_as_it_is(database: Database) -> None:
    """Start-up makes every folder on disk known: it must not unseal one, nor change when it was opened."""
    with database.write(synced=True) as connection:
        folders.open_folder(connection, FOLDER, NOW)
        folders.seal_folder(connection, FOLDER, NOW)
        folders.open_folder(connection, FOLDER, NOW + timedelta(days=1))
        folders.seal_folder(connection, FOLDER, NOW + timedelta(days=1))
    assert unsealed(database) == []
    assert rows(database, "SELECT opened_at, sealed_at FROM landing_folder") == [("2026-11-23T06:35:29.123456Z",) * 2]


def test_sealing_what_was_never_opened_is_nothing(database: Database) -> None:
    """There is no such folder, and none is made."""
    with database.write(synced=True) as connection:
        folders.seal_folder(connection, FOLDER, NOW)
    assert value(database, "SELECT COUNT(*) FROM landing_folder") == 0


def test_the_keys_of_a_folder_are_those_in_it(database: Database) -> None:
    """Hot copies of exactly this folder: not of one whose name begins alike, not cold ones."""
    keys = [f"{FOLDER}/1", f"{FOLDER}/2", f"{FOLDER}b/1", f"{FOLDER}.d/1", f"{FOLDER[:-1]}/1", f"{FOLDER}0", "a"]
    add(database, *(replace(new_instance(n), location=new_location(key)) for n, key in enumerate(keys)))
    copy_to_cold(database, sop_uid(0), f"{FOLDER}/3")
    with database.read() as connection:
        assert folders.keys_in_folder(connection, FOLDER) == {f"{FOLDER}/1", f"{FOLDER}/2"}
        assert folders.keys_in_folder(connection, "20261123/none") == set()


def test_a_folder_is_looked_up_by_its_index(database: Database) -> None:
    """Comparing a folder does not read the whole table of copies."""
    if database.dialect == "sqlite":
        plan = rows(database, "EXPLAIN QUERY PLAN " + folders._KEYS.sql, (f"{FOLDER}/", f"{FOLDER}0"))
        assert "uq_location_key" in str(plan) or "sqlite_autoindex_location" in str(plan)


def test_rows_without_a_file_are_dropped_with_their_instance(database: Database) -> None:
    """An instance whose only copy is gone is not offered any more; its UIDs are told."""
    first, second = new_instance(1), new_instance(2)
    add(database, first, second)
    assert drop(database, first.location.key) == [sop_uid(1)]
    assert rows(database, "SELECT sop_instance_uid FROM instance") == [(sop_uid(2),)]
    assert rows(database, "SELECT key FROM location") == [(second.location.key,)]


def test_an_instance_with_another_copy_stays(database: Database) -> None:
    """Only the copy without a file goes; when the last one goes, so does the instance."""
    item = new_instance(1)
    add(database, item)
    copy_to_cold(database, sop_uid(1), "pack/1")
    assert drop(database, item.location.key) == []
    assert value(database, "SELECT COUNT(*) FROM instance") == 1
    assert drop(database, "pack/1") == [sop_uid(1)]
    assert value(database, "SELECT COUNT(*) FROM instance") == 0


def test_both_copies_dropped_at_once_drop_the_instance(database: Database) -> None:
    """The order of keys does not matter."""
    item = new_instance(1)
    add(database, item)
    copy_to_cold(database, sop_uid(1), "pack/1")
    assert drop(database, "pack/1", item.location.key) == [sop_uid(1)]


def test_dropping_an_unknown_key_is_nothing(database: Database) -> None:
    """What is not indexed need not be dropped."""
    add(database, new_instance())
    assert drop(database, "no/such/key") == []
    assert drop(database) == []
    assert value(database, "SELECT COUNT(*) FROM instance") == 1


def test_what_was_dropped_can_come_again(database: Database) -> None:
    """The sender was never told success: it sends again, and the rows above are still there."""
    item = new_instance()
    add(database, item)
    drop(database, item.location.key)
    assert [value(database, f"SELECT COUNT(*) FROM {table}") for table in ("patient", "study", "series")] == [1, 1, 1]
    assert add(database, item) == [AddOutcome.ADDED]
    assert value(database, "SELECT COUNT(*) FROM series") == 1
