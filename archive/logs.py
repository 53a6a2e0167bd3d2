"""Structured logs on standard error, without patient identity; must not write anywhere else.

The rule is that callers never log identity. What is here is the second line of defence: keys that name an attribute of
a patient are masked, DICOM objects are never rendered, and of records made by libraries and of errors that are not ours
only the place is kept, never the text: pydicom and database drivers quote values in theirs.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import IO, Any, Literal

import structlog
from structlog.contextvars import bound_contextvars as context, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from archive.clock import utc_now

__all__ = ["Logger", "configure", "context", "describe", "get"]

Logger = structlog.stdlib.BoundLogger
MASK = "[masked]"

_HANDLER = "drimbox"
_FRAMES = 25
_CAUSES = 5
_OUR_PACKAGES = ("archive.", "tiering.", "retention_rules.")
_LIBRARIES = ("alembic", "dbos", "PIL", "py.warnings", "pydicom", "pynetdicom", "sqlalchemy")
_IDENTITY = re.compile(
    r"patient|birth|accession|physician|operatorsname|admittingdiagnos|identifier$|dataset$"
    r"|^(?:ds|ins|mrn|nir|pid|studyid|(?:study|series|content)description)$"
)
_COUNTS = frozenset({"patients", "patientcount", "patientfk", "patientdiffers"})
_WARNING = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<category>\w+):")


def get(name: str) -> Logger:
    """Return the logger of a module; events are past-tense names: ``log.info("association_opened", peer=...)``."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def configure(level: str, format: Literal["json", "console"], *, stream: IO[str] | None = None) -> None:
    """Send every record, ours and the libraries', to ``stream`` (standard error), a line each; may be called again."""
    _replace_handler(_handler(format, stream or sys.stderr))
    logging.getLogger().setLevel(level.upper())
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=Logger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON values: type, place and causes, and its message when that is known to be harmless."""
    return _describe(error, depth=_CAUSES)


class _Handler(logging.StreamHandler[IO[str]]):
    """Writes a record; says nothing when that fails, since logging's own complaint quotes the record."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""


def _handler(format: str, stream: IO[str]) -> logging.Handler:
    handler = _Handler(stream)
    handler.set_name(_HANDLER)
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=_plain, ensure_ascii=False)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_forget_text, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    return handler


def _replace_handler(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in [known for known in root.handlers if known.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {"at": utc_now().isoformat().replace("+00:00", "Z"), **event}


def _explain(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by a description that quotes nothing unknown."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else None
    if given is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = describe(error)
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: Any) -> Any:
    if key.startswith("_"):  # structlog's own
        return value
    folded = key.lower().replace("_", "")
    if _IDENTITY.search(folded) and folded not in _COUNTS:
        return MASK
    return _safe(value)


def _safe(value: Any) -> Any:
    if isinstance(value, str | int | float | None):
        return value
    if type(value).__module__.partition(".")[0] in {"pydicom", "pynetdicom"}:
        return MASK
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(inner) for inner in value]
    return _plain(value)


def _plain(value: Any) -> str:
    """Render what JSON does not know, without ever calling an unknown ``__repr__``."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, PurePath) else f"<{type(value).__name__}>"


def _forget_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep of a library's record where it was made, not what it says."""
    record: logging.LogRecord = event["_record"]
    warning = _WARNING.match(record.getMessage()) if record.name == "py.warnings" else None
    event.update(event="library_reported", where=f"{record.module}:{record.lineno}")
    if warning is not None:
        event.update(where=f"{PurePath(warning['file']).stem}:{warning['line']}", warning=warning["category"])
    return event


def _describe(error: BaseException, *, depth: int) -> dict[str, Any]:
    kind = type(error)
    told: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    if kind.__module__.startswith(_OUR_PACKAGES):
        told["message"] = str(error)
    elif isinstance(error, OSError):
        told["message"] = f"{error.strerror} (errno {error.errno})"
    told["frames"] = [_frame(frame) for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth:
        told["cause"] = _describe(cause, depth=depth - 1)
    return told


def _frame(frame: traceback.FrameSummary) -> str:
    return f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"


_SHARED: list[Processor] = [
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    _stamp,
    _explain,
    _redact,
]
_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
