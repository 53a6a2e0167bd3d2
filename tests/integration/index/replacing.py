"""Lets a lossy copy take the place of an instance in the index, as a migration does; must not make a copy of anything.

``archive.index.cold`` does it with packs around; here the copy stays the location that there is.
"""

from __future__ import annotations

from archive.index import successors
from archive.index.session import Database
from archive.index.statements import Statement
from archive.index.successors import Successor
from tests.integration.index.making import digest

HTJ2K = "1.2.840.10008.1.2.4.203"
_WAS = Statement(
    "SELECT study_instance_uid, transfer_syntax_uid, dataset_sha256, dataset_size FROM instance "
    "JOIN series ON series.id = series_fk JOIN study ON study.id = study_fk WHERE sop_instance_uid = ?"
)
_TAKE_ON = Statement(
    "UPDATE instance SET sop_instance_uid = ?, transfer_syntax_uid = ?, dataset_sha256 = ?, dataset_size = ? "
    "WHERE sop_instance_uid = ?"
)


def copy_of(uid: str) -> str:
    """Return the UID of the copy."""
    return f"{uid}.99"


def copy_digest(uid: str) -> bytes:
    """Return the digest of the copy's data set."""
    return digest(f"copy of {uid}")


def replace_by_copy(database: Database, *uids: str, keeps_uids: bool = False) -> None:
    """Let copies take the place of these instances, under their own UIDs or under the same."""
    for uid in uids:
        new = uid if keeps_uids else copy_of(uid)
        with database.write(synced=False) as connection:
            was = _WAS.one(connection, (uid,))
            assert was is not None
            study, syntax, sha256, size = was
            _TAKE_ON.run(connection, (new, HTJ2K, copy_digest(uid), 100, uid))
            successors.add(connection, [Successor(uid, new, study, syntax, bytes(sha256), size)])
