"""The error every other one is; must not import anything of the product."""

from __future__ import annotations

from typing import Any, ClassVar


class ArchiveError(Exception):
    """The archive could not do what was asked."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 10

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """Return the class docstring filled with this error's fields."""
        return (type(self).__doc__ or "").format(**self.fields)
