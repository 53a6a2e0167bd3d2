"""The tables of what the archive watches about itself; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of arrivals, warnings and probes."""
    op.create_table(
        "arrivals",
        sa.Column("hour", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("modality", TEXT, nullable=False),
        sa.Column("instances", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.PrimaryKeyConstraint("hour", "site", "modality", name="pk_arrivals"),
    )
    op.create_table(
        "notice",
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("grade", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("told_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("subject", "grade", "channel", name="pk_notice"),
    )
    op.create_table(
        "mark",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_mark"),
    )
    op.create_table(
        "probe",
        sa.Column("id", BIG, sa.Identity(), nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("site", TEXT, nullable=False),
        sa.Column("instances", BIG, nullable=False),
        sa.Column("size_bytes", BIG, nullable=False),
        sa.Column("first_ms", BIG, nullable=False),
        sa.Column("whole_ms", BIG, nullable=False),
        sa.Column("problem", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_probe"),
    )
    op.create_index("ix_probe_at", "probe", ["at"])
