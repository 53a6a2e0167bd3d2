"""What is true of a lossy copy and not yet said by the row it took over; must not change a row.

The row of an instance is taken over as it is (``cold``), so that a rollback finds it. What compression with loss
changes by rule (PS3.3 C.7.6.1.1.2 and C.7.6.1.1.5; ``tiering.transcode.derive``) is told where it is asked for. An
index made again from storage has the copy's own values: both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, Text, and_, case, exists, func, literal, literal_column, select

from archive.index.cold_models import successor
from archive.index.expressions import from_backslash
from archive.index.keys import KEYS, Key
from archive.index.models import instance


def _text(value: str) -> ColumnElement[str]:
    """Return a constant as it stands in the statement: it comes up in one more than once."""
    return literal_column(f"'{value}'", Text())


_IS_COPY: Final = exists(
    select(literal(1))
    .select_from(successor)
    .where(successor.c.successor_uid == instance.c.sop_instance_uid)
    .correlate(instance)
)
_OTHER_VALUES: Final = func.coalesce(from_backslash(instance.c.image_type), _text("\\PRIMARY"))


def _of_copies(keyword: str, condition: ColumnElement[bool], value: ColumnElement[str]) -> Key:
    key = KEYS[keyword]
    told = case((condition, value), else_=key.column)
    return replace(key, column=told, matched=told)


_TOLD: Final[Mapping[str, Key]] = {
    "ImageType": _of_copies("ImageType", _IS_COPY, _text("DERIVED").concat(_OTHER_VALUES)),
    "LossyImageCompression": _of_copies("LossyImageCompression", _IS_COPY, _text("01")),
    "PhotometricInterpretation": _of_copies(
        "PhotometricInterpretation",
        and_(instance.c.photometric_interpretation == _text("RGB"), _IS_COPY),
        _text("YBR_ICT"),
    ),
}


def key_of(keyword: str) -> Key:
    """Return the key of a keyword, matched and answered as it is true of lossy copies too."""
    return _TOLD.get(keyword) or KEYS[keyword]
