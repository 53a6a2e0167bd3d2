"""The tables of the index, one definition for SQLite and PostgreSQL; must not run anything.

Attribute columns come from ``archive.part10.attributes``; the migration spells them out and a test compares the two.
Every text column sorts by code point on both databases (SQLite BINARY, PostgreSQL "C"), so that a prefix is a range.
Ids of patients, studies and series are never used twice, not even on SQLite: writers remember them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

from archive.part10.attributes import INSTANCE, ISSUER_UNIVERSAL_ID, PATIENT, SERIES, STUDY, Attribute, snake_case

TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key_column(attribute: Attribute) -> str:
    """Return the column that holds the folded form of a person name."""
    return attribute.column + "_key"


def _id() -> Column[int]:
    return Column("id", BIG, Identity(), primary_key=True)


def _text(name: str, *, required: bool = True) -> Column[str]:
    return Column(name, TEXT, nullable=not required)


def _big(name: str) -> Column[int]:
    return Column(name, BIG, nullable=False)


def _reference(table: str) -> Column[int]:
    return Column(f"{table}_fk", BIG, ForeignKey(f"{table}.id"), nullable=False)


def _digest(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, CheckConstraint(f"length({name}) = 32", name=f"{name}_size"), nullable=False)


def _attributes(attributes: Sequence[Attribute], *required: str) -> list[Column[str]]:
    """Return the columns of a level's attributes, each person name followed by its folded key."""
    columns = []
    for attribute in attributes:
        columns.append(_text(attribute.column, required=attribute.keyword in required))
        if attribute.vr == "PN":
            columns.append(_text(key_column(attribute), required=False))
    return columns


patient = Table(
    "patient",
    metadata,
    _id(),
    _text("identity_key"),
    _text("site"),
    *_attributes(PATIENT),
    _text(snake_case(ISSUER_UNIVERSAL_ID), required=False),
    UniqueConstraint("identity_key"),
    sqlite_autoincrement=True,
)
Index(None, patient.c.patient_id)
Index(None, patient.c.patient_name_key)
Index(None, patient.c.patient_birth_date)

study = Table(
    "study",
    metadata,
    _id(),
    _reference("patient"),
    _text("site"),
    *_attributes(STUDY, "StudyInstanceUID"),
    _text("created_at"),
    UniqueConstraint("study_instance_uid"),
    sqlite_autoincrement=True,
)
Index(None, study.c.patient_fk)
Index(None, study.c.study_date)
Index(None, study.c.accession_number)
Index(None, study.c.study_id)
Index(None, study.c.referring_physician_name_key)

series = Table(
    "series",
    metadata,
    _id(),
    _reference("study"),
    *_attributes(SERIES, "SeriesInstanceUID"),
    UniqueConstraint("study_fk", "series_instance_uid"),
    sqlite_autoincrement=True,
)
Index(None, series.c.series_instance_uid)
Index(None, series.c.study_fk, series.c.modality)
Index(None, series.c.modality, series.c.study_fk)

instance = Table(
    "instance",
    metadata,
    _id(),
    _reference("series"),
    *_attributes(INSTANCE, "SOPClassUID", "SOPInstanceUID"),
    _text("transfer_syntax_uid"),
    _digest("dataset_sha256"),
    _big("dataset_size"),
    _text("flags"),
    _text("received_at"),
    _text("calling_ae_title"),
    UniqueConstraint("sop_instance_uid"),
)
Index(None, instance.c.series_fk, instance.c.sop_class_uid)

location = Table(
    "location",
    metadata,
    _id(),
    _reference("instance"),
    Column("tier", TEXT, CheckConstraint("tier IN ('hot', 'cold')", name="tier"), nullable=False),
    _text("key"),
    _digest("sha256"),
    _big("header_size"),
    _big("size_bytes"),
    Column("state", TEXT, CheckConstraint("state IN ('present', 'missing', 'damaged')", name="state"), nullable=False),
    _text("verified_at", required=False),
    UniqueConstraint("key"),
)
Index(None, location.c.instance_fk, location.c.tier, location.c.state, location.c.size_bytes)

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    _text("key"),
    _text("reason"),
    _text("sop_instance_uid"),
    _text("calling_ae_title"),
    _text("peer_address"),
    _big("size_bytes"),
    _digest("sha256"),
    _text("received_at"),
    _text("resolved_at", required=False),
    UniqueConstraint("key"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BIG, primary_key=True, autoincrement=False),
    _text("at"),
    _text("event"),
    _text("actor"),
    _text("body"),
    _digest("previous_hash"),
    _digest("hash"),
)

landing_folder = Table(
    "landing_folder",
    metadata,
    Column("name", TEXT, primary_key=True),
    _text("opened_at"),
    _text("sealed_at", required=False),
)

association_log = Table(
    "association_log",
    metadata,
    _id(),
    _text("calling_ae_title"),
    _text("called_ae_title"),
    _text("peer_address"),
    _text("started_at"),
    _text("ended_at"),
    _text("outcome"),
    *(_big(name) for name in ("stored", "retrieved", "found", "refused", "bytes_in", "bytes_out")),
)
Index(None, association_log.c.started_at)

commitment = Table(
    "commitment",
    metadata,
    _id(),
    _text("transaction_uid"),
    _text("ae_title"),
    _text("requested_at"),
    _text("body"),
    _big("attempts"),
    _text("next_attempt_at"),
    _text("reported_at", required=False),
)
Index(None, commitment.c.reported_at, commitment.c.next_attempt_at)

# ---- retention: projections of the ledger (services/ledger.py), keyed by what outlives a rebuild -------------------

ledger_position = Table(
    "ledger_position",
    metadata,
    Column("id", BIG, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    _big("sequence"),
    _digest("hash"),
    _text("file"),
    _big("offset_bytes"),
)

patient_fact = Table(
    "patient_fact",
    metadata,
    _id(),
    _text("site"),
    _text("patient_id"),
    Column(
        "kind",
        TEXT,
        CheckConstraint("kind IN ('visit', 'birth', 'death', 'deceased', 'appeal')", name="kind"),
        nullable=False,
    ),
    _text("from_on", required=False),
    _text("to_on", required=False),
    _big("is_trusted"),
    _text("source"),
    _text("reference"),
    _text("recorded_at"),
    _text("recorded_by"),
    _text("withdrawn_at", required=False),
    _text("withdrawn_by", required=False),
)
Index(None, patient_fact.c.site, patient_fact.c.patient_id)
Index(None, patient_fact.c.site, patient_fact.c.source, patient_fact.c.reference)

patient_link = Table(
    "patient_link",
    metadata,
    _id(),
    _text("site"),
    _text("patient_id"),
    _text("merged_patient_id"),
    _text("source"),
    _text("reference"),
    _text("linked_at"),
    _text("unlinked_at", required=False),
)
Index(None, patient_link.c.site, patient_link.c.patient_id)
Index(None, patient_link.c.site, patient_link.c.merged_patient_id)

hold = Table(
    "hold",
    metadata,
    Column("hold_id", TEXT, primary_key=True),
    _text("reason"),
    _text("authority"),
    _text("reference"),
    _text("placed_at"),
    _text("placed_by"),
    _text("review_on", required=False),
    _text("reviewed_at", required=False),
    _text("lifted_at", required=False),
    _text("lifted_by", required=False),
    _text("lift_reason", required=False),
)

hold_scope = Table(
    "hold_scope",
    metadata,
    _id(),
    Column("hold_id", TEXT, ForeignKey("hold.hold_id"), nullable=False),
    _text("study_instance_uid", required=False),
    _text("site", required=False),
    _text("patient_id", required=False),
)
Index(None, hold_scope.c.hold_id)
Index(None, hold_scope.c.study_instance_uid)
Index(None, hold_scope.c.site, hold_scope.c.patient_id)

death_candidate = Table(
    "death_candidate",
    metadata,
    _id(),
    _text("site"),
    _text("patient_id"),
    _text("died_on"),
    _text("source"),
    _text("reference"),
    _text("traits"),
    _text("found_at"),
    Column(
        "state",
        TEXT,
        CheckConstraint("state IN ('waiting', 'confirmed', 'rejected')", name="state"),
        nullable=False,
    ),
    _text("decided_at", required=False),
    _text("decided_by", required=False),
    UniqueConstraint("site", "patient_id", "reference"),
)
Index(None, death_candidate.c.state)

assessment = Table(
    "assessment",
    metadata,
    Column("study_instance_uid", TEXT, primary_key=True),
    _text("site"),
    _text("exam_on", required=False),
    _text("eligible_on", required=False),
    _text("lossless_until", required=False),
    _text("rule", required=False),
    _text("blocked_by"),
    _text("reassess_on", required=False),
    _text("assumptions"),
    _text("reading"),
    _text("schedule_version"),
    _text("assessed_at"),
    _text("error", required=False),
    _big("is_stale"),
    _big("instances"),
    _big("size_bytes"),
)
_STALE = assessment.c.is_stale == text("1")
_AGAIN = assessment.c.reassess_on.is_not(None)
Index(None, assessment.c.is_stale, assessment.c.study_instance_uid, sqlite_where=_STALE, postgresql_where=_STALE)
Index(None, assessment.c.site, assessment.c.eligible_on)
Index(None, assessment.c.reassess_on, assessment.c.study_instance_uid, sqlite_where=_AGAIN, postgresql_where=_AGAIN)

sweep_mark = Table(
    "sweep_mark",
    metadata,
    Column("id", BIG, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    Column("instance_id", BIG),
    _text("sop_instance_uid", required=False),
    _text("received_at", required=False),
    _text("settings", required=False),
    _text("trusted_at", required=False),
    Column("trusted_sequence", BIG),
)

sweep = Table(
    "sweep",
    metadata,
    _id(),
    _text("as_of"),
    _text("site", required=False),
    _text("at"),
    _text("by"),
    _text("summary"),
)

disposal_list = Table(
    "disposal_list",
    metadata,
    Column("list_id", TEXT, primary_key=True),
    _text("site"),
    _text("site_kind"),
    Column(
        "state",
        TEXT,
        CheckConstraint("state IN ('listed', 'approved', 'destroying', 'destroyed', 'cancelled')", name="state"),
        nullable=False,
    ),
    _text("as_of"),
    _text("proposed_at"),
    _text("proposed_by"),
    _text("waiting_until", required=False),
    _text("ended_at", required=False),
    _text("ended_by", required=False),
    _text("end_reason", required=False),
)

disposal_item = Table(
    "disposal_item",
    metadata,
    Column("list_id", TEXT, ForeignKey("disposal_list.list_id"), primary_key=True),
    Column("study_instance_uid", TEXT, primary_key=True),
    _big("number"),
    _text("line"),
    Column(
        "state",
        TEXT,
        CheckConstraint(
            "state IN ('listed', 'refused', 'sent_back', 'cancelled', 'destroying', 'destroyed')", name="state"
        ),
        nullable=False,
    ),
    _text("decided_at", required=False),
    _text("decided_by", required=False),
    _text("reason", required=False),
)
Index(None, disposal_item.c.study_instance_uid)

disposal_approval = Table(
    "disposal_approval",
    metadata,
    Column("list_id", TEXT, ForeignKey("disposal_list.list_id"), primary_key=True),
    Column("office", TEXT, primary_key=True),
    _text("account"),
    _text("full_name"),
    _text("approved_at"),
    _text("reference", required=False),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("sop_instance_uid", TEXT, primary_key=True),
    _text("study_instance_uid"),
    _text("list_id"),
    _digest("dataset_sha256"),
    _text("destroyed_at"),
)
Index(None, tombstone.c.study_instance_uid)

account = Table(
    "account",
    metadata,
    Column("name", TEXT, primary_key=True),
    _text("full_name"),
    _text("roles"),
    _text("sites"),
    _text("secret"),
    _text("created_at"),
    _text("created_by"),
    _text("disabled_at", required=False),
)

hl7_message = Table(
    "hl7_message",
    metadata,
    _id(),
    _text("received_at"),
    _text("peer_address"),
    _text("control_id"),
    _text("message_type"),
    _text("outcome"),
    _text("detail"),
    _text("message"),
    _text("site"),
    _text("source"),
    _text("patient_id"),
    _text("visit"),
    _text("said_at"),
    _text("says"),
)
Index(None, hl7_message.c.outcome)
Index(None, hl7_message.c.control_id)
Index(None, hl7_message.c.site, hl7_message.c.visit)
Index(None, hl7_message.c.site, hl7_message.c.patient_id)
