"""Every error tiering raises; must not import anything of the product.

TieringError
├── InvalidWarrant                  a permission to delete does not name exactly one object
├── InvalidLossyRules               a file of rules for lossy compression, or a site's addition, is not clear
├── InvalidPrices                   the table of prices is not clear
├── StoreError                      an object store cannot do what it was asked
│   ├── InvalidKey                  no store takes this name
│   ├── KeyTaken                    other bytes lie under the key: they stay
│   ├── ObjectNotFound              nothing lies under the key
│   ├── ObjectDiffers               the object is not the one that may be deleted: it stays
│   ├── ObjectHeld                  somebody, or a retention, keeps the object from being deleted
│   ├── NotThawed                   the object is cold: ask for a thaw first
│   ├── ChecksumMismatch            the bytes are not those that were promised
│   ├── EncryptionKeyMissing        the key ring has no such key
│   ├── StoreFull                   no room
│   ├── StoreRefused                the store is not set up for this, or does not let us
│   └── StoreUnavailable            no answer, or not now: worth another attempt
├── PackError                       a series pack cannot be written, read or believed
│   ├── MalformedPack               the bytes are no series pack, or not all of one
│   ├── UnknownPackVersion          a series pack of a format this version does not know
│   ├── PackMismatch                a series pack whose bytes are not those that were packed
│   └── PackTooLarge                a series that one pack does not take
└── TranscodeError                  a stored data set cannot be given in another transfer syntax
    ├── UnsupportedConversion       no codec, or no such target
    ├── MalformedDataset            the bytes are not the data set their transfer syntax promises
    ├── PixelMismatch               the compressed image is not the one the attributes describe
    ├── CodecFailed                 the codec refused a frame
    ├── ConversionTooLarge          the result does not fit a data set, or not in memory
    ├── CannotCompress              the data set is to be left as it is
    └── NotLossless                 a compressed frame decodes to another picture

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


class StoreError(TieringError):
    """The object store failed: {reason}."""

    exit_code = 34


class InvalidKey(StoreError):
    """The object key {key!r} {reason}."""


class KeyTaken(StoreError):
    """The key {key} is taken by other bytes, which stay."""


class ObjectNotFound(StoreError):
    """There is no object {key}."""


class ObjectDiffers(StoreError):
    """The object {key} was not deleted: {reason}."""

    exit_code = 33


class PackError(TieringError):
    """The series pack is not usable: {reason}."""

    exit_code = 34


class MalformedPack(PackError):
    """This is not a whole series pack: {reason}."""


class UnknownPackVersion(PackError):
    """The series pack has the format {found}; this version reads {known}."""


class PackMismatch(PackError):
    """The series pack does not hold what was packed: {part} {reason}."""


class PackTooLarge(PackError):
    """The series does not fit one pack: {reason}."""


class InvalidLossyRules(TieringError):
    """The rules of lossy compression in {file} are not valid: {reason}."""

    exit_code = 38


class InvalidPrices(TieringError):
    """The table of prices is not valid: {reason}."""

    exit_code = 38


class ObjectHeld(StoreError):
    """The object {key} was not deleted: {reason}."""

    exit_code = 33


class NotThawed(StoreError):
    """The object {key} is cold and must be thawed before it can be read."""


class ChecksumMismatch(StoreError):
    """The bytes of {key} are not those that were promised: {reason}."""


class EncryptionKeyMissing(StoreError):
    """The object {key} needs the encryption key {key_id}, which the key ring does not have."""


class StoreFull(StoreError):
    """The object store is full: {reason}."""


class StoreRefused(StoreError):
    """The object store refuses: {reason}."""


class StoreUnavailable(StoreError):
    """The object store cannot be reached, or not now: {reason}."""

    retryable = True


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


class CannotCompress(TranscodeError):
    """The pixel data are left as they are: {reason}."""


class NotLossless(TranscodeError):
    """Frame {frame} is not the same after decoding."""
