"""What the errors of retention_rules say and carry."""

from __future__ import annotations

import pytest

from retention_rules import errors
from retention_rules.errors import (
    InvalidFacts,
    InvalidSchedule,
    InvalidSetting,
    RetentionError,
    SettingBelowFloor,
    UnknownKind,
    UnknownRegime,
)

SAMPLES = [
    InvalidFacts(name="exam_on", reason="is missing"),
    InvalidSchedule(schedule="fr_hospital", reason="it has no rule"),
    UnknownRegime(regime="spa"),
    UnknownKind(kind="hospice", known="public, espic"),
    InvalidSetting(name="base", reason="it is no number"),
    SettingBelowFloor(name="base", value=4, citation="the law", minimum=5),
]
BY_NAME = pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)


def every_class(root: type[RetentionError]) -> set[type[RetentionError]]:
    """Return a class and all below it."""
    return {root}.union(*(every_class(child) for child in root.__subclasses__()))


@BY_NAME
def test_the_message_holds_every_field(error: RetentionError) -> None:
    """The docstring is the message, with the exception's own fields filled in."""
    for name, value in error.fields.items():
        assert str(value) in str(error) and getattr(error, name) == value


@BY_NAME
def test_exit_codes_are_of_this_package(error: RetentionError) -> None:
    """Exit codes are from 40 on, apart from the other packages', and nothing is worth trying again."""
    assert 40 <= type(error).exit_code < 50 and not error.retryable


def test_the_tree_is_drawn_at_the_top() -> None:
    """Each error of the package is in the drawing, and has a sample here."""
    classes = every_class(RetentionError)
    assert {type(error) for error in SAMPLES} | {RetentionError} == classes
    assert all(name in (errors.__doc__ or "") for name in (kind.__name__ for kind in classes))
