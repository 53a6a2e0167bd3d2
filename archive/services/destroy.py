"""Destroys what an approved list names, and proves it; the only place where a warrant to delete is minted, and it must
not delete by any other way than ``Stores.delete``.

Two acts of the ledger and what lies between them. The first, in one transaction, reads every line again (facts, holds,
objects), sends back what differs, mints a warrant for each copy of the rest and takes them out of the index. Then the
copies are deleted; after a crash that goes on from the ledger. The second certifies that all of them are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from archive import logs
from archive.audit import Body
from archive.errors import ArchiveError, DisposalError, DisposalRefused
from archive.index import cold, cold_packs, journal, ledger as ledger_table, packs, quarantine, successors, tombstones
from archive.index.cold import Upload
from archive.index.disposal import copies_in
from archive.index.holds import blocking_holds
from archive.index.instances import find_digest, iter_instances
from archive.index.packs import PackRow, TrimRow
from archive.index.records import Event, StoredInstance, to_text
from archive.index.session import Connection, Database
from archive.index.successors import Successor
from archive.services.aside import HOT_PREFIX
from archive.services.certificates import Signer, verify
from archive.services.clock_trust import check_clock
from archive.services.destruction_certificate import certificate_body
from archive.services.disposal import Disposals, ListView, kept, number_of
from archive.services.disposal_papers import rejection_notes
from archive.services.landed import read_landed
from archive.services.ledger import Draft
from archive.services.people import Person
from archive.services.remains import COLD, HOT, PACK, QUARANTINE, WHATEVER, Remain, Stores, why_it_stays
from archive.services.reports import Progress
from tiering.deletion import Deletion
from tiering.disk import write_once
from tiering.errors import ObjectHeld, StoreError
from tiering.warrant import DeleteWarrant, generation_of

_log = logs.get(__name__)
_CHUNK_BYTES: Final = 1 << 20
DESTROYERS: Final = ("archivist", "operator")


@dataclass(frozen=True, slots=True)
class Plan:
    """What destroying a list now would come to; ``sent_back``: (Study Instance UID, reason)."""

    list_id: str
    studies: int
    instances: int
    copies: int
    size_bytes: int
    sent_back: Sequence[tuple[str, str]]


@dataclass(slots=True)
class Destroyed:
    """What came of a destruction; ``left`` are copies, with the reason, that are not gone: no certificate then."""

    list_id: str
    studies: int = 0
    instances: int = 0
    deleted: int = 0
    gone_before: int = 0
    damaged: list[str] = field(default_factory=list)
    sent_back: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class Destruction:
    """Destroys lists; ``accept_damaged`` deletes copies too whose bytes are not those that were stored."""

    disposals: Disposals
    stores: Stores
    signer: Signer
    certificates: Path
    ae_title: str
    accept_damaged: bool = False

    # ---- the whole -----------------------------------------------------------------------------------------------

    def plan(self, list_id: str) -> Plan:
        """Return what would be destroyed now; nothing is. Raises NoSuchList, DisposalRefused, ClockNotTrusted."""
        list_id = number_of(list_id)
        with self.disposals.ledger.database.read() as connection:
            view = self._may_go(connection, list_id)
            back = self.disposals.changed(connection, view)
            studies = list(self._mint(connection, view, back))
        copies = [copy for study in studies for copy in copies_in(study)]
        return Plan(
            list_id,
            len(studies),
            sum(1 for study in studies for _ in _instances(study)),
            len(copies),
            sum(copy["size_bytes"] for copy in copies),
            list(back.items()),
        )

    def destroy(self, list_id: str, *, who: Person, progress: Progress) -> Destroyed:
        """Destroy an approved list whose waiting is over, or go on where this stopped; it cannot be undone.

        Raises NoSuchList, DisposalRefused, NotAllowed, ClockNotTrusted, OSError for the ledger's own files.
        """
        list_id = number_of(list_id)
        view = self.disposals.show(list_id)
        who.require_role(DESTROYERS, site=view.head.site)
        report = Destroyed(list_id)
        event = self._strike(list_id, who, report) if view.head.state == "approved" else self._struck(view)
        if event is not None:
            self._delete(event, report, progress)
            if not report.left:
                self._write_notes(event)
                self._certify(event, report, who)
                report.certificate = self._file(list_id)
        return report

    def certificate(self, list_id: str) -> bytes:
        """Return the certificate of a destroyed list, made again from the ledger if its file is gone.

        Raises NoSuchList, DisposalRefused, CertificateInvalid for a file that is not what was signed.
        """
        view = self.disposals.show(list_id)
        list_id = view.head.list_id
        if view.head.state != "destroyed":
            raise DisposalRefused(list_id=list_id, reason=f"it is {view.head.state}: there is no certificate yet")
        with suppress(FileNotFoundError):
            document = b"".join(self.stores.disk.read(self._file(list_id), chunk_bytes=_CHUNK_BYTES))
            verify(document)
            return document
        certified = self._event("disposal_certified", list_id).data["certified"]
        return self._write(view, self._event("studies_destroyed", list_id), certified)

    # ---- the act -------------------------------------------------------------------------------------------------

    def _strike(self, list_id: str, who: Person, report: Destroyed) -> Event | None:
        """Take out of the index what may go; return the event that names its copies, None when nothing may."""

        def decide(connection: Connection) -> list[Draft]:
            view = self._may_go(connection, list_id)
            back = self.disposals.changed(connection, view)
            report.sent_back = list(back.items())
            drafts = [kept(list_id, "sent_back", back)] if back else []
            studies = list(self._mint(connection, view, back))
            return [*drafts, _destroyed(list_id, studies)] if studies else drafts

        events = self.disposals.ledger.act(who.name, decide)
        return next((event for event in events if event.kind == "studies_destroyed"), None)

    def _may_go(self, connection: Connection, list_id: str) -> ListView:
        """Return a list that is approved and whose waiting is over, by a clock that can be believed."""
        now = self.disposals.ledger.clock()
        check_clock(connection, now)
        view = self.disposals.view(connection, list_id)
        _refuse_early(view, now.date())
        return view

    def _mint(self, connection: Connection, view: ListView, back: Collection[str]) -> Iterator[Mapping[str, Any]]:
        """Yield each study that goes, with a warrant for every copy of every instance, as the ledger keeps it."""
        for item in view.in_state("listed"):
            uid = item.study_instance_uid
            if uid in back:
                continue
            instances = list(iter_instances(connection, study=uid))
            before = successors.histories(connection, [uid])
            names = {each.sop_instance_uid: _names(each, before) for each in instances}
            others = self._other_copies(connection, uid, {name for known in names.values() for name in known})
            series: dict[str, list[Mapping[str, Any]]] = {}
            for each in instances:
                beside = [copy for name in names[each.sop_instance_uid] for copy in others.get(name, ())]
                copies = [*_stored_copies(each, view.head.list_id), *beside]
                was = before.get(each.sop_instance_uid, ())
                series.setdefault(each.series_instance_uid, []).append(_instance(each, copies, was))
            yield {
                "study_instance_uid": uid,
                "patient_id": item.line["patient_id"],
                "series": [{"series_instance_uid": uid, "instances": found} for uid, found in series.items()],
                "packs": list(_pack_copies(connection, uid, view.head.list_id)),
            }

    def _other_copies(
        self, connection: Connection, study: str, uids: Collection[str]
    ) -> dict[str, list[Mapping[str, Any]]]:
        """Return the copies of a study's instances that the index does not give: aside, or waiting to be trimmed."""
        found = self._aside(connection, study, uids)
        for row in packs.trims_of(connection, uids):
            warrant = DeleteWarrant(row.key, row.dataset_sha256, row.generation, "received, and packed since")
            copy = _copy(warrant, HOT, size_bytes=row.size_bytes, state="packed")
            found.setdefault(row.sop_instance_uid, []).append(copy)
        return found

    def _aside(self, connection: Connection, study: str, uids: Collection[str]) -> dict[str, list[Mapping[str, Any]]]:
        """Return the copies of a study's instances that were kept aside: other bytes under the same UID.

        One whose data set names another study, or cannot be read, is not this study's and stays.
        """
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in quarantine.iter_of(connection, uids):
            is_hot = row.key.startswith(HOT_PREFIX)
            store, key = (HOT, row.key.removeprefix(HOT_PREFIX)) if is_hot else (QUARANTINE, row.key)
            copy = self._kept_aside(store, key, study)
            if copy is not None:
                found.setdefault(row.sop_instance_uid, []).append({**copy, "aside": row.key})
        return found

    def _kept_aside(self, store: str, key: str, study: str) -> Mapping[str, Any] | None:
        path = self.stores.path(store, key)
        try:
            landed = read_landed(self.stores.disk, path, key=key, whole=False)
            values = landed.instance(key).header.values
        except (ArchiveError, OSError):
            return None
        if values["StudyInstanceUID"] != study:
            return None
        size = len(landed.file_header) + landed.stored.dataset_size
        warrant = DeleteWarrant(
            key=key,
            sha256=landed.stored.dataset_sha256,
            generation=generation_of(landed.file_header, size),
            reason="kept aside under the UID of a destroyed instance",
        )
        return _copy(warrant, store, size_bytes=size, state="aside")

    # ---- deleting ------------------------------------------------------------------------------------------------

    def _delete(self, event: Event, report: Destroyed, progress: Progress) -> None:
        """Delete every copy that the event names; what cannot be deleted is told and does not stop the rest."""
        list_id, studies = event.data["list_id"], event.data["studies"]
        report.studies, report.instances = len(studies), sum(1 for study in studies for _ in _instances(study))
        report.left += self.stores.forget_studies(study["study_instance_uid"] for study in studies)
        copies = [copy for study in studies for copy in copies_in(study)]
        for done, copy in enumerate(copies, start=1):
            self._delete_copy(copy, f"list {list_id}", report)
            progress(done, len(copies))

    def _delete_copy(self, copy: Mapping[str, Any], reason: str, report: Destroyed) -> None:
        warrant = DeleteWarrant(copy["key"], bytes.fromhex(copy["sha256"]), copy["generation"], reason)
        where = f"{copy['store']}/{copy['key']}"
        try:
            outcome = self._delete_here(copy, warrant)
        except StoreError as exc:
            report.left.append((where, why_it_stays(exc)))
        except OSError as exc:
            report.left.append((where, exc.strerror or type(exc).__name__))
        else:
            report.deleted += outcome is not Deletion.GONE
            report.gone_before += outcome is Deletion.GONE
            if outcome is Deletion.DELETED_DAMAGED:
                report.damaged.append(where)
                _log.warning("damaged_copy_destroyed", key=where)

    def _delete_here(self, copy: Mapping[str, Any], warrant: DeleteWarrant) -> Deletion:
        """Delete a copy; one that the cold store keeps because we asked is let go of first: nothing holds it any more.

        The act that named the copy looked at every hold.
        """
        try:
            return self.stores.delete(copy["store"], warrant, accept_damaged=self.accept_damaged)
        except ObjectHeld:
            if self.stores.cold_holds is None or not copy.get("is_held"):
                raise
        self.stores.cold_holds.release_hold(warrant.key)
        return self.stores.delete(copy["store"], warrant, accept_damaged=self.accept_damaged)

    def _struck(self, view: ListView) -> Event:
        """Return what a list was about to destroy when it stopped. Raises DisposalRefused when that is nothing."""
        if view.head.state != "destroying":
            raise _not_to_destroy(view)
        return self._event("studies_destroyed", view.head.list_id)

    def _event(self, kind: str, list_id: str) -> Event:
        for event in self.disposals.ledger.files.iter_events():
            if event.kind == kind and event.data["list_id"] == list_id:
                return event
        raise DisposalError(reason=f"the ledger does not say what list {list_id} destroyed")

    # ---- what came back ------------------------------------------------------------------------------------------

    def destroy_remains(self, remains: Sequence[Remain], *, who: Person, progress: Progress) -> Destroyed:
        """Delete objects that were destroyed and lie there again, each unless somebody holds its study meanwhile."""
        who.require_role(DESTROYERS)
        report = Destroyed("remains")

        def decide(connection: Connection) -> list[Draft]:
            held = blocking_holds(connection, {each.tombstone.study_instance_uid for each in remains})
            copies = []
            for each in remains:
                stone = tombstones.find(connection, each.tombstone.sop_instance_uid)
                known = find_digest(connection, each.tombstone.sop_instance_uid)
                if stone is None or isinstance(known, bytes):
                    continue
                if stone.study_instance_uid in held:
                    report.sent_back.append((f"{each.store}/{each.key}", "its study is on hold"))
                else:
                    copies.append({**_remaining_copy(each), "list_id": stone.list_id})
            public: Body = {"copies": len(copies), "lists": sorted({copy["list_id"] for copy in copies})}
            return [Draft("remains_destroyed", {"copies": copies}, public)] if copies else []

        for event in self.disposals.ledger.act(who.name, decide):
            for done, copy in enumerate(event.data["copies"], start=1):
                self._delete_copy(copy, f"remains of list {copy['list_id']}", report)
                progress(done, len(event.data["copies"]))
        return report

    # ---- certifying ----------------------------------------------------------------------------------------------

    def _certify(self, event: Event, report: Destroyed, who: Person) -> None:
        """Sign that all copies are gone, in the ledger and in a file; the same again when that was done already."""
        list_id = report.list_id

        def decide(connection: Connection) -> list[Draft]:
            view = self.disposals.view(connection, list_id)
            if view.head.state != "destroying":
                return []
            certified = self._certified(connection, report, who)
            public: Body = {"list": list_id, "studies": report.studies, "instances": report.instances}
            return [Draft("disposal_certified", {"list_id": list_id, "certified": certified}, public)]

        events = self.disposals.ledger.act(who.name, decide)
        last = events[0] if events else self._event("disposal_certified", list_id)
        self._write(self.disposals.show(list_id), event, last.data["certified"])

    def _write_notes(self, event: Event) -> None:
        """Write a rejection note for each study, for the PACS; again the same after a crash."""
        folder = self.certificates / f"{event.data['list_id']}-rejection"
        for name, note in rejection_notes(event, self.ae_title):
            write_once(self.stores.disk, folder / name, note)

    def _certified(self, connection: Connection, report: Destroyed, who: Person) -> Mapping[str, Any]:
        view = self.disposals.view(connection, report.list_id)
        site = self.disposals.sites.get(view.head.site)
        sequence, digest = journal.head(connection)
        position = ledger_table.position(connection)
        return {
            "certified_at": to_text(self.disposals.ledger.clock()),
            "certified_by": {"account": who.name, "full_name": who.full_name},
            "finess": None if site is None else site.finess,
            "damaged": report.damaged,
            "audit_head": {"sequence": sequence, "hash": digest.hex()},
            "ledger_head": {"sequence": position.sequence, "hash": position.hash.hex()},
        }

    def _write(self, view: ListView, event: Event, certified: Mapping[str, Any]) -> bytes:
        document = self.signer.sign(certificate_body(view, event, certified))
        write_once(self.stores.disk, self._file(view.head.list_id), document)
        return document

    def _file(self, list_id: str) -> Path:
        return self.certificates / f"{list_id}.json"


# ---- what nobody needs any more --------------------------------------------------------------------------------------


def discard_pack(database: Database, stores: Stores, pack: PackRow) -> Deletion:
    """Delete a pack that was written and never stood in for anything. Raises ObjectDiffers, OSError."""
    with database.read() as connection:
        assert not packs.known(connection, [pack.key]), "a pack that the index knows stands in for received files"
    warrant = DeleteWarrant(pack.key, pack.sha256, _pack_generation(pack), "it never stood in for anything")
    return stores.delete(PACK, warrant)


def trim_received(stores: Stores, row: TrimRow) -> Deletion:
    """Delete a received file that a proven copy in a pack stands in for. Raises ObjectDiffers, OSError."""
    warrant = DeleteWarrant(row.key, row.dataset_sha256, row.generation, "a proven copy in a pack stands in for it")
    return stores.delete(HOT, warrant)


def trim_pack(stores: Stores, pack: PackRow, *, accept_damaged: bool = False) -> Deletion:
    """Delete a pack that proven copies in another stand in for. Raises ObjectDiffers, StoreError, OSError."""
    generation, store = pack.store_generation or _pack_generation(pack), COLD if pack.tier == "cold" else PACK
    warrant = DeleteWarrant(pack.key, pack.sha256, generation, "proven copies stand in for it")
    return stores.delete(store, warrant, accept_damaged=accept_damaged)


def discard_cold(stores: Stores, key: str, sha256: bytes, *, accept_damaged: bool = False) -> Deletion:
    """Delete a cold object that stands in for nothing. Raises StoreError."""
    warrant = DeleteWarrant(key, sha256, WHATEVER, "it stands in for nothing")
    return stores.delete(COLD, warrant, accept_damaged=accept_damaged)


def _remaining_copy(remain: Remain) -> Mapping[str, Any]:
    warrant = DeleteWarrant(
        key=remain.key,
        sha256=remain.dataset_sha256,
        generation=remain.generation,
        reason=f"remains of list {remain.tombstone.list_id}",
    )
    copy = _copy(warrant, remain.store, size_bytes=remain.size_bytes, state="remains")
    return {**copy, "aside": remain.aside}


def _refuse_early(view: ListView, today: date) -> None:
    head = view.head
    if head.state != "approved" or head.waiting_until is None:
        raise _not_to_destroy(view)
    if today < head.waiting_until:
        raise DisposalRefused(
            list_id=head.list_id, reason=f"it waits until {head.waiting_until}; refuse and cancel work"
        )


def _not_to_destroy(view: ListView) -> DisposalRefused:
    missing = f", not approved by {', '.join(view.missing)}" if view.missing else ""
    return DisposalRefused(list_id=view.head.list_id, reason=f"it is {view.head.state}{missing}")


def _destroyed(list_id: str, studies: Sequence[Mapping[str, Any]]) -> Draft:
    public: Body = {
        "list": list_id,
        "studies": sorted(study["study_instance_uid"] for study in studies),
        "instances": sum(1 for study in studies for _ in _instances(study)),
    }
    return Draft("studies_destroyed", {"list_id": list_id, "studies": studies}, public)


def _stored_copies(instance: StoredInstance, list_id: str) -> Iterator[Mapping[str, Any]]:
    for location in instance.locations:
        if location.pack_key is not None:
            continue  # a pack goes as a whole
        warrant = DeleteWarrant(
            key=location.key,
            sha256=instance.dataset_sha256,
            generation=f"{location.size_bytes}.{location.header_size}.{location.sha256.hex()}",
            reason=f"list {list_id}",
        )
        yield _copy(warrant, location.tier, size_bytes=location.size_bytes, state=location.state)


def _pack_copies(connection: Connection, study: str, list_id: str) -> Iterator[Mapping[str, Any]]:
    """Yield the packs of a study, hot and cold, those that are replaced or stand in for nothing too."""
    rows = list(packs.of_studies(connection, [study]))
    held = cold_packs.held(connection, {row.key for row in rows})
    for row in rows:
        copy = _packed_copy(row, list_id)
        yield {**copy, "is_held": True} if row.key in held else copy
    yield from (_put_copy(put, list_id) for put in cold.uploads_of(connection, study))


def _packed_copy(pack: PackRow, list_id: str) -> Mapping[str, Any]:
    generation = pack.store_generation or _pack_generation(pack)
    warrant = DeleteWarrant(pack.key, pack.sha256, generation, f"list {list_id}")
    return _copy(warrant, COLD if pack.tier == "cold" else PACK, size_bytes=pack.size_bytes, state="present")


def _put_copy(put: Upload, list_id: str) -> Mapping[str, Any]:
    """Return what was, or is about to be, put into the cold store and stands in for nothing: it may be there."""
    warrant = DeleteWarrant(put.key, put.sha256, WHATEVER, f"list {list_id}")
    return _copy(warrant, COLD, size_bytes=put.size_bytes, state="present")


def _names(instance: StoredInstance, before: Mapping[str, Sequence[Successor]]) -> Collection[str]:
    """Return every UID that an instance has or had: other bytes may have come under each, and been kept aside."""
    old = (was.sop_instance_uid for was in before.get(instance.sop_instance_uid, ()))
    return dict.fromkeys((instance.sop_instance_uid, *old))


def _pack_generation(pack: PackRow) -> str:
    """Return the generation of a pack: it has no header apart, its digest is of all of it."""
    return generation_of(b"", pack.size_bytes)


def _copy(warrant: DeleteWarrant, store: str, *, size_bytes: int, state: str) -> Mapping[str, Any]:
    return {
        "store": store,
        "key": warrant.key,
        "sha256": warrant.sha256.hex(),
        "generation": warrant.generation,
        "size_bytes": size_bytes,
        "state": state,
        "aside": None,
    }


def _instance(
    instance: StoredInstance, copies: Sequence[Mapping[str, Any]], before: Sequence[Successor]
) -> Mapping[str, Any]:
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "dataset_sha256": instance.dataset_sha256.hex(),
        "copies": copies,
        "predecessors": [
            {"sop_instance_uid": was.sop_instance_uid, "dataset_sha256": was.dataset_sha256.hex()} for was in before
        ],
    }


def _instances(study: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for series in study["series"]:
        yield from series["instances"]
