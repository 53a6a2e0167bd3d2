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
