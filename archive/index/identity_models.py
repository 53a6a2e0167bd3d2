"""The tables of passkeys and links (projections of the ledger) and of sessions; must not run anything."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from archive.index.columns import TEXT, big_column, metadata, text_column

passkey = Table(
    "passkey",
    metadata,
    Column("credential_id", TEXT, primary_key=True),
    text_column("account"),
    text_column("credential"),
    big_column("sign_count"),
    text_column("added_at"),
    text_column("used_at", required=False),
)
Index(None, passkey.c.account)

invitation = Table(
    "invitation",
    metadata,
    Column("token_sha256", TEXT, primary_key=True),
    text_column("purpose"),
    text_column("name"),
    text_column("full_name"),
    text_column("roles"),
    text_column("sites"),
    text_column("until"),
    text_column("made_by"),
)

web_session = Table(
    "web_session",
    metadata,
    Column("token_sha256", TEXT, primary_key=True),
    text_column("name"),
    text_column("full_name"),
    text_column("roles"),
    text_column("sites"),
    text_column("via"),
    text_column("begun_at"),
    text_column("seen_at"),
    text_column("until"),
)
Index(None, web_session.c.name)
