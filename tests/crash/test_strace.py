"""The system calls of one ingest, as the kernel saw them, in the order that makes an acknowledgement true."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import wire
from tests.archive_process import ArchiveProcess
from tests.objects import ct_dataset, dataset_bytes
from tests.raw_scu import open_scu

CALLS = "openat,write,pwrite64,writev,pwritev,fdatasync,fsync,sync_file_range,mkdir,mkdirat,link,linkat,sendto,sendmsg"
STORE_RSP = r"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x80"
FIND_RSP = r"\x00\x00\x00\x01\x02\x00\x00\x00\x20\x80"
_LINE = re.compile(r"(?P<thread>\d+) +(?:(?P<name>\w+)\((?P<rest>.*)|<\.\.\. (?P<resumed>\w+) resumed>(?P<tail>.*))$")


@dataclass
class Call:
    """One system call: its name, its arguments as text, and the lines at which it began and ended."""

    name: str
    text: str
    began: int
    ended: int

    def __lt__(self, other: Call) -> bool:
        """Tell whether this call had ended before the other began."""
        return self.ended < other.began


def read_trace(path: Path) -> list[Call]:
    """Return the calls of a trace; one that other threads interrupted is put together again."""
    calls: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        if found["name"] is None:
            call = open_calls.pop(found["thread"], None)
            if call is not None:
                call.text += found["tail"]
                call.ended = number
            continue
        call = Call(found["name"], found["rest"], number, number)
        calls.append(call)
        if found["rest"].endswith("<unfinished ...>"):
            open_calls[found["thread"]] = call
    return calls


@dataclass
class Trace:
    """The calls that matter, found by name and argument."""

    calls: list[Call]
    home: Path

    def all(self, names: str, part: str) -> list[Call]:
        """Return the calls with one of the names and ``part`` in their arguments."""
        return [call for call in self.calls if call.name in names.split("|") and part in call.text]

    def one(self, names: str, part: str) -> Call:
        """Return the only such call."""
        [call] = self.all(names, part)
        return call


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    """Trace a server through one association: one object of several chunks stored, then found."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is missing: install the package strace"
    folder = tmp_path_factory.mktemp("strace")
    # -D: the archive keeps its own process id, so that the signals of this test reach it.
    prefix = [strace, "-D", "-f", "-y", "-x", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(folder / "trace")]
    archive = ArchiveProcess(folder / "home", prefix=prefix).start()
    try:
        store_and_find(archive)
    finally:
        assert archive.stop() == 0
    yield Trace(read_trace(folder / "trace"), folder / "home")


def store_and_find(archive: ArchiveProcess) -> None:
    """Store one object and ask for it at once."""
    ds = ct_dataset(1, PixelData=bytes(range(256)) * 9000)
    with open_scu(archive) as scu:
        assert scu.store(ds.SOPInstanceUID, dataset_bytes(ds)) == (0, "")
    keys = {
        0x00080052: ("CS", "IMAGE"),
        0x00080018: ("UI", ds.SOPInstanceUID),
        0x0020000D: ("UI", ds.StudyInstanceUID),
        0x0020000E: ("UI", ds.SeriesInstanceUID),
    }
    proposals = [wire.Proposal(wire.STUDY_ROOT_FIND)]
    with wire.Association((archive.host, archive.port), archive.ae_title, proposals) as association:
        association.request(wire.FIND_RQ, wire.STUDY_ROOT_FIND, wire.encode_identifier(keys))
        assert association.receive().status in wire.PENDING
        assert association.receive().status == 0


def linked(trace: Trace) -> tuple[Call, str, str]:
    """Return the call that gave the object its name, with the handle and the folder."""
    call = trace.one("linkat", ".dcm")
    handle = re.search(r"/proc/self/fd/(\d+)", call.text)
    target = re.search(r'"([^"]*)/\d+\.dcm"', call.text)
    assert handle is not None
    assert target is not None
    return call, handle[1], target[1]


def test_the_bytes_are_synced_before_the_file_has_a_name(trace: Trace) -> None:
    """Every write to the file ended before fdatasync began; fdatasync ended before linkat began."""
    link, handle, _ = linked(trace)
    unnamed = f"{handle}<{trace.home}/hot/#"
    writes = trace.all("pwrite64", unnamed)
    sync = trace.one("fdatasync", unnamed)
    assert len(writes) >= 4, "the data set in pieces, what is left of it, and the header"
    assert all(write < sync for write in writes)
    assert r"\x44\x49\x43\x4d" in writes[-1].text, "the header is written last"
    assert sync < link
    assert sync.text.endswith("= 0")
    assert link.text.endswith("= 0")


def test_the_file_was_nowhere_before(trace: Trace) -> None:
    """It was made without a name, in the hot folder, and it is linked with create-only semantics."""
    _, handle, _ = linked(trace)
    opened = [
        call for call in trace.all("openat", "O_TMPFILE") if re.search(rf"= {handle}<{trace.home}/hot/", call.text)
    ]
    assert opened
    assert trace.all("rename|renameat|renameat2", "") == []


def test_the_name_is_synced_before_the_acknowledgement(trace: Trace) -> None:
    """linkat ended before the fsync of its folder began, and that before the C-STORE response was sent."""
    link, _, folder = linked(trace)
    [sync] = [call for call in trace.all("fsync", f"<{folder}>") if link < call]
    acknowledgement = trace.one("sendto|sendmsg", STORE_RSP)
    assert link < sync < acknowledgement
    assert sync.text.endswith("= 0")


def test_the_folder_is_known_before_anything_lands_in_it(trace: Trace) -> None:
    """The folders are made and synced, and the index's synced commit names them, before linkat."""
    link, _, folder = linked(trace)
    day = str(Path(folder).parent)
    made = [trace.one("mkdir|mkdirat", f'"{path}"') for path in (day, folder)]
    synced = [[call for call in trace.all("fsync", f"<{path}>") if call < link] for path in (f"{trace.home}/hot", day)]
    assert made[0] < synced[0][-1] < made[1] < synced[1][-1] < link
    log = [call for call in trace.all("fdatasync|fsync", "index.db-wal>") if made[1] < call < link]
    assert log, "the commit that registers the folder is synced"


def test_the_row_follows_the_file_and_precedes_the_answer(trace: Trace) -> None:
    """The index is written after the file is durable, and before a query that could miss it is answered."""
    link, _, folder = linked(trace)
    [sync] = [call for call in trace.all("fsync", f"<{folder}>") if link < call]
    answers = trace.all("sendto|sendmsg", FIND_RSP)
    assert answers
    rows = [call for call in trace.all("pwrite64", "index.db-wal>") if link < call < answers[0]]
    assert rows
    assert all(sync < row for row in rows)


def test_the_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A call interrupted by another thread ends where it was resumed."""
    path = tmp_path / "trace"
    path.write_text(
        '10 pwrite64(5</a (deleted)>, "x", 1, 0 <unfinished ...>\n'
        "11 fsync(6</b>)  = 0\n"
        "10 <... pwrite64 resumed>) = 1\n"
        "10 +++ exited with 0 +++\n"
        "10 fdatasync(5</a (deleted)>) = 0\n"
    )
    write, fsync, sync = read_trace(path)
    assert (write.began, write.ended) == (0, 2)
    assert write.text.endswith(") = 1")
    assert write < sync
    assert not write < fsync
    assert not fsync < write
