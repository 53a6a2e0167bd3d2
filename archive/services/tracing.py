"""What a trace is to the services: spans that begin and end; must not know what becomes of them.

Attributes say what kind of work it was, never whose images: no UID, no name, no PatientID.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

Value = str | int | float | bool


class Span(Protocol):
    """One piece of work. Any thread may note something; it is ended once, further ends do nothing."""

    def note(self, name: str, value: Value) -> None:
        """Add what became known of it."""
        ...

    def end(self, error: str = "") -> None:
        """It is over; ``error`` names the kind of failure."""
        ...

    def entered(self) -> AbstractContextManager[object]:
        """Let what begins within be a part of it."""
        ...


class Traces(Protocol):
    """Where spans go."""

    def begin(self, name: str, **attributes: Value) -> Span:
        """Begin a span, a part of the one that was entered."""
        ...


class _NoSpan:
    def note(self, name: str, value: Value) -> None:
        """Forget it."""

    def end(self, error: str = "") -> None:
        """Nothing ends."""

    def entered(self) -> AbstractContextManager[object]:
        """Do nothing."""
        return nullcontext()


class _NoTraces:
    def begin(self, name: str, **attributes: Value) -> Span:
        """Return the span that is none."""
        return _NO_SPAN


_NO_SPAN: Final = _NoSpan()
NO_TRACES: Final[Traces] = _NoTraces()
"""For an archive that is not traced: costs a call."""
