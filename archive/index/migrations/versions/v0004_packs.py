"""The tables of packs, and where in one a copy lies; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of packs, widen that of copies."""
    _create_pack()
    _widen_location()
    _create_trim()


def _create_pack() -> None:
    op.create_table(
        "pack",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("study_instance_uid", TEXT, nullable=False),
        sa.Column("series_instance_uid", TEXT, nullable=False),
        sa.Column("generation", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pack"),
        sa.CheckConstraint("length(sha256) = 32", name="ck_pack_sha256_size"),
        sa.CheckConstraint("tier IN ('hot', 'cold')", name="ck_pack_tier"),
        sa.UniqueConstraint("key", name="uq_pack_key"),
    )
    op.create_index("ix_pack_series_instance_uid", "pack", ["series_instance_uid"])


def _widen_location() -> None:
    for name, kind in (("pack_fk", BIG), ("offset_bytes", BIG), ("transfer_syntax_uid", TEXT)):
        op.add_column("location", sa.Column(name, kind, nullable=True))
    op.add_column("location", sa.Column("dataset_sha256", sa.LargeBinary(), nullable=True))
    where = sa.text("pack_fk IS NOT NULL")
    op.create_index("ix_location_pack_fk", "location", ["pack_fk"], sqlite_where=where, postgresql_where=where)


def _create_trim() -> None:
    op.create_table(
        "trim",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("sop_instance_uid", TEXT, nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("generation", TEXT, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_trim"),
        sa.CheckConstraint("length(dataset_sha256) = 32", name="ck_trim_dataset_sha256_size"),
    )
