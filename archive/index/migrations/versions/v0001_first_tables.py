"""The first tables, from patient to commitment; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table of the first version."""
    _create_patient()
    _create_study()
    _create_series()
    _create_instance()
    _create_location()
    _create_quarantine()
    _create_audit()
    _create_landing_folder()
    _create_association_log()
    _create_commitment()


def _create_patient() -> None:
    op.create_table(
        "patient",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("identity_key", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("patient_name", TEXT, nullable=True),
        sa.Column("patient_name_key", TEXT, nullable=True),
        sa.Column("patient_id", TEXT, nullable=True),
        sa.Column("issuer_of_patient_id", TEXT, nullable=True),
        sa.Column("type_of_patient_id", TEXT, nullable=True),
        sa.Column("patient_birth_date", TEXT, nullable=True),
        sa.Column("patient_birth_time", TEXT, nullable=True),
        sa.Column("patient_sex", TEXT, nullable=True),
        sa.Column("other_patient_ids", TEXT, nullable=True),
        sa.Column("issuer_of_patient_id_universal_entity_id", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_patient"),
        sa.UniqueConstraint("identity_key", name="uq_patient_identity_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_patient_patient_birth_date", "patient", ["patient_birth_date"])
    op.create_index("ix_patient_patient_id", "patient", ["patient_id"])
    op.create_index("ix_patient_patient_name_key", "patient", ["patient_name_key"])


def _create_study() -> None:
    op.create_table(
        "study",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("patient_fk", BIG, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("study_date", TEXT, nullable=True),
        sa.Column("study_time", TEXT, nullable=True),
        sa.Column("accession_number", TEXT, nullable=True),
        sa.Column("referring_physician_name", TEXT, nullable=True),
        sa.Column("referring_physician_name_key", TEXT, nullable=True),
        sa.Column("study_description", TEXT, nullable=True),
        sa.Column("name_of_physicians_reading_study", TEXT, nullable=True),
        sa.Column("name_of_physicians_reading_study_key", TEXT, nullable=True),
        sa.Column("admitting_diagnoses_description", TEXT, nullable=True),
        sa.Column("patient_age", TEXT, nullable=True),
        sa.Column("patient_size", TEXT, nullable=True),
        sa.Column("patient_weight", TEXT, nullable=True),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("study_id", TEXT, nullable=True),
        sa.Column("created_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.ForeignKeyConstraint(["patient_fk"], ["patient.id"], name="fk_study_patient_fk"),
        sa.UniqueConstraint("study_instance_uid", name="uq_study_study_instance_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_study_accession_number", "study", ["accession_number"])
    op.create_index("ix_study_patient_fk", "study", ["patient_fk"])
    op.create_index("ix_study_referring_physician_name_key", "study", ["referring_physician_name_key"])
    op.create_index("ix_study_study_date", "study", ["study_date"])
    op.create_index("ix_study_study_id", "study", ["study_id"])


def _create_series() -> None:
    op.create_table(
        "series",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("study_fk", BIG, nullable=False),
        sa.Column("series_date", TEXT, nullable=True),
        sa.Column("series_time", TEXT, nullable=True),
        sa.Column("modality", TEXT, nullable=True),
        sa.Column("manufacturer", TEXT, nullable=True),
        sa.Column("institution_name", TEXT, nullable=True),
        sa.Column("station_name", TEXT, nullable=True),
        sa.Column("series_description", TEXT, nullable=True),
        sa.Column("institutional_department_name", TEXT, nullable=True),
        sa.Column("performing_physician_name", TEXT, nullable=True),
        sa.Column("performing_physician_name_key", TEXT, nullable=True),
        sa.Column("operators_name", TEXT, nullable=True),
        sa.Column("operators_name_key", TEXT, nullable=True),
        sa.Column("manufacturer_model_name", TEXT, nullable=True),
        sa.Column("body_part_examined", TEXT, nullable=True),
        sa.Column("protocol_name", TEXT, nullable=True),
        sa.Column("patient_position", TEXT, nullable=True),
        sa.Column("series_instance_uid", TEXT, nullable=False),
        sa.Column("series_number", TEXT, nullable=True),
        sa.Column("frame_of_reference_uid", TEXT, nullable=True),
        sa.Column("laterality", TEXT, nullable=True),
        sa.Column("performed_procedure_step_start_date", TEXT, nullable=True),
        sa.Column("performed_procedure_step_start_time", TEXT, nullable=True),
        sa.Column("performed_procedure_step_id", TEXT, nullable=True),
        sa.Column("performed_procedure_step_description", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.ForeignKeyConstraint(["study_fk"], ["study.id"], name="fk_series_study_fk"),
        sa.UniqueConstraint("study_fk", "series_instance_uid", name="uq_series_study_fk_series_instance_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_series_modality_study_fk", "series", ["modality", "study_fk"])
    op.create_index("ix_series_series_instance_uid", "series", ["series_instance_uid"])
    op.create_index("ix_series_study_fk_modality", "series", ["study_fk", "modality"])


def _create_instance() -> None:
    op.create_table(
        "instance",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("series_fk", BIG, nullable=False),
        sa.Column("specific_character_set", TEXT, nullable=True),
        sa.Column("image_type", TEXT, nullable=True),
        sa.Column("sop_class_uid", TEXT, nullable=False),
        sa.Column("sop_instance_uid", TEXT, nullable=False),
        sa.Column("acquisition_date", TEXT, nullable=True),
        sa.Column("content_date", TEXT, nullable=True),
        sa.Column("acquisition_time", TEXT, nullable=True),
        sa.Column("content_time", TEXT, nullable=True),
        sa.Column("timezone_offset_from_utc", TEXT, nullable=True),
        sa.Column("acquisition_number", TEXT, nullable=True),
        sa.Column("instance_number", TEXT, nullable=True),
        sa.Column("samples_per_pixel", TEXT, nullable=True),
        sa.Column("photometric_interpretation", TEXT, nullable=True),
        sa.Column("number_of_frames", TEXT, nullable=True),
        sa.Column("rows", TEXT, nullable=True),
        sa.Column("columns", TEXT, nullable=True),
        sa.Column("bits_allocated", TEXT, nullable=True),
        sa.Column("bits_stored", TEXT, nullable=True),
        sa.Column("lossy_image_compression", TEXT, nullable=True),
        sa.Column("completion_flag", TEXT, nullable=True),
        sa.Column("verification_flag", TEXT, nullable=True),
        sa.Column("content_label", TEXT, nullable=True),
        sa.Column("content_description", TEXT, nullable=True),
        sa.Column("presentation_creation_date", TEXT, nullable=True),
        sa.Column("transfer_syntax_uid", TEXT, nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("dataset_size", BIG, nullable=False),
        sa.Column("flags", TEXT, nullable=False),
        sa.Column("received_at", TEXT, nullable=False),
        sa.Column("calling_ae_title", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        sa.CheckConstraint("length(dataset_sha256) = 32", name="ck_instance_dataset_sha256_size"),
        sa.ForeignKeyConstraint(["series_fk"], ["series.id"], name="fk_instance_series_fk"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_instance_sop_instance_uid"),
    )
    op.create_index("ix_instance_series_fk_sop_class_uid", "instance", ["series_fk", "sop_class_uid"])


def _create_location() -> None:
    op.create_table(
        "location",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("instance_fk", BIG, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("header_size", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("verified_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_location"),
        sa.CheckConstraint("length(sha256) = 32", name="ck_location_sha256_size"),
        sa.CheckConstraint("tier IN ('hot', 'cold')", name="ck_location_tier"),
        sa.CheckConstraint("state IN ('present', 'missing', 'damaged')", name="ck_location_state"),
        sa.ForeignKeyConstraint(["instance_fk"], ["instance.id"], name="fk_location_instance_fk"),
        sa.UniqueConstraint("key", name="uq_location_key"),
    )
    op.create_index(
        "ix_location_instance_fk_tier_state_size_bytes", "location", ["instance_fk", "tier", "state", "size_bytes"]
    )


def _create_quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("sop_instance_uid", TEXT, nullable=False),
        sa.Column("calling_ae_title", TEXT, nullable=False),
        sa.Column("peer_address", TEXT, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", TEXT, nullable=False),
        sa.Column("resolved_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.CheckConstraint("length(sha256) = 32", name="ck_quarantine_sha256_size"),
        sa.UniqueConstraint("key", name="uq_quarantine_key"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", BIG, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit"),
        sa.CheckConstraint("length(previous_hash) = 32", name="ck_audit_previous_hash_size"),
        sa.CheckConstraint("length(hash) = 32", name="ck_audit_hash_size"),
    )


def _create_landing_folder() -> None:
    op.create_table(
        "landing_folder",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("opened_at", TEXT, nullable=False),
        sa.Column("sealed_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_landing_folder"),
    )


def _create_association_log() -> None:
    op.create_table(
        "association_log",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("calling_ae_title", TEXT, nullable=False),
        sa.Column("called_ae_title", TEXT, nullable=False),
        sa.Column("peer_address", TEXT, nullable=False),
        sa.Column("started_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("stored", BIG, nullable=False),
        sa.Column("retrieved", BIG, nullable=False),
        sa.Column("found", BIG, nullable=False),
        sa.Column("refused", BIG, nullable=False),
        sa.Column("bytes_in", BIG, nullable=False),
        sa.Column("bytes_out", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_association_log"),
    )
    op.create_index("ix_association_log_started_at", "association_log", ["started_at"])


def _create_commitment() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("transaction_uid", TEXT, nullable=False),
        sa.Column("ae_title", TEXT, nullable=False),
        sa.Column("requested_at", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("attempts", BIG, nullable=False),
        sa.Column("next_attempt_at", TEXT, nullable=False),
        sa.Column("reported_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_commitment"),
    )
    op.create_index("ix_commitment_reported_at_next_attempt_at", "commitment", ["reported_at", "next_attempt_at"])
