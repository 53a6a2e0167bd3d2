"""Damaged recordings of real associations against the reader of PDUs and commands; a short run, the same every time."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.config import DicomSettings
from archive.dimse import acceptor
from archive.dimse.association import Association, Context, Limits, MemorySink, Peer, Released
from archive.dimse.transport import PlainTransport
from archive.errors import ProtocolError
from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import run
from tests.objects import write_series
from tests.unit.dimse.wire import tcp_pair

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


class Recorder:
    """A relay in front of the archive that keeps what the client says."""

    def __init__(self, archive: ArchiveProcess) -> None:
        self._address = (archive.host, archive.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.said = bytearray()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._address)
        back = threading.Thread(target=self._relay, args=(server, client, None), daemon=True)
        back.start()
        self._relay(client, server, self.said)
        back.join(10)
        for end in (client, server, self._listener):
            end.close()

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if kept is not None:
                    kept += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def recording(self) -> bytes:
        """Return what was said, once the association has ended."""
        self._thread.join(20)
        return bytes(self.said)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What storescu, echoscu, findscu and getscu of DCMTK say in one association each."""
    folder = tmp_path_factory.mktemp("fuzz")
    (path,) = write_series(folder / "files", 1)
    level = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=2.25.1234567890.1")
    calls: list[tuple[str, list[str | Path], list[str | Path]]] = [
        ("storescu", [], [path]),
        ("echoscu", [], []),
        ("findscu", list(level), []),
        ("getscu", ["-od", folder, *level], []),
    ]
    recorded = []
    with running_archive(folder / "home") as archive:
        for tool, before, after in calls:
            recorder = Recorder(archive)
            result = run(tool, *before, "-aec", archive.ae_title, "127.0.0.1", str(recorder.port), *after)
            assert result.returncode == 0, result.stderr
            recorded.append(recorder.recording())
    return recorded


def read_all(raw: bytes) -> int:
    """Let the reader take a whole recording as the server does; return how many messages it made of it."""
    ours, theirs = tcp_pair()
    sender = threading.Thread(target=_send, args=(theirs, raw))
    sender.start()
    transport = PlainTransport(ours, io_seconds=2)
    count = 0
    try:
        request = acceptor.read_request(transport, artim_seconds=2)
        peer = Peer(request.calling_ae_title, request.called_ae_title, "127.0.0.1")
        acceptor.refusal_of(request, peer, DicomSettings())
        contexts = {number: Context(number, CT, EXPLICIT, True, True) for number in range(1, 256, 2)}
        association = Association(transport, peer, contexts, 16384, Limits(idle_seconds=2, max_pdu_bytes=1 << 20))
        while True:
            message = association.read_message()
            count += 1
            if message.has_dataset:
                association.receive_dataset(message.context, MemorySink(0).dropping())
    except (ProtocolError, Released):
        return count
    finally:
        transport.close()
        theirs.close()
        sender.join()


def _send(connection: socket.socket, raw: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(65536):
            pass


def test_the_recordings_are_read_as_they_are(recordings: list[bytes]) -> None:
    """Undamaged, each recording gives its messages; getscu's ends with the answer to the object it was sent."""
    assert [read_all(raw) for raw in recordings] == [1, 1, 1, 2]


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_damaged_recordings_end_in_protocol_errors(recordings: list[bytes], data: st.DataObject) -> None:
    """Flipped, cut, doubled or stretched: the reader answers with messages or a protocol error, nothing else."""
    raw = bytearray(data.draw(st.sampled_from(recordings)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        patch = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4)])))
        kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
        raw[at : at + (len(patch) if kind == "set" else 0)] = patch if kind != "cut" else b""
        if kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        raw = raw or bytearray(b"\0")
    assert read_all(bytes(raw)) >= 0
