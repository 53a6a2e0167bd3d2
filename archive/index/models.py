"""The tables of the index, one definition for SQLite and PostgreSQL; must not run anything.

Attribute columns come from ``archive.part10.attributes``; the migration spells them out and a test compares the two.
Every text column sorts by code point on both databases (SQLite BINARY, PostgreSQL "C"), so that a prefix is a range.
Ids of patients, studies and series are never used twice, not even on SQLite: writers remember them.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Table, UniqueConstraint, text

from archive.index import cold_models, identity_models, retention_models, watching_models
from archive.index.columns import (
    BIG,
    TEXT,
    attribute_columns,
    big_column,
    digest_column,
    id_column,
    key_column,
    metadata,
    reference_column,
    text_column,
)
from archive.part10.attributes import INSTANCE, ISSUER_UNIVERSAL_ID, PATIENT, SERIES, STUDY, snake_case

__all__ = ["cold_models", "identity_models", "key_column", "metadata", "retention_models", "watching_models"]

patient = Table(
    "patient",
    metadata,
    id_column(),
    text_column("identity_key"),
    text_column("site"),
    *attribute_columns(PATIENT),
    text_column(snake_case(ISSUER_UNIVERSAL_ID), required=False),
    UniqueConstraint("identity_key"),
    sqlite_autoincrement=True,
)
Index(None, patient.c.patient_id)
Index(None, patient.c.patient_name_key)
Index(None, patient.c.patient_birth_date)

study = Table(
    "study",
    metadata,
    id_column(),
    reference_column("patient"),
    text_column("site"),
    *attribute_columns(STUDY, "StudyInstanceUID"),
    text_column("created_at"),
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
    id_column(),
    reference_column("study"),
    *attribute_columns(SERIES, "SeriesInstanceUID"),
    UniqueConstraint("study_fk", "series_instance_uid"),
    sqlite_autoincrement=True,
)
Index(None, series.c.series_instance_uid)
Index(None, series.c.study_fk, series.c.modality)
Index(None, series.c.modality, series.c.study_fk)

instance = Table(
    "instance",
    metadata,
    id_column(),
    reference_column("series"),
    *attribute_columns(INSTANCE, "SOPClassUID", "SOPInstanceUID"),
    text_column("transfer_syntax_uid"),
    digest_column("dataset_sha256"),
    big_column("dataset_size"),
    text_column("flags"),
    text_column("received_at"),
    text_column("calling_ae_title"),
    UniqueConstraint("sop_instance_uid"),
)
Index(None, instance.c.series_fk, instance.c.sop_class_uid)

pack = Table(
    "pack",
    metadata,
    id_column(),
    text_column("key"),
    Column("tier", TEXT, CheckConstraint("tier IN ('hot', 'cold')", name="tier"), nullable=False),
    text_column("study_instance_uid"),
    text_column("series_instance_uid"),
    big_column("generation"),
    big_column("size_bytes"),
    digest_column("sha256"),
    text_column("created_at"),
    text_column("store_generation", required=False),
    text_column("held_at", required=False),
    UniqueConstraint("key"),
)
Index(None, pack.c.series_instance_uid)
Index(None, pack.c.study_instance_uid)

location = Table(
    "location",
    metadata,
    id_column(),
    reference_column("instance"),
    Column("tier", TEXT, CheckConstraint("tier IN ('hot', 'cold')", name="tier"), nullable=False),
    text_column("key"),
    digest_column("sha256"),
    big_column("header_size"),
    big_column("size_bytes"),
    Column("state", TEXT, CheckConstraint("state IN ('present', 'missing', 'damaged')", name="state"), nullable=False),
    text_column("verified_at", required=False),
    Column("pack_fk", BIG),
    Column("offset_bytes", BIG),
    text_column("transfer_syntax_uid", required=False),
    Column("dataset_sha256", LargeBinary),
    UniqueConstraint("key"),
)
Index(None, location.c.instance_fk, location.c.tier, location.c.state, location.c.size_bytes)
_PACKED = location.c.pack_fk.is_not(None)
Index(None, location.c.pack_fk, sqlite_where=_PACKED, postgresql_where=_PACKED)

trim = Table(
    "trim",
    metadata,
    Column("key", TEXT, primary_key=True),
    text_column("sop_instance_uid"),
    digest_column("dataset_sha256"),
    text_column("generation"),
    big_column("size_bytes"),
    text_column("since"),
)
Index(None, trim.c.sop_instance_uid)

quarantine = Table(
    "quarantine",
    metadata,
    id_column(),
    text_column("key"),
    text_column("reason"),
    text_column("sop_instance_uid"),
    text_column("calling_ae_title"),
    text_column("peer_address"),
    big_column("size_bytes"),
    digest_column("sha256"),
    text_column("received_at"),
    text_column("resolved_at", required=False),
    UniqueConstraint("key"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BIG, primary_key=True, autoincrement=False),
    text_column("at"),
    text_column("event"),
    text_column("actor"),
    text_column("body"),
    digest_column("previous_hash"),
    digest_column("hash"),
)

_LOOKING = text("event IN ('viewed', 'retrieved', 'queried')")
Index("ix_audit_looking", audit.c.sequence, sqlite_where=_LOOKING, postgresql_where=_LOOKING)

landing_folder = Table(
    "landing_folder",
    metadata,
    Column("name", TEXT, primary_key=True),
    text_column("opened_at"),
    text_column("sealed_at", required=False),
)

association_log = Table(
    "association_log",
    metadata,
    id_column(),
    text_column("calling_ae_title"),
    text_column("called_ae_title"),
    text_column("peer_address"),
    text_column("started_at"),
    text_column("ended_at"),
    text_column("outcome"),
    *(big_column(name) for name in ("stored", "retrieved", "found", "refused", "bytes_in", "bytes_out")),
)
Index(None, association_log.c.started_at)

commitment = Table(
    "commitment",
    metadata,
    id_column(),
    text_column("transaction_uid"),
    text_column("ae_title"),
    text_column("requested_at"),
    text_column("body"),
    big_column("attempts"),
    text_column("next_attempt_at"),
    text_column("reported_at", required=False),
)
Index(None, commitment.c.reported_at, commitment.c.next_attempt_at)
