"""What the errors of tiering say and carry."""

from __future__ import annotations

import pytest

from tiering import errors
from tiering.errors import (
    CannotCompress,
    ChecksumMismatch,
    CodecFailed,
    ConversionTooLarge,
    EncryptionKeyMissing,
    InvalidKey,
    InvalidLossyRules,
    InvalidPrices,
    InvalidWarrant,
    KeyTaken,
    MalformedDataset,
    MalformedPack,
    NotLossless,
    NotThawed,
    ObjectDiffers,
    ObjectHeld,
    ObjectNotFound,
    PackError,
    PackMismatch,
    PackTooLarge,
    PixelMismatch,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    TieringError,
    TranscodeError,
    UnknownPackVersion,
    UnsupportedConversion,
)

SAMPLES = [
    InvalidWarrant(field="key", reason="is empty"),
    InvalidLossyRules(file="drg", reason="CT is there twice"),
    InvalidPrices(reason="hot is not a number"),
    TranscodeError(reason="something"),
    UnsupportedConversion(source_uid="1.2", target_uid="1.3"),
    MalformedDataset(offset=12, reason="it ends"),
    PixelMismatch(reason="3 frames described, 2 found"),
    CodecFailed(codec="RLE", frame=4, reason="bad run"),
    ObjectDiffers(key="k", reason="other bytes"),
    ConversionTooLarge(reason="5 GiB"),
    CannotCompress(reason="no pixel data"),
    NotLossless(frame=3),
    PackError(reason="something"),
    MalformedPack(reason="it ends"),
    UnknownPackVersion(found="pack/2", known="pack/1"),
    PackMismatch(part="000001.dcm", reason="has another digest"),
    PackTooLarge(reason="300000 instances"),
    StoreError(reason="something"),
    InvalidKey(key="../k", reason="leads elsewhere"),
    KeyTaken(key="k"),
    ObjectNotFound(key="k"),
    ObjectHeld(key="k", reason="a legal hold"),
    NotThawed(key="k"),
    ChecksumMismatch(key="k", reason="other bytes"),
    EncryptionKeyMissing(key="k", key_id="2026"),
    StoreFull(reason="no room"),
    StoreRefused(reason="no bucket"),
    StoreUnavailable(reason="no answer"),
]
BY_NAME = pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)


def every_class(root: type[TieringError]) -> set[type[TieringError]]:
    """Return a class and all below it."""
    return {root}.union(*(every_class(child) for child in root.__subclasses__()))


@BY_NAME
def test_the_message_holds_every_field(error: TieringError) -> None:
    """The docstring is the message, with the exception's own fields filled in."""
    for value in error.fields.values():
        assert str(value) in str(error)
    assert "{" not in str(error)


@BY_NAME
def test_fields_are_attributes(error: TieringError) -> None:
    """What was given by name can be read back by that name."""
    assert error.fields
    assert all(getattr(error, name) == value for name, value in error.fields.items())


@BY_NAME
def test_only_an_absent_store_is_worth_another_attempt(error: TieringError) -> None:
    """The same bytes fail the same way, a full store stays full: only a store that did not answer may do so later."""
    assert error.retryable is isinstance(error, StoreUnavailable)
    assert error.exit_code >= 10


def test_every_error_has_a_sample_here() -> None:
    """No class of the tree but its root stays untried."""
    assert {type(sample) for sample in SAMPLES} | {TieringError} == every_class(TieringError)


def test_the_tree_is_drawn() -> None:
    """The module's opening names every class."""
    drawn = errors.__doc__ or ""
    assert all(error.__name__ in drawn for error in every_class(TieringError))


def test_one_except_catches_a_failed_conversion() -> None:
    """Whatever stops a conversion is a TranscodeError; a bad warrant is not."""
    leaves = every_class(TranscodeError)
    assert {UnsupportedConversion, MalformedDataset, PixelMismatch, CodecFailed, ConversionTooLarge} < leaves
    assert {CannotCompress, NotLossless} < leaves
    assert InvalidWarrant not in leaves


def test_one_except_catches_a_bad_pack() -> None:
    """Whatever is wrong with a pack is a PackError; a failed conversion is not."""
    leaves = every_class(PackError)
    assert {MalformedPack, UnknownPackVersion, PackMismatch, PackTooLarge} < leaves
    assert TranscodeError not in leaves


def test_one_except_catches_whatever_a_store_raises() -> None:
    """Every way in which a store fails is a StoreError; a failed conversion is not."""
    assert {KeyTaken, ObjectDiffers, StoreUnavailable} < every_class(StoreError)
    assert every_class(StoreError).isdisjoint(every_class(TranscodeError))
