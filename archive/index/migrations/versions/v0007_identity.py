"""The tables of passkeys, links and sessions, and the index of who looked; must not import anything of the product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT: TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "passkey",
        sa.Column("credential_id", TEXT, nullable=False),
        *_texts("account", "credential"),
        sa.Column("sign_count", BIG, nullable=False),
        sa.Column("added_at", TEXT, nullable=False),
        sa.Column("used_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("credential_id", name="pk_passkey"),
    )
    op.create_index("ix_passkey_account", "passkey", ["account"])
    op.create_table(
        "invitation",
        *_texts("token_sha256", "purpose", "name", "full_name", "roles", "sites", "until", "made_by"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_invitation"),
    )
    op.create_table(
        "web_session",
        *_texts("token_sha256", "name", "full_name", "roles", "sites", "via", "begun_at", "seen_at", "until"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_web_session"),
    )
    op.create_index("ix_web_session_name", "web_session", ["name"])
    looking = sa.text("event IN ('viewed', 'retrieved', 'queried')")
    op.create_index("ix_audit_looking", "audit", ["sequence"], sqlite_where=looking, postgresql_where=looking)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]
