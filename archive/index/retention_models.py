"""The tables of retention, projections of the ledger keyed by what outlives a rebuild; must not run anything."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint, text

from archive.index.columns import (
    BIG,
    TEXT,
    big_column,
    digest_column,
    id_column,
    metadata,
    text_column,
)

ledger_position = Table(
    "ledger_position",
    metadata,
    Column("id", BIG, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    big_column("sequence"),
    digest_column("hash"),
    text_column("file"),
    big_column("offset_bytes"),
)

patient_fact = Table(
    "patient_fact",
    metadata,
    id_column(),
    text_column("site"),
    text_column("patient_id"),
    Column(
        "kind",
        TEXT,
        CheckConstraint("kind IN ('visit', 'birth', 'death', 'deceased', 'appeal')", name="kind"),
        nullable=False,
    ),
    text_column("from_on", required=False),
    text_column("to_on", required=False),
    big_column("is_trusted"),
    text_column("source"),
    text_column("reference"),
    text_column("recorded_at"),
    text_column("recorded_by"),
    text_column("withdrawn_at", required=False),
    text_column("withdrawn_by", required=False),
)
Index(None, patient_fact.c.site, patient_fact.c.patient_id)
Index(None, patient_fact.c.site, patient_fact.c.source, patient_fact.c.reference)

patient_link = Table(
    "patient_link",
    metadata,
    id_column(),
    text_column("site"),
    text_column("patient_id"),
    text_column("merged_patient_id"),
    text_column("source"),
    text_column("reference"),
    text_column("linked_at"),
    text_column("unlinked_at", required=False),
)
Index(None, patient_link.c.site, patient_link.c.patient_id)
Index(None, patient_link.c.site, patient_link.c.merged_patient_id)

hold = Table(
    "hold",
    metadata,
    Column("hold_id", TEXT, primary_key=True),
    text_column("reason"),
    text_column("authority"),
    text_column("reference"),
    text_column("placed_at"),
    text_column("placed_by"),
    text_column("review_on", required=False),
    text_column("reviewed_at", required=False),
    text_column("lifted_at", required=False),
    text_column("lifted_by", required=False),
    text_column("lift_reason", required=False),
)

hold_scope = Table(
    "hold_scope",
    metadata,
    id_column(),
    Column("hold_id", TEXT, ForeignKey("hold.hold_id"), nullable=False),
    text_column("study_instance_uid", required=False),
    text_column("site", required=False),
    text_column("patient_id", required=False),
)
Index(None, hold_scope.c.hold_id)
Index(None, hold_scope.c.study_instance_uid)
Index(None, hold_scope.c.site, hold_scope.c.patient_id)

death_candidate = Table(
    "death_candidate",
    metadata,
    id_column(),
    text_column("site"),
    text_column("patient_id"),
    text_column("died_on"),
    text_column("source"),
    text_column("reference"),
    text_column("traits"),
    text_column("found_at"),
    Column(
        "state",
        TEXT,
        CheckConstraint("state IN ('waiting', 'confirmed', 'rejected')", name="state"),
        nullable=False,
    ),
    text_column("decided_at", required=False),
    text_column("decided_by", required=False),
    UniqueConstraint("site", "patient_id", "reference"),
)
Index(None, death_candidate.c.state)

assessment = Table(
    "assessment",
    metadata,
    Column("study_instance_uid", TEXT, primary_key=True),
    text_column("site"),
    text_column("exam_on", required=False),
    text_column("eligible_on", required=False),
    text_column("lossless_until", required=False),
    text_column("rule", required=False),
    text_column("blocked_by"),
    text_column("reassess_on", required=False),
    text_column("assumptions"),
    text_column("reading"),
    text_column("schedule_version"),
    text_column("assessed_at"),
    text_column("error", required=False),
    big_column("is_stale"),
    big_column("instances"),
    big_column("size_bytes"),
)
_STALE = assessment.c.is_stale == text("1")
_AGAIN = assessment.c.reassess_on.is_not(None)
_BLOCKED = assessment.c.blocked_by != text("''")
Index(None, assessment.c.is_stale, assessment.c.study_instance_uid, sqlite_where=_STALE, postgresql_where=_STALE)
Index(None, assessment.c.site, assessment.c.eligible_on)
Index(
    None,
    assessment.c.study_instance_uid,
    assessment.c.blocked_by,
    assessment.c.site,
    sqlite_where=_BLOCKED,
    postgresql_where=_BLOCKED,
)
Index(None, assessment.c.lossless_until, assessment.c.study_instance_uid)
Index(None, assessment.c.reassess_on, assessment.c.study_instance_uid, sqlite_where=_AGAIN, postgresql_where=_AGAIN)

sweep_mark = Table(
    "sweep_mark",
    metadata,
    Column("id", BIG, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    Column("instance_id", BIG),
    text_column("sop_instance_uid", required=False),
    text_column("received_at", required=False),
    text_column("settings", required=False),
    text_column("trusted_at", required=False),
    Column("trusted_sequence", BIG),
)

sweep = Table(
    "sweep",
    metadata,
    id_column(),
    text_column("as_of"),
    text_column("site", required=False),
    text_column("at"),
    text_column("by"),
    text_column("summary"),
)

disposal_list = Table(
    "disposal_list",
    metadata,
    Column("list_id", TEXT, primary_key=True),
    text_column("site"),
    text_column("site_kind"),
    Column(
        "state",
        TEXT,
        CheckConstraint("state IN ('listed', 'approved', 'destroying', 'destroyed', 'cancelled')", name="state"),
        nullable=False,
    ),
    text_column("as_of"),
    text_column("proposed_at"),
    text_column("proposed_by"),
    text_column("waiting_until", required=False),
    text_column("ended_at", required=False),
    text_column("ended_by", required=False),
    text_column("end_reason", required=False),
    text_column("proposed_by_full_name", required=False),
)

disposal_item = Table(
    "disposal_item",
    metadata,
    Column("list_id", TEXT, ForeignKey("disposal_list.list_id"), primary_key=True),
    Column("study_instance_uid", TEXT, primary_key=True),
    big_column("number"),
    text_column("line"),
    Column(
        "state",
        TEXT,
        CheckConstraint(
            "state IN ('listed', 'refused', 'sent_back', 'cancelled', 'destroying', 'destroyed')", name="state"
        ),
        nullable=False,
    ),
    text_column("decided_at", required=False),
    text_column("decided_by", required=False),
    text_column("reason", required=False),
)
Index(None, disposal_item.c.study_instance_uid)

disposal_approval = Table(
    "disposal_approval",
    metadata,
    Column("list_id", TEXT, ForeignKey("disposal_list.list_id"), primary_key=True),
    Column("office", TEXT, primary_key=True),
    text_column("account"),
    text_column("full_name"),
    text_column("approved_at"),
    text_column("reference", required=False),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("sop_instance_uid", TEXT, primary_key=True),
    text_column("study_instance_uid"),
    text_column("list_id"),
    digest_column("dataset_sha256"),
    text_column("destroyed_at"),
)
Index(None, tombstone.c.study_instance_uid)

account = Table(
    "account",
    metadata,
    Column("name", TEXT, primary_key=True),
    text_column("full_name"),
    text_column("roles"),
    text_column("sites"),
    text_column("secret"),
    text_column("created_at"),
    text_column("created_by"),
    text_column("disabled_at", required=False),
)

hl7_message = Table(
    "hl7_message",
    metadata,
    id_column(),
    text_column("received_at"),
    text_column("peer_address"),
    text_column("control_id"),
    text_column("message_type"),
    text_column("outcome"),
    text_column("detail"),
    text_column("message"),
    text_column("site"),
    text_column("source"),
    text_column("patient_id"),
    text_column("visit"),
    text_column("said_at"),
    text_column("says"),
)
Index(None, hl7_message.c.outcome)
Index(None, hl7_message.c.control_id)
Index(None, hl7_message.c.site, hl7_message.c.visit)
Index(None, hl7_message.c.site, hl7_message.c.patient_id)
