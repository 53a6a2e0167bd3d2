"""Landing folders, and the rows of what lies in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from archive.index import folders
from archive.index.records import LandingFolderRow
from archive.index.session import Database
from tests.integration.index.making import NOW, add, new_instance, new_location, rows, sop_uid, value
from tests.integration.index.test_retrieving import copy_to_cold

FOLDER = "20261123/063529-aa"


def unsealed(database: Database) -> list[str]:
    """Return the names of the folders not sealed."""
    with database.read() as connection:
        return [folder.name for folder in folders.unsealed_folders(connection)]


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
