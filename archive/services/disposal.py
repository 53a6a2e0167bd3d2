"""Disposal lists (bordereaux d'élimination): proposed, approved, refused, cancelled; must not destroy anything.

A list names studies that were due when it was made. Whatever anybody learns later sends a study back: every step reads
the lines again, and what differs is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from archive.audit import Body
from archive.config import Site
from archive.errors import DisposalRefused, NoSuchList, NotAllowed, NothingDue
from archive.index import accounts, assessments, disposal as table
from archive.index.disposal import Approval, DisposalItem, DisposalList
from archive.index.session import Connection
from archive.part10.text import fold
from archive.services.assess import Assessor
from archive.services.clock_trust import check_clock
from archive.services.disposal_lines import difference, read_lines
from archive.services.ledger import Draft, Ledger
from archive.services.people import Permission, Person
from archive.uids import parse_uid, shown
from retention_rules.approvals import WITH_REFERENCE, missing_offices, needed_offices

MOST_STUDIES: Final = 1000
MOST_INSTANCES: Final = 100_000
"""A list is one act of the ledger and one transaction of the index: what is due beyond goes on the next one."""

ALREADY_LISTED: Final = "already on an open list"
_PAGE: Final = 250
_LONGEST: Final = 500
_WORD: Final = re.compile(r"\w+")
_NUMBER: Final = re.compile(r"D-[0-9]{4}-[0-9]{4,9}")
_SYSTEM: Final = "drimbox"

Line = Mapping[str, Any]


@dataclass(slots=True)
class Proposal:
    """What a list would hold, (Study Instance UID, line), and how many it leaves out by reason.

    ``list_id`` is None as long as it is not made.
    """

    site: str
    as_of: date
    items: list[tuple[str, Line]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    list_id: str | None = None

    @property
    def instances(self) -> int:
        """Return how many instances it holds."""
        return sum(line["instances"] for _, line in self.items)

    @property
    def size_bytes(self) -> int:
        """Return how many bytes their copies take."""
        return sum(line["size_bytes"] for _, line in self.items)


@dataclass(frozen=True, slots=True)
class ListView:
    """A list with its lines and signatures, and the offices that have not signed."""

    head: DisposalList
    items: Sequence[DisposalItem]
    approvals: Sequence[Approval]
    missing: Sequence[str]

    def in_state(self, *states: str) -> list[DisposalItem]:
        """Return the lines in one of these states."""
        return [item for item in self.items if item.state in states]


@dataclass(frozen=True, slots=True)
class Disposals:
    """What happens to lists before anything is destroyed."""

    ledger: Ledger
    assessor: Assessor
    sites: Mapping[str, Site]
    waiting_days: int

    # ---- proposing -----------------------------------------------------------------------------------------------

    def preview(self, site: str, most: int = MOST_STUDIES) -> Proposal:
        """Return what a list of today would hold; nothing is listed. Raises ClockNotTrusted."""
        with self.ledger.database.read() as connection:
            return self._gather(connection, site, most)

    def propose(self, site: str, most: int = MOST_STUDIES, *, who: Person) -> Proposal:
        """List what is due at a site, what has been due for longest first. Raises NothingDue, NotAllowed."""
        who.require(Permission.PROPOSE_DISPOSAL, site)
        made: list[Proposal] = []

        def decide(connection: Connection) -> list[Draft]:
            proposal = self._gather(connection, site, most)
            if not proposal.items:
                raise NothingDue(reason=_why_nothing(proposal))
            year = self.ledger.clock().year
            proposal.list_id = f"D-{year:04d}-{table.last_number(connection, year) + 1:04d}"
            made.append(proposal)
            return [self._proposed(proposal, who)]

        self.ledger.act(who.name, decide)
        return made[0]

    def _gather(self, connection: Connection, site: str, most: int) -> Proposal:
        now = self.ledger.clock()
        check_clock(connection, now)
        proposal = Proposal(site, now.date())
        for page in assessments.iter_due(connection, site, now.date().isoformat(), page=_PAGE):
            uids = [row.study_instance_uid for row in page]
            listed = table.listed(connection, uids)
            proposal.left_out[ALREADY_LISTED] += len(listed)
            lines = read_lines(connection, self.assessor, [uid for uid in uids if uid not in listed], proposal.as_of)
            proposal.left_out.update(lines.kept.values())
            for uid in uids:
                if uid in lines.due and not _put(proposal, uid, lines.due[uid], most):
                    return proposal
        return proposal

    def _proposed(self, proposal: Proposal, who: Person) -> Draft:
        site = self.sites[proposal.site]
        head = {"list_id": proposal.list_id, "site": site.name, "site_kind": site.kind}
        items = [{"study_instance_uid": uid, "line": line} for uid, line in proposal.items]
        public: Body = {
            "list": proposal.list_id,
            "site": site.name,
            "studies": len(items),
            "instances": proposal.instances,
            "size_bytes": proposal.size_bytes,
        }
        data = {**head, "as_of": proposal.as_of.isoformat(), "items": items, "full_name": who.full_name}
        return Draft("disposal_proposed", data, public)

    # ---- deciding ------------------------------------------------------------------------------------------------

    def approve(self, list_id: str, office: str, *, who: Person, reference: str | None = None) -> ListView:
        """Sign for all that is still on a list, in one office; with the last signature the waiting begins.

        What changed since it was listed is sent back first. Raises NoSuchList, DisposalRefused, NotAllowed,
        ClockNotTrusted.
        """
        list_id = number_of(list_id)

        def decide(connection: Connection) -> list[Draft]:
            now = self.ledger.clock()
            check_clock(connection, now)
            view = self._view(connection, _head(connection, list_id))
            who.require_role((office,), site=view.head.site)
            signed = self._checked(view, office, who, reference)
            _check_other_person(connection, view, who)
            back = self.changed(connection, view)
            drafts = [kept(list_id, "sent_back", back)] if back else []
            if len(back) == len(view.in_state("listed")):
                return drafts
            is_last = tuple(view.missing) == (office,)
            until = (now.date() + timedelta(days=self.waiting_days)).isoformat() if is_last else None
            data = {"list_id": list_id, "office": office, "full_name": who.full_name, "reference": signed}
            public: Body = {"list": list_id, "office": office, "reference": signed, "waiting_until": until}
            return [*drafts, Draft("disposal_approved", {**data, "waiting_until": until}, public)]

        self.ledger.act(who.name, decide)
        return self.show(list_id)

    def _checked(self, view: ListView, office: str, who: Person, reference: str | None) -> str | None:
        """Return the reference as it is kept. Raises DisposalRefused, NotAllowed."""
        head = view.head
        if head.state != "listed":
            raise DisposalRefused(list_id=head.list_id, reason=f"it is {head.state}, there is nothing to approve")
        if office not in needed_offices(head.site_kind):
            raise DisposalRefused(list_id=head.list_id, reason=f"{office} does not sign at a {head.site_kind} site")
        if office not in view.missing:
            raise DisposalRefused(list_id=head.list_id, reason=f"{office} has approved already")
        text = " ".join((reference or "").split())
        if office in WITH_REFERENCE and not text:
            raise DisposalRefused(list_id=head.list_id, reason="a visa has a number: give its --reference")
        if len(text) > _LONGEST or not text.isprintable():
            raise DisposalRefused(
                list_id=head.list_id, reason=f"a reference takes up to {_LONGEST} characters that print"
            )
        return text or None

    def refuse(self, list_id: str, studies: Collection[str], reason: str, *, who: Person) -> ListView:
        """Take studies off a list, at any time before it is destroyed; they stay in the archive.

        Raises NoSuchList, DisposalRefused, NotAllowed.
        """
        list_id, text = number_of(list_id), _reason(list_id, reason)
        uids = list(dict.fromkeys(parse_uid(uid, keyword="StudyInstanceUID") for uid in studies))

        def decide(connection: Connection) -> list[Draft]:
            view = self._undecided(connection, list_id, who)
            listed = {item.study_instance_uid for item in view.in_state("listed")}
            strange = [uid for uid in uids if uid not in listed]
            if not uids:
                raise DisposalRefused(list_id=list_id, reason="no study of it was chosen")
            if strange:
                raise DisposalRefused(list_id=list_id, reason=f"{strange[0]} is not on it")
            return [kept(list_id, "refused", dict.fromkeys(uids, text))]

        self.ledger.act(who.name, decide)
        return self.show(list_id)

    def cancel(self, list_id: str, reason: str, *, who: Person) -> ListView:
        """End a list before it is destroyed; all its studies stay. Raises NoSuchList, DisposalRefused, NotAllowed."""
        list_id, text = number_of(list_id), _reason(list_id, reason)

        def decide(connection: Connection) -> list[Draft]:
            self._undecided(connection, list_id, who)
            return [Draft("disposal_cancelled", {"list_id": list_id, "reason": text}, {"list": list_id})]

        self.ledger.act(who.name, decide)
        return self.show(list_id)

    def _undecided(self, connection: Connection, list_id: str, who: Person) -> ListView:
        """Return a list that nothing was destroyed of, for somebody who may keep its studies."""
        view = self._view(connection, _head(connection, list_id))
        who.require_role(("archivist", *needed_offices(view.head.site_kind)), site=view.head.site)
        if view.head.state not in ("listed", "approved"):
            raise DisposalRefused(list_id=list_id, reason=f"it is {view.head.state}")
        return view

    # ---- looking again -------------------------------------------------------------------------------------------

    def review(self) -> dict[str, int]:
        """Send back what is not due any more by its stored assessment; return how many studies of which lists."""
        with self.ledger.database.read() as connection:
            overtaken = table.overtaken(connection)
        return {list_id: sent for list_id in overtaken if (sent := self._send_back(list_id))}

    def _send_back(self, list_id: str) -> int:
        sent: list[str] = []

        def decide(connection: Connection) -> list[Draft]:
            view = self._view(connection, _head(connection, list_id))
            back = self.changed(connection, view) if view.head.state in ("listed", "approved") else {}
            sent.extend(back)
            return [kept(list_id, "sent_back", back)] if back else []

        self.ledger.act(_SYSTEM, decide)
        return len(sent)

    def changed(self, connection: Connection, view: ListView) -> dict[str, str]:
        """Return those of a list's studies of which anything is otherwise than listed, with the reason."""
        today, back = self.ledger.clock().date(), {}
        for page in _pages(view.in_state("listed")):
            lines = read_lines(connection, self.assessor, [item.study_instance_uid for item in page], today)
            for item in page:
                uid = item.study_instance_uid
                reason = lines.kept.get(uid) or difference(item.line, lines.due[uid])
                if reason is not None:
                    back[uid] = reason
        return back

    # ---- looking up ----------------------------------------------------------------------------------------------

    def list(self) -> list[ListView]:
        """Return every list in the order they were proposed."""
        with self.ledger.database.read() as connection:
            return [self._view(connection, head) for head in table.all_lists(connection)]

    def show(self, list_id: str) -> ListView:
        """Return a list. Raises NoSuchList."""
        with self.ledger.database.read() as connection:
            return self._view(connection, _head(connection, number_of(list_id)))

    def view(self, connection: Connection, list_id: str) -> ListView:
        """Return a list as the caller's transaction sees it. Raises NoSuchList."""
        return self._view(connection, _head(connection, list_id))

    def _view(self, connection: Connection, head: DisposalList) -> ListView:
        given = {each.office: each for each in table.approvals(connection, head.list_id)}
        signed = [given[office] for office in needed_offices(head.site_kind) if office in given]
        return ListView(
            head, table.items(connection, head.list_id), signed, missing_offices(head.site_kind, given.keys())
        )


def kept(list_id: str, how: str, reasons: Mapping[str, str]) -> Draft:
    """Return the event that takes studies off a list: ``refused`` or ``sent_back``, each with its reason."""
    studies = [{"study_instance_uid": uid, "reason": reason} for uid, reason in reasons.items()]
    public: Body = {"list": list_id, "how": how, "studies": sorted(reasons)}
    return Draft("disposal_kept", {"list_id": list_id, "as": how, "studies": studies}, public)


def number_of(list_id: str) -> str:
    """Return the id of a list as it is kept. Raises NoSuchList for what is none."""
    number = list_id.strip().upper()
    if not _NUMBER.fullmatch(number):
        raise NoSuchList(list_id=shown(list_id))
    return number


def _check_other_person(connection: Connection, view: ListView, who: Person) -> None:
    """Raise NotAllowed when somebody proposed the list, or has signed it already.

    An account and an identity of a provider may be one person's: the same full name is taken for the same person.
    """
    if who.name == view.head.proposed_by or _folded(who.full_name) in _proposer_names(connection, view.head):
        raise NotAllowed(name=who.name, reason="whoever proposed a list does not approve it")
    if any(who.name == each.account or _folded(who.full_name) == _folded(each.full_name) for each in view.approvals):
        raise NotAllowed(name=who.name, reason="one person signs in one office only")


def _proposer_names(connection: Connection, head: DisposalList) -> set[tuple[str, ...]]:
    """Return what the proposer was called when they proposed, and what their account is called now.

    A provider's person has no account; a list of before the full name was kept has none; an account may be renamed.
    """
    account = accounts.find(connection, head.proposed_by)
    known = (head.proposed_by_full_name, None if account is None else account.full_name)
    return {_folded(full_name) for full_name in known if full_name is not None}


def _folded(full_name: str) -> tuple[str, ...]:
    """Return the words of a name without case and accents, in no order: a provider may say ``LE GOFF ELODIE``."""
    return tuple(sorted(_WORD.findall(fold(full_name))))


def _head(connection: Connection, list_id: str) -> DisposalList:
    head = table.find(connection, list_id)
    if head is None:
        raise NoSuchList(list_id=list_id)
    return head


def _put(proposal: Proposal, uid: str, line: Line, most: int) -> bool:
    """Put a study on the list; tell whether there was room. A study alone always has room."""
    is_full = len(proposal.items) >= min(most, MOST_STUDIES)
    is_heavy = proposal.instances + line["instances"] > MOST_INSTANCES
    if proposal.items and (is_full or is_heavy):
        return False
    proposal.items.append((uid, line))
    return True


def _why_nothing(proposal: Proposal) -> str:
    if proposal.left_out:
        return "; ".join(f"{count} {reason}" for reason, count in sorted(proposal.left_out.items()) if count)
    return f"no study of {proposal.site} is due by its assessment; drimbox retention sweep --apply assesses them"


def _reason(list_id: str, reason: str) -> str:
    text = " ".join(reason.split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise DisposalRefused(list_id=list_id, reason=f"the reason takes 1 to {_LONGEST} characters that print")
    return text


def _pages(items: Sequence[DisposalItem]) -> Iterator[Sequence[DisposalItem]]:
    return (items[start : start + _PAGE] for start in range(0, len(items), _PAGE))
