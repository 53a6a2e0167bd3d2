"""The tables of retention, from the ledger to the sweeps; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of retention."""
    _create_ledger_position()
    _create_patient_fact()
    _create_patient_link()
    _create_hold()
    _create_hold_scope()
    _create_death_candidate()
    _create_assessment()
    _create_assessment_mark()
    _create_sweep()
    _create_account()
    _create_hl7_message()


def _create_ledger_position() -> None:
    op.create_table(
        "ledger_position",
        sa.Column("id", BIG, nullable=False, autoincrement=False),
        sa.Column("sequence", BIG, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("file", TEXT, nullable=False),
        sa.Column("offset_bytes", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_position"),
        sa.CheckConstraint("length(hash) = 32", name="ck_ledger_position_hash_size"),
        sa.CheckConstraint("id = 1", name="ck_ledger_position_single"),
    )


def _create_patient_fact() -> None:
    op.create_table(
        "patient_fact",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("patient_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("from_on", TEXT, nullable=True),
        sa.Column("to_on", TEXT, nullable=True),
        sa.Column("is_trusted", BIG, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("recorded_by", TEXT, nullable=False),
        sa.Column("withdrawn_at", TEXT, nullable=True),
        sa.Column("withdrawn_by", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_patient_fact"),
        sa.CheckConstraint("kind IN ('visit', 'birth', 'death', 'deceased', 'appeal')", name="ck_patient_fact_kind"),
    )
    op.create_index("ix_patient_fact_site_patient_id", "patient_fact", ["site", "patient_id"])
    op.create_index("ix_patient_fact_site_source_reference", "patient_fact", ["site", "source", "reference"])


def _create_patient_link() -> None:
    op.create_table(
        "patient_link",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("patient_id", TEXT, nullable=False),
        sa.Column("merged_patient_id", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("linked_at", TEXT, nullable=False),
        sa.Column("unlinked_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_patient_link"),
    )
    op.create_index("ix_patient_link_site_merged_patient_id", "patient_link", ["site", "merged_patient_id"])
    op.create_index("ix_patient_link_site_patient_id", "patient_link", ["site", "patient_id"])


def _create_hold() -> None:
    op.create_table(
        "hold",
        sa.Column("hold_id", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("authority", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("placed_at", TEXT, nullable=False),
        sa.Column("placed_by", TEXT, nullable=False),
        sa.Column("review_on", TEXT, nullable=True),
        sa.Column("reviewed_at", TEXT, nullable=True),
        sa.Column("lifted_at", TEXT, nullable=True),
        sa.Column("lifted_by", TEXT, nullable=True),
        sa.Column("lift_reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name="pk_hold"),
    )


def _create_hold_scope() -> None:
    op.create_table(
        "hold_scope",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("hold_id", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=True),
        sa.Column("site", TEXT, nullable=True),
        sa.Column("patient_id", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_hold_scope"),
        sa.ForeignKeyConstraint(["hold_id"], ["hold.hold_id"], name="fk_hold_scope_hold_id"),
    )
    op.create_index("ix_hold_scope_hold_id", "hold_scope", ["hold_id"])
    op.create_index("ix_hold_scope_site_patient_id", "hold_scope", ["site", "patient_id"])
    op.create_index("ix_hold_scope_study_instance_uid", "hold_scope", ["study_instance_uid"])


def _create_death_candidate() -> None:
    op.create_table(
        "death_candidate",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("patient_id", TEXT, nullable=False),
        sa.Column("died_on", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("traits", TEXT, nullable=False),
        sa.Column("found_at", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("decided_at", TEXT, nullable=True),
        sa.Column("decided_by", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_death_candidate"),
        sa.CheckConstraint("state IN ('waiting', 'confirmed', 'rejected')", name="ck_death_candidate_state"),
        sa.UniqueConstraint("site", "patient_id", "reference", name="uq_death_candidate_site_patient_id_reference"),
    )
    op.create_index("ix_death_candidate_state", "death_candidate", ["state"])


def _create_assessment() -> None:
    op.create_table(
        "assessment",
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("exam_on", TEXT, nullable=True),
        sa.Column("eligible_on", TEXT, nullable=True),
        sa.Column("lossless_until", TEXT, nullable=True),
        sa.Column("rule", TEXT, nullable=True),
        sa.Column("blocked_by", TEXT, nullable=False),
        sa.Column("reassess_on", TEXT, nullable=True),
        sa.Column("schedule_version", TEXT, nullable=False),
        sa.Column("assessed_at", TEXT, nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("is_stale", BIG, nullable=False),
        sa.Column("instances", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_assessment"),
    )
    op.create_index("ix_assessment_is_stale", "assessment", ["is_stale"])
    op.create_index("ix_assessment_reassess_on", "assessment", ["reassess_on"])
    op.create_index("ix_assessment_site_eligible_on", "assessment", ["site", "eligible_on"])


def _create_assessment_mark() -> None:
    op.create_table(
        "assessment_mark",
        sa.Column("id", BIG, nullable=False, autoincrement=False),
        sa.Column("instance_id", BIG, nullable=False),
        sa.Column("versions", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_assessment_mark"),
        sa.CheckConstraint("id = 1", name="ck_assessment_mark_single"),
    )


def _create_sweep() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("as_of", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=True),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep"),
    )


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("full_name", TEXT, nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("sites", TEXT, nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("disabled_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_account"),
    )


def _create_hl7_message() -> None:
    op.create_table(
        "hl7_message",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("received_at", TEXT, nullable=False),
        sa.Column("peer_address", TEXT, nullable=False),
        sa.Column("control_id", TEXT, nullable=False),
        sa.Column("message_type", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("patient_id", TEXT, nullable=False),
        sa.Column("visit", TEXT, nullable=False),
        sa.Column("said_at", TEXT, nullable=False),
        sa.Column("says", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_hl7_message"),
    )
    op.create_index("ix_hl7_message_control_id", "hl7_message", ["control_id"])
    op.create_index("ix_hl7_message_outcome", "hl7_message", ["outcome"])
    op.create_index("ix_hl7_message_site_patient_id", "hl7_message", ["site", "patient_id"])
    op.create_index("ix_hl7_message_site_visit", "hl7_message", ["site", "visit"])
