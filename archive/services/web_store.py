"""Takes instances in that somebody sends over the web, one by one, as they come; must not know HTTP or multipart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import NotAllowed, SopClassNotStored, StudyMismatch, UnreadableDataset
from archive.index.contents import site_of as find_site
from archive.part10.foreign import ForeignFile, parse_head
from archive.services.accesses import Access
from archive.services.arrival import CHUNK_BYTES, Arrival
from archive.services.ingest import Ingest, Reception
from archive.services.people import Permission, Person
from archive.services.storage_classes import is_stored
from archive.uids import uid_or_nothing

SERVICE: Final = "STOW-RS"
_LEAST_HEAD_BYTES: Final = 64 * 1024
_LEAST_DATASET_BYTES: Final = 4 * 1024
_LONGEST_TITLE: Final = 16


@dataclass(frozen=True, slots=True)
class Accepted:
    """An instance that is durable."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class WebStore:
    """The way in over the web: the same ingest as C-STORE; ``site_of`` names the establishment a person sends for."""

    ingest: Ingest
    clock: Clock
    ae_title: str
    accept_private: bool
    site_of: Callable[[Person], str]

    def incoming(self, access: Access, study_instance_uid: str = "") -> IncomingFile:
        """Begin a file, of this study alone if one is given. Raises NotAllowed."""
        person = access.person
        site = self.site_of(person)
        person.require(Permission.SEND_IMAGES, site)
        return IncomingFile(self, _Sender(_title(person.name), access.address, site, person, study_instance_uid))

    def check_study(self, sender: _Sender, study_instance_uid: str) -> None:
        """Raise StudyMismatch for another study than the one it was sent to, NotAllowed for one of another's site."""
        if sender.study not in ("", study_instance_uid):
            raise StudyMismatch(reason="Study Instance UID differs from the one it was sent to")
        if sender.person.sites:
            with self.ingest.database.glance() as connection:
                site = find_site(connection, study_instance_uid)
            if not sender.person.is_for(site):
                raise NotAllowed(name=sender.person.name, reason="the study is another site's")

    def arrival(self, found: ForeignFile, sender: _Sender) -> Arrival:
        """Return what is known of an object once its head was read; raise SopClassNotStored."""
        if not is_stored(found.sop_class_uid, accept_private=self.accept_private):
            raise SopClassNotStored(reason="its SOP class is not one that is stored")
        return Arrival(
            sop_class_uid=found.sop_class_uid,
            sop_instance_uid=found.sop_instance_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            calling_ae_title=sender.title,
            called_ae_title=self.ae_title,
            peer_address=sender.address,
            site=sender.site,
        )

    def record(self, access: Access, *, studies: list[str], stored: int, failed: int) -> None:
        """Journal what somebody sent, beside the entries of the instances. Raises IndexUnavailable."""
        body: Body = {
            **access.body(),
            "service": SERVICE,
            "study_instance_uids": studies,
            "stored": stored,
            "failed": failed,
        }
        self.ingest.committer.record(Entry(self.clock(), "sent", access.person.name, body))


@dataclass(frozen=True, slots=True)
class _Sender:
    title: str
    address: str
    site: str
    person: Person
    study: str


@dataclass(slots=True)
class IncomingFile:
    """One Part 10 file on its way in: ``feed`` it, then ``commit`` or ``abandon`` it.

    Memory: its head, 1 MiB at most, until it is known what it is; then the reception's chunk.
    """

    store: WebStore
    sender: _Sender
    found: ForeignFile | None = None
    _head: bytearray = field(default_factory=bytearray)
    _reception: Reception | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises UnreadableDataset, SopClassNotStored, StorageFull and the like."""
        if self._reception is not None:
            _pour(memoryview(data), self._reception)
            return
        self._head += data
        if len(self._head) >= _LEAST_HEAD_BYTES:
            self._begin(is_whole=False)

    def commit(self) -> Accepted:
        """Make the instance durable and say which it is; raises what ``Reception.commit`` does."""
        if self._reception is None:
            self._begin(is_whole=True)
        assert self._reception is not None
        assert self.found is not None
        self._reception.commit()
        study, series = self._reception.study_instance_uid, self._reception.series_instance_uid
        return Accepted(self.found.sop_class_uid, self.found.sop_instance_uid, study, series)

    @property
    def named(self) -> tuple[str, str]:
        """Return SOP class and SOP Instance UID as far as they are known and are UIDs."""
        if self.found is None:
            return "", ""
        return uid_or_nothing(self.found.sop_class_uid), uid_or_nothing(self.found.sop_instance_uid)

    def _begin(self, *, is_whole: bool) -> None:
        found = self._look(is_whole=is_whole)
        if found is None:
            return
        self.found = found
        arrival, check = self.store.arrival(found, self.sender), partial(self.store.check_study, self.sender)
        self._reception = self.store.ingest.begin(arrival, check=check)
        _pour(memoryview(self._head)[found.dataset_offset :], self._reception)
        self._head = bytearray()

    def _look(self, *, is_whole: bool) -> ForeignFile | None:
        """Return what the head says, or None while more of it may say more."""
        is_enough = is_whole or len(self._head) >= CHUNK_BYTES
        try:
            found = parse_head(bytes(self._head), complete=is_enough)
        except UnreadableDataset:
            if is_enough:
                raise
            return None
        room = len(self._head) - found.dataset_offset
        return found if is_enough or room >= _LEAST_DATASET_BYTES else None

    def abandon(self) -> None:
        """Let go of everything; what was not committed leaves no trace."""
        self._head = bytearray()
        if self._reception is not None:
            self._reception.abandon()


def _pour(data: memoryview, reception: Reception) -> None:
    start = 0
    while start < len(data):
        room = reception.room()
        count = min(len(room), len(data) - start)
        room[:count] = data[start : start + count]
        reception.filled(count)
        start += count


def _title(name: str) -> str:
    """Return a person's name as the AE title our Part 10 header has room for (PS3.5 section 6.2)."""
    plain = "".join(letter if " " <= letter <= "~" and letter != "\\" else "?" for letter in name)
    return plain[:_LONGEST_TITLE].strip() or SERVICE
