"""Forbids the disposal of studies, and allows it again, with a reason each time; must not touch an object.

``blocking_holds`` of the index is what a deletion asks: a hold counts from the moment its event is in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from archive.audit import Body
from archive.errors import InvalidHold, InvalidIdentifier, NoSuchHold, NothingToHold, TooManyMatches
from archive.index import gathering, holds as table, patient_facts
from archive.index.find import Query, narrows, run_query
from archive.index.holds import Hold, Scope
from archive.index.keys import KEYS, Level
from archive.index.records import Event
from archive.index.session import Connection
from archive.services.ledger import Draft, Ledger
from archive.uids import parse_uid, shown

LIMIT: Final = 10_000
"""Studies that one hold may name; beyond that the question was too wide."""

LONGEST: Final = {"reason": 500, "authority": 200, "reference": 200}
_LONGEST_PATIENT_ID: Final = 512
_NUMBER: Final = re.compile(r"H-[0-9]{4}-[0-9]{4,9}")
_MATCHES_ANYTHING: Final = " *?-^="
"""What a value may consist of without saying anything: wildcards, an open range, a name's delimiters."""

Sites = frozenset[str] | None
"""The sites whoever acts may act for; None: every one, also those that the settings have no more."""

LIFTERS: Final = ("archivist", "dim_physician", "director", "practitioner")
"""Who may lift a hold; whoever may place one may not always."""

REVIEWERS: Final = ("operator", *LIFTERS)
_KINDS: Final = ("hold_placed", "hold_reviewed", "hold_lifted")
_DERIVED: Final = frozenset({"Modality", "ModalitiesInStudy", "SOPClassesInStudy"})
"""Keys that a study query matches and that are no column."""


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold about to be placed: why, who asks for it, under which reference, when to look again.

    ``studies`` and ``patient_ids`` say what it covers; ``site`` is the patients', and that of studies not there yet.
    ``is_ahead`` allows studies and patients of which nothing is there yet.
    """

    site: str
    reason: str
    authority: str
    reference: str
    review_on: date | None = None
    studies: Sequence[str] = ()
    patient_ids: Sequence[str] = ()
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold, what it was placed on, and the stored studies that it covers now."""

    hold: Hold
    scopes: Sequence[Scope]
    study_instance_uids: Sequence[str]
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class Holds:
    """What the command ``hold`` does."""

    ledger: Ledger

    def matching(self, sites: Sites, keys: Mapping[str, str]) -> list[str]:
        """Return the studies that answer a query by C-FIND's keys, sorted, of these sites.

        Every key must narrow: raises InvalidIdentifier for one that the archive does not match, or that matches
        everything; TooManyMatches.
        """
        for keyword, value in keys.items():
            _check_key(keyword, value)
        query = Query("study", "STUDY", keys, limit=LIMIT + 1, relational=True)
        with self.ledger.database.read() as connection:
            uids = [row["StudyInstanceUID"] for row in run_query(connection, query)]
            if len(uids) > LIMIT:
                raise TooManyMatches(limit=LIMIT, reason=f"more than {LIMIT} studies")
            studies = gathering.by_uid(connection, uids)
            return sorted(row.study_instance_uid for row in studies if _is_for(sites, row.site))

    def place(self, wanted: NewHold, *, actor: str, sites: Sites) -> Hold:
        """Place a hold; return it. Raises InvalidHold, NothingToHold."""
        now = self.ledger.clock()
        checked = _checked(wanted, now.date())
        ids: list[str] = []

        def decide(connection: Connection) -> list[Draft]:
            scopes = [*_studies(connection, checked, sites), *_patients(connection, checked, sites)]
            if not scopes:
                raise NothingToHold(reason="name a study, a patient, or a query that finds some")
            ids.append(f"H-{now.year:04d}-{table.last_number(connection, now.year) + 1:04d}")
            return [_placed(ids[0], checked, scopes)]

        self.ledger.act(actor, decide)
        return self._get(ids[0])

    def review(self, hold_id: str, review_on: date, *, note: str, actor: str, sites: Sites) -> Hold:
        """Leave a hold in place and say when to look again. Raises NoSuchHold, InvalidHold."""
        if review_on <= self.ledger.clock().date():
            raise InvalidHold(name="the next review", reason="is not in the future")
        text = _text("note", note)

        hold_id = _number(hold_id)

        def decide(connection: Connection) -> list[Draft]:
            _open_hold(connection, hold_id, sites)
            data = {"hold_id": hold_id, "review_on": review_on.isoformat(), "note": text}
            return [Draft("hold_reviewed", data, {"hold": hold_id, "review_on": review_on.isoformat()})]

        self.ledger.act(actor, decide)
        return self._get(hold_id)

    def lift(self, hold_id: str, *, reason: str, actor: str, sites: Sites) -> Hold:
        """End a hold. Raises NoSuchHold, InvalidHold."""
        text = _text("reason", reason)
        hold_id = _number(hold_id)

        def decide(connection: Connection) -> list[Draft]:
            _open_hold(connection, hold_id, sites)
            return [Draft("hold_lifted", {"hold_id": hold_id, "reason": text}, {"hold": hold_id})]

        self.ledger.act(actor, decide)
        return self._get(hold_id)

    def list(self, *, with_lifted: bool = False) -> list[HoldView]:
        """Return the holds in the order they were placed."""
        with self.ledger.database.read() as connection:
            holds = [hold for hold in table.all_holds(connection) if with_lifted or hold.lifted_at is None]
            return [self._view(connection, hold) for hold in holds]

    def page(self, sites: Sites, offset: int, limit: int, *, with_lifted: bool) -> tuple[Sequence[HoldView], bool]:
        """Return holds of these sites, the newest first, and whether there are more behind them."""
        with self.ledger.database.read() as connection:
            found = [
                hold
                for hold in reversed(table.all_holds(connection))
                if (with_lifted or hold.lifted_at is None)
                and (sites is None or _is_for(sites, *_sites_of(connection, hold.hold_id)))
            ]
            views = [self._view(connection, hold) for hold in found[offset : offset + limit]]
        return views, len(found) > offset + limit

    def show(self, hold_id: str) -> HoldView:
        """Return a hold, lifted or not. Raises NoSuchHold."""
        hold_id = _number(hold_id)
        with self.ledger.database.read() as connection:
            hold = table.find(connection, hold_id)
            if hold is None:
                raise NoSuchHold(hold_id=hold_id, reason="no hold has this number")
            return self._view(connection, hold)

    def history(self, hold_id: str) -> Sequence[Event]:
        """Return what happened to a hold, as the ledger has it: its reviews with their notes too. Reads all of it.

        Raises LedgerBroken, OSError.
        """
        hold_id = _number(hold_id)
        events = self.ledger.files.iter_events()
        return [event for event in events if event.kind in _KINDS and event.data["hold_id"] == hold_id]

    def _get(self, hold_id: str) -> Hold:
        return self.show(hold_id).hold

    def _view(self, connection: Connection, hold: Hold) -> HoldView:
        scopes = table.scopes(connection, hold.hold_id)
        named = [scope.study_instance_uid for scope in scopes if scope.study_instance_uid is not None]
        studies = {row.study_instance_uid for row in gathering.by_uid(connection, named)}
        for scope in scopes:
            if scope.patient_id is not None:
                patients = gathering.linked(connection, scope.site, [scope.patient_id])
                studies |= {row.study_instance_uid for row in gathering.of_patients(connection, scope.site, patients)}
        return HoldView(hold, scopes, sorted(studies), hold.is_overdue(self.ledger.clock().date()))


def _check_key(keyword: str, value: str) -> None:
    if keyword not in _DERIVED and (keyword not in KEYS or KEYS[keyword].level > Level.STUDY):
        raise InvalidIdentifier(reason=f"{keyword} is not a key that studies are found by")
    if not value.isprintable():
        raise InvalidIdentifier(reason=f"{keyword} has characters that do not print")
    says_nothing = any(part.strip() and not part.strip(_MATCHES_ANYTHING) for part in value.split("\\"))
    if says_nothing or not narrows(keyword, value):
        raise InvalidIdentifier(reason=f"{keyword} would match every study; give it a value")


def _checked(wanted: NewHold, today: date) -> NewHold:
    """Return the hold with its texts trimmed and everything named once. Raises InvalidHold, InvalidUid."""
    if wanted.review_on is not None and wanted.review_on <= today:
        raise InvalidHold(name="the review date", reason="is not in the future")
    patient_ids = [patient_id.strip() for patient_id in wanted.patient_ids]
    if not all(map(_is_patient_id, patient_ids)):
        raise InvalidHold(name="a PatientID", reason=f"takes 1 to {_LONGEST_PATIENT_ID} characters of text")
    return replace(
        wanted,
        reason=_text("reason", wanted.reason),
        authority=_text("authority", wanted.authority),
        reference=_text("reference", wanted.reference),
        studies=tuple(dict.fromkeys(parse_uid(uid, keyword="StudyInstanceUID") for uid in wanted.studies)),
        patient_ids=tuple(dict.fromkeys(patient_ids)),
    )


def _text(name: str, value: str) -> str:
    text, longest = " ".join(value.split()), LONGEST.get(name, LONGEST["reason"])
    if not text or len(text) > longest or not text.isprintable():
        raise InvalidHold(name=f"the {name}", reason=f"takes 1 to {longest} characters that print")
    return text


def _is_patient_id(text: str) -> bool:
    """Tell whether both databases can look for it: it need not print, since what devices send does not always."""
    is_unicode = not any("\ud800" <= letter <= "\udfff" for letter in text)
    return 0 < len(text) <= _LONGEST_PATIENT_ID and "\0" not in text and is_unicode


def _number(hold_id: str) -> str:
    """Return the number of a hold as it is kept. Raises NoSuchHold for what is none."""
    number = hold_id.strip().upper()
    if not _NUMBER.fullmatch(number):
        raise NoSuchHold(hold_id=shown(hold_id), reason="a hold's number looks like H-2026-0001")
    return number


def _is_for(sites: Sites, *of: str) -> bool:
    return sites is None or sites.issuperset(of)


def _sites_of(connection: Connection, hold_id: str) -> list[str]:
    return [scope.site for scope in table.scopes(connection, hold_id)]


def _studies(connection: Connection, wanted: NewHold, sites: Sites) -> list[Scope]:
    known = {row.study_instance_uid: row.site for row in gathering.by_uid(connection, wanted.studies)}
    if wanted.is_ahead:
        known = dict.fromkeys(wanted.studies, wanted.site) | known
    missing = [uid for uid in wanted.studies if uid not in known or not _is_for(sites, known[uid])]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NothingToHold(reason=f"the archive has no study {missing[0]}{others}; check it, or place it --ahead")
    return [Scope(known[uid], uid) for uid in wanted.studies]


def _patients(connection: Connection, wanted: NewHold, sites: Sites) -> list[Scope]:
    if wanted.patient_ids and not _is_for(sites, wanted.site):
        raise NothingToHold(reason=f"{wanted.site} is not a site this account acts for")
    for patient_id in () if wanted.is_ahead else wanted.patient_ids:
        if not _is_known(connection, wanted.site, patient_id):
            raise NothingToHold(
                reason=f"{wanted.site} has neither a study nor a fact of that PatientID; check it, or place it --ahead"
            )
    return [Scope(wanted.site, None, patient_id) for patient_id in wanted.patient_ids]


def _is_known(connection: Connection, site: str, patient_id: str) -> bool:
    names = patient_facts.one_patient(connection, site, [patient_id])
    has_studies = any(True for _ in gathering.of_patients(connection, site, names))
    return has_studies or len(names) > 1 or bool(patient_facts.history(connection, site, patient_id))


def _placed(hold_id: str, wanted: NewHold, scopes: Sequence[Scope]) -> Draft:
    review_on = None if wanted.review_on is None else wanted.review_on.isoformat()
    data = {
        "hold_id": hold_id,
        "reason": wanted.reason,
        "authority": wanted.authority,
        "reference": wanted.reference,
        "review_on": review_on,
        "scopes": [scope._asdict() for scope in scopes],
    }
    studies = sum(1 for scope in scopes if scope.study_instance_uid is not None)
    public: Body = {"hold": hold_id, "studies": studies, "patients": len(scopes) - studies, "review_on": review_on}
    return Draft("hold_placed", data, public)


def _open_hold(connection: Connection, hold_id: str, sites: Sites) -> None:
    """Raise NoSuchHold unless the hold holds and is of these sites alone."""
    hold = table.find(connection, hold_id)
    if hold is None or not _is_for(sites, *(scope.site for scope in table.scopes(connection, hold_id))):
        raise NoSuchHold(hold_id=hold_id, reason="no hold of your sites has this number")
    if hold.lifted_at is not None:
        raise NoSuchHold(hold_id=hold_id, reason="it was lifted already")
