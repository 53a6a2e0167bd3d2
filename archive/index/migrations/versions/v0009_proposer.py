"""What the proposer of a disposal list is called; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column; lists that are there keep NULL, as the ledger does not tell."""
    op.add_column("disposal_list", sa.Column("proposed_by_full_name", TEXT, nullable=True))
