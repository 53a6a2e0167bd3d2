"""The tables of elimination, and those of sweeps made anew; must not import anything of the product.

Assessments and what sweeps remember are worked out again from the objects and the ledger: nothing is carried over.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Replace the tables of sweeps, create those of elimination."""
    op.drop_table("assessment")
    op.drop_table("assessment_mark")
    _create_assessment()
    _create_sweep_mark()
    _create_disposal_list()
    _create_disposal_item()
    _create_disposal_approval()
    _create_tombstone()


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
        sa.Column("assumptions", TEXT, nullable=False),
        sa.Column("reading", TEXT, nullable=False),
        sa.Column("schedule_version", TEXT, nullable=False),
        sa.Column("assessed_at", TEXT, nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("is_stale", BIG, nullable=False),
        sa.Column("instances", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_assessment"),
    )
    _create_partial_index(["is_stale", "study_instance_uid"], "is_stale = 1")
    _create_partial_index(["reassess_on", "study_instance_uid"], "reassess_on IS NOT NULL")
    op.create_index("ix_assessment_site_eligible_on", "assessment", ["site", "eligible_on"])


def _create_partial_index(columns: list[str], where: str) -> None:
    name, condition = f"ix_assessment_{'_'.join(columns)}", sa.text(where)
    op.create_index(name, "assessment", columns, sqlite_where=condition, postgresql_where=condition)


def _create_sweep_mark() -> None:
    op.create_table(
        "sweep_mark",
        sa.Column("id", BIG, sa.CheckConstraint("id = 1", name="ck_sweep_mark_single"), nullable=False),
        sa.Column("instance_id", BIG, nullable=True),
        sa.Column("sop_instance_uid", TEXT, nullable=True),
        sa.Column("received_at", TEXT, nullable=True),
        sa.Column("settings", TEXT, nullable=True),
        sa.Column("trusted_at", TEXT, nullable=True),
        sa.Column("trusted_sequence", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_mark"),
    )


def _create_disposal_list() -> None:
    op.create_table(
        "disposal_list",
        sa.Column("list_id", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("site_kind", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("as_of", TEXT, nullable=False),
        sa.Column("proposed_at", TEXT, nullable=False),
        sa.Column("proposed_by", TEXT, nullable=False),
        sa.Column("waiting_until", TEXT, nullable=True),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.Column("ended_by", TEXT, nullable=True),
        sa.Column("end_reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("list_id", name="pk_disposal_list"),
        sa.CheckConstraint(
            "state IN ('listed', 'approved', 'destroying', 'destroyed', 'cancelled')", name="ck_disposal_list_state"
        ),
    )


def _create_disposal_item() -> None:
    op.create_table(
        "disposal_item",
        sa.Column("list_id", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("number", BIG, nullable=False),
        sa.Column("line", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("decided_at", TEXT, nullable=True),
        sa.Column("decided_by", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("list_id", "study_instance_uid", name="pk_disposal_item"),
        sa.ForeignKeyConstraint(["list_id"], ["disposal_list.list_id"], name="fk_disposal_item_list_id"),
        sa.CheckConstraint(
            "state IN ('listed', 'refused', 'sent_back', 'cancelled', 'destroying', 'destroyed')",
            name="ck_disposal_item_state",
        ),
    )
    op.create_index("ix_disposal_item_study_instance_uid", "disposal_item", ["study_instance_uid"])


def _create_disposal_approval() -> None:
    op.create_table(
        "disposal_approval",
        sa.Column("list_id", TEXT, nullable=False),
        sa.Column("office", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("full_name", TEXT, nullable=False),
        sa.Column("approved_at", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("list_id", "office", name="pk_disposal_approval"),
        sa.ForeignKeyConstraint(["list_id"], ["disposal_list.list_id"], name="fk_disposal_approval_list_id"),
    )


def _create_tombstone() -> None:
    op.create_table(
        "tombstone",
        sa.Column("sop_instance_uid", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("list_id", TEXT, nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("destroyed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_tombstone"),
        sa.CheckConstraint("length(dataset_sha256) = 32", name="ck_tombstone_dataset_sha256_size"),
    )
    op.create_index("ix_tombstone_study_instance_uid", "tombstone", ["study_instance_uid"])
