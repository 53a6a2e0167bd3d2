"""The papers of one list, put together from what ledger and lists say; must not sign or send any."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from archive.config import Site
from archive.index.disposal import DisposalItem
from archive.index.records import Event
from archive.services.bordereau import Bordereau, BordereauLine, Signature
from archive.services.disposal import ListView
from archive.services.rejection_note import RejectedInstance, rejection_note
from retention_rules.approvals import needed_offices


def bordereau_of(view: ListView, site: Site | None) -> Bordereau:
    """Return the bordereau of a list, with a box to sign for each office that has not."""
    head = view.head
    return Bordereau(
        list_id=head.list_id,
        site=head.site,
        finess=None if site is None else site.finess,
        site_kind=head.site_kind,
        proposed_at=head.proposed_at,
        proposed_by=head.proposed_by,
        as_of=head.as_of,
        waiting_until=head.waiting_until,
        state=head.state,
        lines=tuple(map(_line, view.items)),
        signatures=tuple(_signatures(view)),
    )


def _line(item: DisposalItem) -> BordereauLine:
    line = item.line
    return BordereauLine(
        number=item.number,
        study_instance_uid=item.study_instance_uid,
        patient_id=line["patient_id"],
        exam_on=date.fromisoformat(line["exam_on"]),
        modalities=tuple(line["modalities"]),
        rule_id=line["rule"],
        citation=line["citation"],
        period=f"{line['years']} ans",
        eligible_on=date.fromisoformat(line["eligible_on"]),
        instances=line["instances"],
        size_bytes=line["size_bytes"],
        state=item.state,
        remark=item.reason or "",
    )


def _signatures(view: ListView) -> Iterator[Signature]:
    given = {each.office: each for each in view.approvals}
    for office in needed_offices(view.head.site_kind):
        signed = given.get(office)
        if signed is None:
            yield Signature(office, "", "", None, None)
        else:
            yield Signature(office, signed.full_name, signed.account, signed.approved_at, signed.reference)


def rejection_notes(event: Event, ae_title: str) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, Part 10 file) of a note for each study that the event ``studies_destroyed`` names."""
    for number, study in enumerate(event.data["studies"], start=1):
        instances = [
            RejectedInstance(series["series_instance_uid"], each["sop_class_uid"], known["sop_instance_uid"])
            for series in study["series"]
            for each in series["instances"]
            for known in (each, *each.get("predecessors", ()))
        ]
        note = rejection_note(
            study["study_instance_uid"],
            study["patient_id"],
            instances,
            list_id=event.data["list_id"],
            at=event.at,
            ae_title=ae_title,
        )
        yield f"{number:04d}.dcm", note
