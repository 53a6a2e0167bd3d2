"""Every error tiering raises; must not import anything of the product.

TieringError
├── InvalidWarrant                  a permission to delete does not name exactly one object
├── ObjectDiffers                   the object is not the one that may be deleted: it stays
└── TranscodeError                  a stored data set cannot be given in another transfer syntax
    ├── UnsupportedConversion       no codec, or no such target
    ├── MalformedDataset            the bytes are not the data set their transfer syntax promises
    ├── PixelMismatch               the compressed image is not the one the attributes describe
    ├── CodecFailed                 the codec refused a frame
    └── ConversionTooLarge          the result does not fit a data set, or not in memory

The class docstring is the message; it is formatted with the exception's own fields. No field ever holds a
value of the data set: only tags, positions, sizes and transfer syntaxes.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TieringError(Exception):
    """The bytes could not be moved as asked."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 30

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """Return the class docstring filled with this error's fields."""
        return (type(self).__doc__ or "").format(**self.fields)


class InvalidWarrant(TieringError):
    """The delete warrant is not valid: {field} {reason}."""

    exit_code = 31


class ObjectDiffers(TieringError):
    """The object {key} was not deleted: {reason}."""

    exit_code = 33


class TranscodeError(TieringError):
    """The data set cannot be converted: {reason}."""

    exit_code = 32


class UnsupportedConversion(TranscodeError):
    """No conversion from transfer syntax {source_uid} to {target_uid}."""


class MalformedDataset(TranscodeError):
    """The data set is malformed at byte {offset}: {reason}."""


class PixelMismatch(TranscodeError):
    """The pixel data do not fit their description: {reason}."""


class CodecFailed(TranscodeError):
    """The {codec} codec refused frame {frame}: {reason}."""


class ConversionTooLarge(TranscodeError):
    """The result is too large: {reason}."""
