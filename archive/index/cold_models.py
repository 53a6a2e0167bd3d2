"""The tables of the cold tier: what lossy copies replaced, what proves them, what is on its way; must not run anything.

An instance that was replaced by a lossy copy keeps its row, which takes the copy's UID, digest and transfer syntax;
``successor`` has what it was, ``retired`` where its lossless copy lies until the hot pack is trimmed.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, Table

from archive.index.columns import (
    BIG,
    TEXT,
    big_column,
    digest_column,
    metadata,
    reference_column,
    text_column,
)

successor = Table(
    "successor",
    metadata,
    Column("sop_instance_uid", TEXT, primary_key=True),
    text_column("successor_uid"),
    text_column("study_instance_uid"),
    text_column("transfer_syntax_uid"),
    digest_column("dataset_sha256"),
    big_column("dataset_size"),
)
"""What an instance was before: UID, and digest, size and transfer syntax of its data set as received."""
Index(None, successor.c.successor_uid)
Index(None, successor.c.study_instance_uid)

retired = Table(
    "retired",
    metadata,
    Column("key", TEXT, primary_key=True),
    reference_column("instance"),
    digest_column("sha256"),
    big_column("header_size"),
    big_column("size_bytes"),
    Column("pack_fk", BIG, nullable=False),
    Column("offset_bytes", BIG, nullable=False),
    text_column("transfer_syntax_uid"),
    Column("dataset_sha256", LargeBinary, nullable=False),
)
"""The copy in a lossless pack that a lossy copy replaced, as ``location`` had it: a rollback puts it back."""
Index(None, retired.c.pack_fk)
Index(None, retired.c.instance_fk)

pack_trim = Table(
    "pack_trim",
    metadata,
    Column("key", TEXT, primary_key=True),
    text_column("study_instance_uid"),
    text_column("since"),
)
"""A pack that cold copies stand in for since a moment: it may go after the grace period. "": it is being deleted.

A hot one, or a lossless cold one that lossy copies replaced.
"""
Index(None, pack_trim.c.study_instance_uid)

upload = Table(
    "upload",
    metadata,
    Column("key", TEXT, primary_key=True),
    text_column("study_instance_uid"),
    big_column("size_bytes"),
    digest_column("sha256"),
    text_column("since"),
)
"""A pack that is about to be put into the cold store, or was and does not stand in for anything yet."""

evidence = Table(
    "evidence",
    metadata,
    Column("pack_key", TEXT, primary_key=True),
    text_column("study_instance_uid"),
    text_column("series_instance_uid"),
    text_column("made_at"),
    text_column("body"),
)
"""What proves a lossy series harmless, or says why it stayed lossless: canonical JSON."""
Index(None, evidence.c.study_instance_uid)
Index(None, evidence.c.made_at, evidence.c.pack_key)

set_aside = Table(
    "set_aside",
    metadata,
    Column("study_instance_uid", TEXT, primary_key=True),
    big_column("attempts"),
    text_column("reason"),
    text_column("failed_at"),
)
"""A study whose migration failed, how often, and why; with enough attempts it is left alone."""

thaw = Table(
    "thaw",
    metadata,
    Column("pack_key", TEXT, primary_key=True),
    text_column("study_instance_uid"),
    text_column("requested_at"),
    text_column("requested_by"),
)
"""A cold pack whose thaw was asked for and is not known to be done."""
Index(None, thaw.c.study_instance_uid)
