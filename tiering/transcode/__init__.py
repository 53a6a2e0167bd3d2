"""Lossless conversion of a stored data set to a transfer syntax a peer accepts; must not touch files by name."""

from __future__ import annotations

from tiering.transcode.convert import can_convert, convert

__all__ = ["can_convert", "convert"]
