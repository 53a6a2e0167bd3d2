"""The tables of what the archive watches about itself; must not run anything."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from archive.index.columns import TEXT, big_column, id_column, metadata, text_column

arrivals = Table(
    "arrivals",
    metadata,
    Column("hour", TEXT, primary_key=True),
    Column("site", TEXT, primary_key=True),
    Column("modality", TEXT, primary_key=True),
    big_column("instances"),
    big_column("size_bytes"),
)
"""What came in each hour (UTC, ``2026-11-23T06``), counted with the rows of the objects themselves."""

notice = Table(
    "notice",
    metadata,
    Column("subject", TEXT, primary_key=True),
    Column("grade", TEXT, primary_key=True),
    Column("channel", TEXT, primary_key=True),
    text_column("told_at"),
)
"""Which warnings were given on which channel: none is given twice."""

probe = Table(
    "probe",
    metadata,
    id_column(),
    text_column("at"),
    text_column("tier"),
    text_column("site"),
    big_column("instances"),
    big_column("size_bytes"),
    big_column("first_ms"),
    big_column("whole_ms"),
    text_column("problem"),
)
"""What asking ourselves for stored series took; ``problem`` is empty when all of a series came."""
Index(None, probe.c.at)

mark = Table(
    "mark",
    metadata,
    Column("name", TEXT, primary_key=True),
    text_column("at"),
)
"""When something was last done that is seldom done: the journal knows, among millions of entries."""
