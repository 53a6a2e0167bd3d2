"""Logs: one line a record, in JSON or for people, and never a patient's identity."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, strategies as st
from pydicom.dataset import Dataset

from archive import logs
from archive.errors import IndexUnavailable, PeerAborted
from archive.logs import MASK, describe
from archive.part10.attributes import PATIENT

CANARY = "CANARY^MOREAU"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Configure the logs at level info in JSON, into a string; undo it afterwards."""
    before = list(logging.getLogger().handlers)
    level = logging.getLogger().level
    written = io.StringIO()
    logs.configure("info", "json", stream=written)
    yield written
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the records written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only(stream: io.StringIO) -> dict[str, Any]:
    """Return the only record written so far."""
    (record,) = records(stream)
    return record


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return ``error`` after it has been raised, from ``cause``, and caught."""
    try:
        raise error from cause
    except type(error) as exc:
        return exc


class TestRecords:
    """What a record looks like."""

    def test_record_is_one_line_of_json(self, stream: io.StringIO) -> None:
        """An event is one JSON object on one line, with moment, level, logger and its values."""
        logs.get("archive.dimse.server").info("association_opened", calling_ae_title="CT1", port=104, tls=False)
        record = only(stream)
        assert datetime.fromisoformat(record.pop("at")).tzinfo == UTC
        assert record == {
            "event": "association_opened",
            "level": "info",
            "logger": "archive.dimse.server",
            "calling_ae_title": "CT1",
            "port": 104,
            "tls": False,
        }

    def test_text_stays_readable(self, stream: io.StringIO) -> None:
        """Accents are written as they are, and a line feed in a value does not break the line."""
        logs.get("archive.x").info("site_named", site="Hôpital\nNord")
        assert "Hôpital\\nNord" in stream.getvalue() and stream.getvalue().count("\n") == 1

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (datetime(2026, 11, 23, 6, 35, tzinfo=UTC), "2026-11-23T06:35:00+00:00"),
            (date(2026, 11, 23), "2026-11-23"),
            (b"\x01\xff", "01ff"),
            (Path("/srv/hot"), "/srv/hot"),
            ((1, "a"), [1, "a"]),
            (frozenset({7}), [7]),
            (None, None),
            (1.5, 1.5),
            (object(), "<object>"),
        ],
    )
    def test_values_have_a_json_form(self, stream: io.StringIO, value: object, written: object) -> None:
        """Moments, bytes, paths and collections are written plainly; of anything else only the type."""
        logs.get("archive.x").info("noted", value=value)
        assert only(stream)["value"] == written

    @pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
    def test_level_is_a_floor(self, stream: io.StringIO, level: str, expected: int) -> None:
        """Records below the level are not written."""
        logs.configure(level, "json", stream=stream)
        log = logs.get("archive.x")
        for method in (log.debug, log.info, log.warning, log.error):
            method("noted")
        assert len(records(stream)) == expected

    def test_configuring_again_does_not_double_records(self, stream: io.StringIO) -> None:
        """A second configuration replaces the first, and leaves other handlers alone."""
        stranger = logging.NullHandler()
        logging.getLogger().addHandler(stranger)
        logs.configure("info", "json", stream=stream)
        logs.get("archive.x").info("noted")
        assert len(records(stream)) == 1
        assert stranger in logging.getLogger().handlers

    def test_standard_error_is_the_default(self, stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a stream, records go to standard error and standard output stays clean."""
        logs.configure("info", "json")
        logs.get("archive.x").info("noted")
        captured = capsys.readouterr()
        assert captured.out == "" and json.loads(captured.err)["event"] == "noted"

    def test_console_format_is_for_people(self, stream: io.StringIO) -> None:
        """The console format has level, event and values on one line, masked like JSON."""
        logs.configure("info", "console", stream=stream)
        logs.get("archive.x").info("association_opened", calling_ae_title="CT1", patient_name=CANARY)
        line = stream.getvalue()
        assert "association_opened" in line and "calling_ae_title=CT1" in line and f"patient_name={MASK}" in line
        assert CANARY not in line and "\x1b" not in line

    def test_context_reaches_every_record_of_a_thread(self, stream: io.StringIO) -> None:
        """Values of a context are on each record made inside, and on none outside or in another thread."""
        log = logs.get("archive.x")
        with logs.context(association=7):
            log.info("inside")
            other = threading.Thread(target=log.info, args=("elsewhere",))
            other.start()
            other.join()
        log.info("outside")
        assert {record["event"]: record.get("association") for record in records(stream)} == {
            "inside": 7,
            "elsewhere": None,
            "outside": None,
        }

    def test_bound_values_are_on_later_records(self, stream: io.StringIO) -> None:
        """A logger bound to values repeats them; the logger it came from does not."""
        log = logs.get("archive.x")
        log.bind(peer="10.0.0.1").info("noted")
        log.info("noted")
        assert [record.get("peer") for record in records(stream)] == ["10.0.0.1", None]

    def test_a_closed_stream_is_survived(self, stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
        """When a record cannot be written the caller goes on, and nothing of it is printed instead."""
        broken = io.StringIO()
        logs.configure("info", "json", stream=broken)
        broken.close()
        logs.get("archive.x").info("noted", value=CANARY)
        captured = capsys.readouterr()
        assert captured.out + captured.err == ""


class TestRedaction:
    """The second line of defence."""

    @pytest.mark.parametrize("spelling", ["keyword", "snake"])
    @pytest.mark.parametrize("keyword", [attribute.keyword for attribute in PATIENT])
    def test_patient_attributes_are_masked(self, stream: io.StringIO, keyword: str, spelling: str) -> None:
        """Every indexed attribute of a patient is masked, as a DICOM keyword and as a column name."""
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in keyword).lstrip("_")
        logs.get("archive.x").info("noted", **{keyword if spelling == "keyword" else snake: CANARY})
        assert CANARY not in stream.getvalue() and MASK in stream.getvalue()

    @pytest.mark.parametrize(
        "key",
        [
            "patient_name",
            "PATIENT_ID",
            "patient",
            "patients_name",
            "birth_date",
            "accession",
            "AccessionNumber",
            "ReferringPhysicianName",
            "OperatorsName",
            "StudyID",
            "study_description",
            "mrn",
            "ins",
            "nir",
            "identifier",
            "ds",
            "dataset",
        ],
    )
    def test_masked_keys(self, stream: io.StringIO, key: str) -> None:
        """A key that names a patient, a person or a query's identifier is masked, whatever its case."""
        logs.get("archive.x").info("noted", **{key: CANARY})
        assert only(stream)[key] == MASK

    @pytest.mark.parametrize(
        "key", ["patients", "study_instance_uid", "sop_instance_uid", "site", "instances", "inserted", "peer", "reason"]
    )
    def test_harmless_keys(self, stream: io.StringIO, key: str) -> None:
        """Counts, UIDs and what concerns the machine are written."""
        logs.get("archive.x").info("noted", **{key: "17"})
        assert only(stream)[key] == "17"

    @pytest.mark.parametrize(
        "value",
        [
            {"PatientName": CANARY},
            {"outer": {"patient_id": CANARY}},
            [{"PatientBirthDate": CANARY}],
            ({"a": [{"AccessionNumber": CANARY}]},),
        ],
    )
    def test_masking_reaches_inside(self, stream: io.StringIO, value: object) -> None:
        """Identity inside mappings and lists is masked too."""
        logs.get("archive.x").info("noted", body=value)
        assert CANARY not in stream.getvalue() and MASK in stream.getvalue()

    @pytest.mark.parametrize(
        "wrap", [lambda ds: ds, lambda ds: [ds], lambda ds: {"x": ds}, lambda ds: ds["PatientName"]]
    )
    def test_dicom_objects_are_never_rendered(self, stream: io.StringIO, wrap: Any) -> None:
        """A data set or an element, given under any name, is masked."""
        ds = Dataset()
        ds.PatientName = CANARY
        logs.get("archive.x").info("noted", value=wrap(ds))
        assert CANARY not in stream.getvalue() and MASK in stream.getvalue()

    def test_unknown_objects_are_not_asked_for_their_repr(self, stream: io.StringIO) -> None:
        """An object that would print identity is written as its type."""

        class Talkative:
            def __repr__(self) -> str:
                return CANARY

            __str__ = __repr__

        logs.get("archive.x").info("noted", value=Talkative(), values=[Talkative()])
        assert only(stream)["value"] == "<Talkative>" and CANARY not in stream.getvalue()

    def test_context_and_bound_values_are_masked(self, stream: io.StringIO) -> None:
        """Identity does not come in through the context or a bound logger either."""
        with logs.context(patient_id=CANARY):
            logs.get("archive.x").bind(PatientName=CANARY).info("noted")
        record = only(stream)
        assert record["patient_id"] == record["PatientName"] == MASK

    @given(
        prefix=st.sampled_from(["", "old_", "Other"]), name=st.sampled_from(["patientName", "patient_id", "BirthDate"])
    )
    def test_masking_does_not_depend_on_spelling(self, prefix: str, name: str) -> None:
        """Prefixes, case and underscores do not open a way around the mask."""
        for key in {prefix + name, (prefix + name).upper(), (prefix + name).replace("_", "")}:
            assert logs._redact(None, "info", {key: CANARY}) == {key: MASK}


class TestLibraries:
    """Records that are not ours."""

    def test_library_text_is_forgotten(self, stream: io.StringIO) -> None:
        """Of a library's warning only logger, level and place are kept, since its text may quote a data set."""
        logging.getLogger("pynetdicom.acse").warning("refused %s", CANARY)
        record = only(stream)
        assert (record["event"], record["logger"], record["level"]) == (
            "library_reported",
            "pynetdicom.acse",
            "warning",
        )
        assert record["where"].startswith("test_logs:") and CANARY not in stream.getvalue()

    @pytest.mark.parametrize(
        "name", ["pynetdicom", "pynetdicom.events", "pydicom", "sqlalchemy.engine", "alembic", "PIL"]
    )
    def test_chatty_libraries_are_silent(self, stream: io.StringIO, name: str) -> None:
        """Below warning, the libraries that print identifiers and parameters say nothing, even at level debug."""
        logs.configure("debug", "json", stream=stream)
        logging.getLogger(name).info(CANARY)
        logging.getLogger(name).debug(CANARY)
        assert stream.getvalue() == ""

    def test_python_warning_keeps_place_and_category(self, stream: io.StringIO) -> None:
        """A Python warning, such as pydicom's on an odd value, is one record without the value."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn_explicit(f"Invalid value {CANARY}", UserWarning, "/x/pydicom/valuerep.py", 440)
            logging.captureWarnings(False)
        record = only(stream)
        assert (record["where"], record["warning"]) == ("valuerep:440", "UserWarning")
        assert CANARY not in stream.getvalue()

    def test_library_traceback_keeps_no_message(self, stream: io.StringIO) -> None:
        """A library's exception is described by type and place."""
        try:
            raise ValueError(CANARY)
        except ValueError:
            logging.getLogger("pynetdicom.x").exception(CANARY)
        assert only(stream)["error"]["type"] == "ValueError" and CANARY not in stream.getvalue()


class TestErrors:
    """What is kept of an exception."""

    def test_our_error_keeps_its_message(self) -> None:
        """Messages of our own errors are made to be shown."""
        told = describe(raised(IndexUnavailable(reason="connection refused")))
        assert told["type"] == "archive.errors.IndexUnavailable"
        assert told["message"].startswith("The index database does not answer: connection refused.")

    def test_unknown_error_keeps_type_and_place(self) -> None:
        """Of an error that is not ours the message is dropped, since libraries quote values."""
        told = describe(raised(ValueError(CANARY)))
        assert set(told) == {"type", "frames"} and told["type"] == "ValueError"
        assert told["frames"][-1].startswith("unit/test_logs.py:") and told["frames"][-1].endswith(" raised")

    def test_system_error_keeps_reason_without_path(self) -> None:
        """An operating system error keeps what happened, not the path: folders carry names of patients."""
        told = describe(raised(OSError(28, "No space left on device", f"/import/{CANARY}")))
        assert told["message"] == "No space left on device (errno 28)"
        assert CANARY not in json.dumps(told)

    def test_causes_are_told(self) -> None:
        """The chain of causes is described by the same rules."""
        told = describe(
            raised(PeerAborted(), raised(OSError(104, "Connection reset by peer"), raised(KeyError(CANARY))))
        )
        assert told["cause"]["message"] == "Connection reset by peer (errno 104)"
        assert told["cause"]["cause"]["type"] == "KeyError"
        assert CANARY not in json.dumps(told)

    def test_suppressed_context_is_not_told(self) -> None:
        """``raise ... from None`` hides what came before here too."""
        try:
            try:
                raise KeyError(CANARY)
            except KeyError:
                raise PeerAborted() from None
        except PeerAborted as exc:
            assert "cause" not in describe(exc)

    def test_endless_chains_are_cut(self) -> None:
        """A long chain of causes is told to a depth, not to the end."""
        error: BaseException = ValueError("0")
        for number in range(50):
            error = raised(ValueError(str(number)), error)
        assert json.dumps(describe(error)).count('"type"') == 6

    def test_deep_recursion_is_cut(self) -> None:
        """Only the innermost frames of a deep stack are told."""

        def fall(depth: int) -> None:
            if depth == 0:
                raise ValueError
            fall(depth - 1)

        try:
            fall(100)
        except ValueError as exc:
            frames = describe(exc)["frames"]
        assert len(frames) == 25 and all(frame.endswith(" fall") for frame in frames)

    @pytest.mark.parametrize("way", ["exception", "exc_info_true", "exc_info_error"])
    def test_logged_error_is_described(self, stream: io.StringIO, way: str) -> None:
        """However an error is handed to the logger, the record has its description under ``error``."""
        log = logs.get("archive.x")
        try:
            raise PeerAborted()
        except PeerAborted as exc:
            if way == "exception":
                log.exception("association_ended")
            else:
                log.warning("association_ended", exc_info=True if way == "exc_info_true" else exc)
        record = only(stream)
        assert record["error"]["message"] == "The peer aborted the association."
        assert "exc_info" not in record

    def test_exc_info_without_an_error_is_nothing(self, stream: io.StringIO) -> None:
        """Asking for the current error when there is none adds nothing."""
        logs.get("archive.x").warning("noted", exc_info=True)
        assert "error" not in only(stream)
