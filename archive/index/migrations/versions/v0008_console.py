"""What the console looks for among a million studies; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    where = sa.text("blocked_by <> ''")
    op.create_index(
        "ix_assessment_study_instance_uid_blocked_by_site",
        "assessment",
        ["study_instance_uid", "blocked_by", "site"],
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_index("ix_evidence_made_at_pack_key", "evidence", ["made_at", "pack_key"])
