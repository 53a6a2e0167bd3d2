"""How data sets are made smaller without loss when they are sealed; must not decide what is sealed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import BinaryIO, Final

from archive import logs
from archive.services.seal import Compress, Compressed
from tiering.errors import CannotCompress, TranscodeError
from tiering.transcode import compress

_log = logs.get(__name__)
_SYNTAXES: Final[Mapping[str, str]] = {
    "htj2k": "1.2.840.10008.1.2.4.202",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
}
"""Transfer syntaxes by the name of the settings: lossless ones, with a decoder that is not of the encoder's library."""


def compression(codec: str) -> Compress | None:
    """Return what compresses with a codec of the settings; None for ``none``."""
    return partial(_compress, _SYNTAXES[codec]) if codec in _SYNTAXES else None


def _compress(target_uid: str, source: BinaryIO, source_uid: str, target: BinaryIO) -> Compressed | None:
    try:
        facts = compress(source, source_uid=source_uid, target_uid=target_uid, target=target)
    except CannotCompress:
        return None
    except TranscodeError as exc:
        # A codec or the data set is at fault: what was received stays what is kept.
        _log.warning("not_compressed", target_uid=target_uid, reason=exc.message)
        return None
    return Compressed(target_uid, facts.pixel_sha256)
