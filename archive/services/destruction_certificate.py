"""What a destruction certificate says, put together from the ledger; must not sign or destroy.

It says the same whenever it is put together: everything in it was said in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archive.index.disposal import Approval, DisposalItem
from archive.index.records import Event, to_text
from archive.services.disposal import ListView

# Not what a period was counted from: that may be a birth or a death.
_SHOWN: Final = ("exam_on", "modalities", "rule", "citation", "years", "eligible_on")
_VERSIONS: Final = ("schedule_version", "reading")
_COPY: Final = ("store", "key", "sha256", "size_bytes", "state")
_GONE: Final = frozenset({"destroying", "destroyed"})


def certificate_body(view: ListView, event: Event, certified: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is signed: the procedure, every object with its copies, and where audit and ledger stood.

    ``event`` is the list's ``studies_destroyed``, ``certified`` what its ``disposal_certified`` adds.
    """
    head, lines = view.head, {item.study_instance_uid: item for item in view.items}
    return {
        "list_id": head.list_id,
        "site": {"name": head.site, "kind": head.site_kind, "finess": certified["finess"]},
        "as_of": head.as_of.isoformat(),
        "proposed": {"at": to_text(head.proposed_at), "by": head.proposed_by},
        "approvals": [_approval(each) for each in view.approvals],
        "waiting_until": None if head.waiting_until is None else head.waiting_until.isoformat(),
        "destroyed": {"at": to_text(event.at), "by": event.actor},
        "certified": {"at": certified["certified_at"], "by": certified["certified_by"]},
        "studies": [_study(study, lines[study["study_instance_uid"]]) for study in event.data["studies"]],
        "kept": [_kept(item) for item in view.items if item.state not in _GONE],
        "damaged_copies": list(certified["damaged"]),
        "audit_head": certified["audit_head"],
        "ledger_head": certified["ledger_head"],
    }


def _approval(approval: Approval) -> dict[str, Any]:
    return {
        "office": approval.office,
        "account": approval.account,
        "full_name": approval.full_name,
        "at": to_text(approval.approved_at),
        "reference": approval.reference,
    }


def _study(study: Mapping[str, Any], item: DisposalItem) -> dict[str, Any]:
    return {
        "study_instance_uid": study["study_instance_uid"],
        **{name: item.line[name] for name in (*_SHOWN, *_VERSIONS)},
        **_packs(study),
        "series": [
            {
                "series_instance_uid": series["series_instance_uid"],
                "instances": [_instance(each) for each in series["instances"]],
            }
            for series in study["series"]
        ],
    }


def _packs(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the packs that went; an event that was written before there were any says nothing of them."""
    return {"packs": [{name: copy[name] for name in _COPY} for copy in study["packs"]]} if "packs" in study else {}


def _instance(instance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sop_instance_uid": instance["sop_instance_uid"],
        "sop_class_uid": instance["sop_class_uid"],
        "sha256": instance["dataset_sha256"],
        "copies": [{name: copy[name] for name in _COPY} for copy in instance["copies"]],
        **_predecessors(instance),
    }


def _predecessors(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the instance took the place of as a lossy copy; nothing when that is nothing."""
    before = instance.get("predecessors")
    return {"predecessors": [dict(was) for was in before]} if before else {}


def _kept(item: DisposalItem) -> dict[str, Any]:
    return {"study_instance_uid": item.study_instance_uid, "how": item.state, "reason": item.reason}
