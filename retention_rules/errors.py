"""Every error retention_rules raises; must not import anything of the product.

RetentionError
├── InvalidFacts                    what is said of a study cannot be read
├── InvalidSchedule                 a schedule is not one clear text of law
│   └── UnknownRegime               there is no schedule of that name
├── UnknownKind                     there is no kind of establishment of that name
└── InvalidSetting                  a site's setting cannot be applied
    └── SettingBelowFloor           a site's setting is shorter than the law

The class docstring is the message; it is formatted with the exception's own fields. No field names a patient.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RetentionError(Exception):
    """The retention of a study could not be worked out."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 40

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """Return the class docstring filled with this error's fields."""
        return (type(self).__doc__ or "").format(**self.fields)


class InvalidFacts(RetentionError):
    """{name} {reason}."""

    exit_code = 41


class InvalidSchedule(RetentionError):
    """Schedule {schedule} cannot be used: {reason}."""

    exit_code = 42


class UnknownRegime(InvalidSchedule):
    """There is no schedule for the regime {regime!r}; it is one of hospital, private."""


class UnknownKind(RetentionError):
    """There is no kind of establishment {kind!r}; it is one of {known}."""

    exit_code = 43


class InvalidSetting(RetentionError):
    """Retention setting {name} is wrong: {reason}."""

    exit_code = 43


class SettingBelowFloor(InvalidSetting):
    """Retention setting {name} = {value} is below what {citation} asks: {minimum} years at least."""
