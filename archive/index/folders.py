"""Landing folders, the unit of recovery, and the rows of what lies in them; must not look at the file system."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archive.index.records import LandingFolderRow, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

_OPEN: Final = insert_into("landing_folder", ("name", "opened_at"), " ON CONFLICT (name) DO NOTHING")
_SEAL: Final = Statement("UPDATE landing_folder SET sealed_at = ? WHERE name = ? AND sealed_at IS NULL")
_UNSEALED: Final = Statement(
    "SELECT name, opened_at FROM landing_folder WHERE sealed_at IS NULL ORDER BY opened_at, name"
)
_KEYS: Final = Statement("SELECT key FROM location WHERE tier = 'hot' AND key >= ? AND key < ?")


def open_folder(connection: Connection, name: str, opened_at: datetime) -> None:
    """Make a folder known before anything lands in it; a folder already known stays as it is.

    ``name`` is the key prefix ``<yyyymmdd>/<folder>``.
    """
    _OPEN.run(connection, (name, to_text(opened_at)))


def seal_folder(connection: Connection, name: str, sealed_at: datetime) -> None:
    """Say that all that landed in a folder is indexed: to be done in a synced transaction."""
    _SEAL.run(connection, (to_text(sealed_at), name))


def unsealed_folders(connection: Connection) -> list[LandingFolderRow]:
    """Return the folders start-up has to compare with the index, oldest first."""
    return [LandingFolderRow(name, from_text(at), None) for name, at in _UNSEALED.rows(connection)]


def keys_in_folder(connection: Connection, folder: str) -> set[str]:
    """Return the keys of the hot copies indexed in a folder."""
    return {key for (key,) in _KEYS.rows(connection, (f"{folder}/", f"{folder}0"))}  # "0" follows "/"
