"""What the tables of the index are made of, for both databases; must not know a table."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Identity, Integer, LargeBinary, MetaData, Text
from sqlalchemy.types import TypeEngine

from archive.part10.attributes import Attribute

TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
BIG: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key_column(attribute: Attribute) -> str:
    """Return the column that holds the folded form of a person name."""
    return attribute.column + "_key"


def id_column() -> Column[int]:
    """Return the number that a row is known by."""
    return Column("id", BIG, Identity(), primary_key=True)


def text_column(name: str, *, required: bool = True) -> Column[str]:
    """Return a column of text."""
    return Column(name, TEXT, nullable=not required)


def big_column(name: str) -> Column[int]:
    """Return a column of whole numbers."""
    return Column(name, BIG, nullable=False)


def reference_column(table: str) -> Column[int]:
    """Return a column that refers to a row of another table."""
    return Column(f"{table}_fk", BIG, ForeignKey(f"{table}.id"), nullable=False)


def digest_column(name: str) -> Column[bytes]:
    """Return a column of 32 bytes."""
    return Column(name, LargeBinary, CheckConstraint(f"length({name}) = 32", name=f"{name}_size"), nullable=False)


def attribute_columns(attributes: Sequence[Attribute], *required: str) -> list[Column[str]]:
    """Return the columns of a level's attributes, each person name followed by its folded key."""
    columns = []
    for attribute in attributes:
        columns.append(text_column(attribute.column, required=attribute.keyword in required))
        if attribute.vr == "PN":
            columns.append(text_column(key_column(attribute), required=False))
    return columns
