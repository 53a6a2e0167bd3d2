"""Lossless conversion and compression of a stored data set; must not touch files by name."""

from __future__ import annotations

from tiering.transcode.compress import CompressedFacts, compress, read_picture_facts
from tiering.transcode.convert import can_convert, convert
from tiering.transcode.eligible import CompressPolicy, PictureFacts, cannot_compress

__all__ = [
    "CompressPolicy",
    "CompressedFacts",
    "PictureFacts",
    "can_convert",
    "cannot_compress",
    "compress",
    "convert",
    "read_picture_facts",
]
