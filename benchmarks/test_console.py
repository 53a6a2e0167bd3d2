"""Benchmarks of the console's pages over HTTP on a large embedded index, served by a process of its own; must not
time the fill.

Studies have one instance each, as for sweeps: what a page costs must not go with the number of studies.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from archive.clock import monotonic
from archive.index.study_details import StudyRecord
from archive.services.study_view import reference_of
from benchmarks.conftest import Record, Size
from benchmarks.results import OURS, Figure, Target, grouped, percentile
from benchmarks.rounds import Benchmark, settle
from benchmarks.stores import filled_index
from tests.archive_process import running_archive

_TARGETS = (Target(200.0),)
_HELD = 50
_WHY = ("--reason", "bench", "--authority", "bench", "--reference", "bench")
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_CONFIG = """
[[sites]]
name = "CHU"
[http]
port = 0
[[http.clients]]
name = "bench"
addresses = ["127.0.0.1"]
roles = ["archivist", "operator", "auditor", "dim_physician", "director"]
"""


def _studies(size: Size) -> int:
    return 1_000_000 if size.full else 5_000


@dataclass
class Reader:
    """A browser without a screen, on one connection, with the proof of one page."""

    connection: http.client.HTTPConnection
    studies: list[tuple[str, str, str, str]]
    draw: random.Random = field(default_factory=lambda: random.Random(1))
    cookie: str = ""
    token: str = ""

    def get(self, path: str) -> float:
        """Ask for a page; return how long it took, in milliseconds."""
        return self._ask("GET", path, None)

    def post(self, path: str, **fields: str) -> float:
        """Send a form; what it leads to is not followed."""
        return self._ask("POST", path, urlencode({"form_token": self.token, **fields}))

    def _ask(self, method: str, path: str, body: str | None) -> float:
        headers = {"Cookie": self.cookie, "Accept-Encoding": "gzip"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        started = monotonic()
        self.connection.request(method, f"/console{path}", body, headers)
        answer = self.connection.getresponse()
        answer.read()
        took = (monotonic() - started) * 1000
        assert answer.status in (200, 303), f"{path}: {answer.status}"
        return took

    def prove(self) -> None:
        """Fetch the cookie and the token that forms take."""
        self.connection.request("GET", "/console/holds")
        answer = self.connection.getresponse()
        token = _TOKEN.search(answer.read().decode())
        assert token is not None
        self.token, self.cookie = token[1], str(answer.headers["set-cookie"]).partition(";")[0]

    def study(self) -> tuple[str, str, str, str]:
        """Return reference, UID, PatientID and AccessionNumber of any study."""
        return self.draw.choice(self.studies)

    def day(self) -> str:
        """Return any day of the next twenty years."""
        return (date(2026, 1, 1) + timedelta(days=self.draw.randrange(7300))).isoformat()


PAGES: Mapping[str, Callable[[Reader], float]] = {
    "overview": lambda reader: reader.get("/"),
    "study": lambda reader: reader.get(f"/studies/{reader.study()[0]}"),
    "search by UID": lambda reader: reader.post("/studies", number=reader.study()[1]),
    "search by PatientID": lambda reader: reader.post("/studies", number=reader.study()[2]),
    "search by AccessionNumber": lambda reader: reader.post("/studies", number=reader.study()[3]),
    "holds": lambda reader: reader.get("/holds"),
    "candidates": lambda reader: reader.get("/facts"),
    "contradictions": lambda reader: reader.get("/facts/contradictions"),
    "lists": lambda reader: reader.get("/lists"),
    "what becomes due": lambda reader: reader.get(f"/due?on={reader.day()}"),
    "evidence": lambda reader: reader.get("/evidence"),
    "quarantine": lambda reader: reader.get("/quarantine"),
    "jobs": lambda reader: reader.get("/jobs"),
    "journal": lambda reader: reader.post("/audit", event="hold_placed"),
}


@pytest.fixture(scope="module")
def reader(size: Size) -> Iterator[Reader]:
    """Serve an archive whose studies are all assessed, some of them on hold or contradictory, and lend a reader."""
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        (home / "drimbox.toml").write_text(_CONFIG)
        shutil.copyfile(filled_index(_studies(size), 1), home / "index.db")
        _prepare(home)
        studies = _studies_of(home / "index.db", size.queries)
        settle()
        with running_archive(home) as archive:
            connection = http.client.HTTPConnection(archive.host, archive.http_port)
            found = Reader(connection, studies)
            found.prove()
            yield found
            connection.close()


def _prepare(home: Path) -> None:
    """Assess every study, put some on hold, and make a thousandth contradictory, as the commands and the feed do."""
    environment = {
        **os.environ,
        **{"DRIMBOX_HOME": str(home)},
        **{"DRIMBOX_NEW_PASSWORD": "correct horse battery", "DRIMBOX_PASSWORD": "correct horse battery"},
    }

    def run(*words: str) -> None:
        command = [sys.executable, "-m", "archive", *words]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    run("account", "create", "bench", "--full-name", "Bench", "--role", "operator")
    run("retention", "sweep", "--apply", "--json", "--as", "bench")
    patients = [
        word for _, _, patient_id, _ in _studies_of(home / "index.db", _HELD) for word in ("--patient", patient_id)
    ]
    run("hold", "place", *patients, *_WHY, "--site", "CHU", "--as", "bench")
    with closing(sqlite3.connect(home / "index.db")) as index, index:
        index.execute("UPDATE assessment SET blocked_by = 'facts', eligible_on = NULL WHERE rowid % 1000 = 0")


def _studies_of(index: Path, count: int) -> list[tuple[str, str, str, str]]:
    sql = (
        "SELECT study.id, study_instance_uid, patient_id, accession_number FROM study "
        "JOIN patient ON patient.id = patient_fk WHERE study.id % ? = 1 LIMIT ?"
    )
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        step = max(1, connection.execute("SELECT MAX(id) FROM study").fetchone()[0] // count)
        rows = connection.execute(sql, (step, count)).fetchall()
    return [(_reference(row[0], row[1]), row[1], row[2], row[3]) for row in rows]


def _reference(study_id: int, uid: str) -> str:
    return reference_of(StudyRecord(study_id, uid, *([""] * 11)))


def test_pages(benchmark: Benchmark, record: Record, reader: Reader, size: Size) -> None:
    """Each page of the console answers within 200 ms at the 95th percentile with a million studies."""
    times: dict[str, list[float]] = {}
    first = {name: round(page(reader), 1) for name, page in PAGES.items()}  # what is kept for minutes is counted now
    remaining = iter([name for _ in range(size.queries) for name in PAGES])

    def ask() -> None:
        name = next(remaining)
        times.setdefault(name, []).append(PAGES[name](reader))

    benchmark.pedantic(ask, setup=_nothing, teardown=_nothing, rounds=size.queries * len(PAGES), iterations=1)
    p95 = {name: round(percentile(values, 95), 1) for name, values in times.items()}
    details = {"p95_ms": p95, "first_ms": first}
    title = f"Slowest page of the console, {grouped(_studies(size))} studies"
    rounds = {OURS: [max(p95.values())]}
    record(Figure("console", title, "ms p95", rounds, _TARGETS, higher_is_better=False, details=details))


def _nothing() -> None:
    """Do nothing before and after a request."""
