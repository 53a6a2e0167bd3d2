"""Who may see which study, and the journal entry of what they saw; must not know HTTP, nor read a stored byte.

The one place that decides it for whoever is known as a person: a study of another site is not here for them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from archive.audit import Entry
from archive.errors import ArchiveError, InstanceNotFound, NoSuchStudy
from archive.index import tombstones
from archive.index.contents import site_of
from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from archive.services.accesses import Access
from archive.services.people import Permission, Person
from archive.services.retrieve import Retrieve, Selection
from archive.uids import parse_uid

_REMEMBERED: Final = 4096


def visible_sites(person: Person) -> frozenset[str] | None:
    """Return the sites whose studies a person may find and see; None for every one. Raises NotAllowed."""
    person.require(Permission.VIEW_IMAGES)
    return person.sites or None


@dataclass(slots=True)
class _Seen:
    since: datetime
    times: int = 0


@dataclass(slots=True)
class Viewing:
    """What people look at; safe to call from any thread.

    A viewer asks for a study's metadata and frames hundreds of times. The journal has the first of these at once, and
    of those that follow within ``quiet`` how many there were, with the next entry.
    """

    retrieve: Retrieve
    quiet: timedelta = timedelta(minutes=10)
    _seen: dict[tuple[Access, str, str], _Seen] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, access: Access, study_instance_uid: str) -> str:
        """Return a Study Instance UID that somebody may look at.

        Raises InvalidUid, NotAllowed, NoSuchStudy (also for a study of another site), StudyDestroyed.
        """
        uid = parse_uid(study_instance_uid, keyword="StudyInstanceUID")
        sites = visible_sites(access.person)
        site = self._site_of(uid)
        if site is None or (sites is not None and site not in sites):
            with self.retrieve.committer.read() as connection:
                raise tombstones.why_not_here(connection, uid) if sites is None else NoSuchStudy(study_instance_uid=uid)
        return uid

    def _site_of(self, uid: str) -> str | None:
        """Return the site of a study; what is indexed already is not waited for, or readers would slow down ingest."""
        committer = self.retrieve.committer
        with committer.database.read() as connection:
            site = site_of(connection, uid)
        if site is not None:
            return site
        with committer.read() as connection:
            return site_of(connection, uid)

    def find(self, access: Access, study: str, series: str = "", instance: str = "") -> list[StoredInstance]:
        """Return instances of a study, by series and instance number: all, or those of one series, or one of them.

        Raises what ``admit`` does, and InstanceNotFound when there is none.
        """
        selection = Selection(
            level="IMAGE" if instance else "SERIES" if series else "STUDY",
            studies=(self.admit(access, study),),
            series=_given(series, "SeriesInstanceUID"),
            instances=_given(instance, "SOPInstanceUID"),
        )
        found = self._indexed(selection) if instance else []
        found = found or self.retrieve.find(selection)
        if not found:
            raise InstanceNotFound()
        return found

    def _indexed(self, selection: Selection) -> list[StoredInstance]:
        """Return one instance without waiting for others that are being indexed."""
        with self.retrieve.committer.database.read() as connection:
            study, series = selection.studies[0], "\\".join(selection.series)
            return list(iter_instances(connection, study=study, series=series or None, sops=selection.instances))

    def check_readable(self, instances: Sequence[StoredInstance], access: Access) -> None:
        """Ask for what of these has to thaw; raise NotReadableYet when anything has to, ColdStoreDown."""
        copies = [each.readable for each in instances]
        packs = dict.fromkeys(copy.pack_key for copy in copies if copy is not None and copy.tier == "cold")
        if self.retrieve.recall is not None:
            self.retrieve.recall.check_all([key for key in packs if key is not None], by=access.person.name)

    def note(self, access: Access, study_instance_uid: str, *, service: str) -> None:
        """Journal that somebody looks at something of a study. Raises IndexUnavailable.

        Whoever calls it before anything is given makes sure that nothing is seen without its entry.
        """
        times = self._to_tell(access, study_instance_uid, service)
        if times is None:
            return
        body = {**access.body(), "service": service, "study_instance_uid": study_instance_uid, "repeated": times}
        try:
            self.retrieve.committer.record(Entry(self.retrieve.clock(), "viewed", access.person.name, body))
        except ArchiveError:
            with self._lock:
                self._seen.pop((access, study_instance_uid, service), None)
            raise

    def _to_tell(self, access: Access, study: str, service: str) -> int | None:
        """Return how often the same was seen since the last entry; None when that is too recent for another."""
        key, now = (access, study, service), self.retrieve.clock()
        with self._lock:
            seen = self._seen.get(key)
            if seen is not None and now - seen.since < self.quiet:
                seen.times += 1
                return None
            while len(self._seen) >= _REMEMBERED:
                del self._seen[next(iter(self._seen))]
            self._seen.pop(key, None)
            self._seen[key] = _Seen(now)
        return 0 if seen is None else seen.times


def _given(uid: str, keyword: str) -> tuple[str, ...]:
    return (parse_uid(uid, keyword=keyword),) if uid else ()
