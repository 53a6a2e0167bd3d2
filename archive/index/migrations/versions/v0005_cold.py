"""The tables of the cold tier; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of the cold tier, widen that of packs."""
    op.add_column("pack", sa.Column("store_generation", TEXT, nullable=True))
    op.add_column("pack", sa.Column("held_at", TEXT, nullable=True))
    op.create_index("ix_pack_study_instance_uid", "pack", ["study_instance_uid"])
    op.create_index("ix_trim_sop_instance_uid", "trim", ["sop_instance_uid"])
    op.create_index(
        "ix_assessment_lossless_until_study_instance_uid", "assessment", ["lossless_until", "study_instance_uid"]
    )
    _create_successor()
    _create_retired()
    _create_pack_trim()
    _create_upload()
    _create_evidence()
    _create_set_aside()
    _create_thaw()


def _create_successor() -> None:
    op.create_table(
        "successor",
        sa.Column("sop_instance_uid", TEXT, nullable=False),
        sa.Column("successor_uid", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("transfer_syntax_uid", TEXT, nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("dataset_size", BIG, nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_successor"),
        sa.CheckConstraint("length(dataset_sha256) = 32", name="ck_successor_dataset_sha256_size"),
    )
    op.create_index("ix_successor_successor_uid", "successor", ["successor_uid"])
    op.create_index("ix_successor_study_instance_uid", "successor", ["study_instance_uid"])


def _create_retired() -> None:
    op.create_table(
        "retired",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("instance_fk", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("header_size", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("pack_fk", BIG, nullable=False),
        sa.Column("offset_bytes", BIG, nullable=False),
        sa.Column("transfer_syntax_uid", TEXT, nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_retired"),
        sa.CheckConstraint("length(sha256) = 32", name="ck_retired_sha256_size"),
        sa.ForeignKeyConstraint(["instance_fk"], ["instance.id"], name="fk_retired_instance_fk"),
    )
    op.create_index("ix_retired_pack_fk", "retired", ["pack_fk"])
    op.create_index("ix_retired_instance_fk", "retired", ["instance_fk"])


def _create_pack_trim() -> None:
    op.create_table(
        "pack_trim",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_pack_trim"),
    )
    op.create_index("ix_pack_trim_study_instance_uid", "pack_trim", ["study_instance_uid"])


def _create_upload() -> None:
    op.create_table(
        "upload",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_upload"),
        sa.CheckConstraint("length(sha256) = 32", name="ck_upload_sha256_size"),
    )


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("pack_key", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("series_instance_uid", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("pack_key", name="pk_evidence"),
    )
    op.create_index("ix_evidence_study_instance_uid", "evidence", ["study_instance_uid"])


def _create_set_aside() -> None:
    op.create_table(
        "set_aside",
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("attempts", BIG, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("failed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_set_aside"),
    )


def _create_thaw() -> None:
    op.create_table(
        "thaw",
        sa.Column("pack_key", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("requested_at", TEXT, nullable=False),
        sa.Column("requested_by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("pack_key", name="pk_thaw"),
    )
    op.create_index("ix_thaw_study_instance_uid", "thaw", ["study_instance_uid"])
