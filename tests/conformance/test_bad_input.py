"""The table of bad input of the conformance statement, row by row, against the running archive."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import wire
from tests.archive_process import ArchiveProcess, running_archive
from tests.objects import CT_IMAGE, ROOT, changed, ct_dataset, dataset_bytes
from tests.raw_scu import open_scu

TIMERS = """
[dicom]
artim_seconds = 1
idle_seconds = 2
pdu_seconds = 1
max_associations = 16
max_associations_per_peer = 4
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """One archive with short timers for the whole module."""
    with running_archive(tmp_path_factory.mktemp("bad") / "home", config=TIMERS) as running:
        yield running


def _uid(number: int) -> str:
    return f"{ROOT}.1.1.{number}"


def _object(number: int, **overrides: str | None) -> bytes:
    return dataset_bytes(changed(ct_dataset(number), overrides))


def _quarantined(archive: ArchiveProcess, data: bytes) -> list[dict[str, str]]:
    """Return the notes of the quarantined files that hold exactly these bytes behind their header."""
    return [
        json.loads(path.with_suffix(".json").read_text())
        for path in archive.home.glob("quarantine/*/*.dcm")
        if path.read_bytes().endswith(data)
    ]


def _stored(archive: ArchiveProcess, data: bytes) -> list[Path]:
    return [path for path in archive.home.glob("hot/*/*/*.dcm") if path.read_bytes().endswith(data)]


def _connect(archive: ArchiveProcess) -> socket.socket:
    connection = socket.create_connection((archive.host, archive.port))
    connection.settimeout(10)
    return connection


def _ends_within(connection: socket.socket, seconds: float) -> bool:
    """Tell whether the archive closes the connection in time, whatever it says before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            if not connection.recv(4096):
                return True
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 200, id="tls on the plain port"),
        pytest.param(bytes(range(256)) * 8, id="garbage"),
        pytest.param(struct.pack(">BBL", 1, 0, 1 << 31), id="oversized request"),
        pytest.param(struct.pack(">BBL", 1, 0, 300) + b"\xff" * 300, id="request of garbage"),
        pytest.param(struct.pack(">BBL", 4, 0, 10) + b"\0" * 10, id="data before association"),
        pytest.param(b"", id="half-open: nothing"),
        pytest.param(b"\x01\0\0", id="half-open: three bytes"),
    ],
)
def test_what_is_not_dicom_is_cut_off_within_its_timer(archive: ArchiveProcess, opening: bytes) -> None:
    """Garbage, oversized and half-open peers are aborted in time; a well-behaved peer beside them is served."""
    with open_scu(archive) as good, _connect(archive) as bad:
        bad.sendall(opening)
        assert good.echo() == 0
        assert _ends_within(bad, 6)
        assert good.echo() == 0


def test_a_slow_loris_is_cut_off(archive: ArchiveProcess) -> None:
    """One byte at a time inside a PDU does not keep an association alive beyond its timer."""
    with _connect(archive) as bad:
        bad.sendall(struct.pack(">BBL", 1, 0, 500))
        started = time.monotonic()
        ended = False
        while not ended and time.monotonic() - started < 8:
            try:
                bad.sendall(b"\0")
                ended = _ends_within(bad, 0.2)
            except OSError:
                ended = True
        assert ended


def test_an_oversized_pdu_inside_an_association_aborts_it_alone(archive: ArchiveProcess) -> None:
    """A PDU larger than agreed aborts its association; the other goes on."""
    with open_scu(archive) as good:
        bad = open_scu(archive)
        bad.socket.sendall(struct.pack(">BBLLBB", 4, 0, 1 << 30, (1 << 30) - 4, 1, 0))
        assert bad.socket.recv(10)[0] == 7
        assert good.echo() == 0
        bad.socket.close()


def test_an_idle_association_is_aborted_within_its_timer(archive: ArchiveProcess) -> None:
    """A peer that says nothing after association is aborted."""
    idle = open_scu(archive)
    assert _ends_within(idle.socket, 6)
    idle.socket.close()


def _rejection(archive: ArchiveProcess, *, called: str, calling: str = "MODALITY") -> bytes:
    with _connect(archive) as connection:
        proposals = [wire.Proposal(wire.VERIFICATION)]
        connection.sendall(wire.encode_associate(called, calling, proposals, max_pdu=16384))
        return connection.recv(64)


def test_another_protocol_version_is_rejected_with_the_standards_reason(archive: ArchiveProcess) -> None:
    """Whoever does not speak version 1: result 1, source 2, reason 2; further versions beside it do not matter."""
    request = wire.encode_associate("DRIMBOX", "MODALITY", [wire.Proposal(wire.VERIFICATION)], max_pdu=16384)
    for versions, answer in ((0x0002, bytes((3, 0, 0, 0, 0, 4, 0, 1, 2, 2))), (0x0003, b"\x02")):
        with _connect(archive) as connection:
            connection.sendall(request[:6] + struct.pack(">H", versions) + request[8:])
            assert connection.recv(10)[: len(answer)] == answer


def test_an_unknown_called_ae_is_rejected_with_the_standards_reason(archive: ArchiveProcess) -> None:
    """Called AE title not recognized: result 1, source 1, reason 7 (PS3.8 table 9-21)."""
    assert _rejection(archive, called="SOMEONE")[6:10] == bytes((0, 1, 1, 7))


def test_an_unknown_calling_ae_is_rejected_with_the_standards_reason(tmp_path: Path) -> None:
    """With unknown peers refused, or known ones at another address: result 1, source 1, reason 3."""
    config = """
[dicom]
accept_unknown_peers = false
[[dicom.peers]]
ae_title = "SCANNER"
addresses = ["10.9.0.0/16"]
[[dicom.peers]]
ae_title = "LOCAL"
addresses = ["127.0.0.0/8"]
"""
    with running_archive(tmp_path / "home", config=config) as running:
        assert _rejection(running, called="DRIMBOX", calling="NOBODY")[6:10] == bytes((0, 1, 1, 3))
        assert _rejection(running, called="DRIMBOX", calling="SCANNER")[6:10] == bytes((0, 1, 1, 3))
        assert _rejection(running, called="DRIMBOX", calling="LOCAL")[0] == 2


def test_addresses_bind_whatever_the_listener(tmp_path: Path) -> None:
    """A listener on every IPv4 and IPv6 address knows its IPv4 peers by the addresses the settings name."""
    config = """
[dicom]
host = "::"
[[dicom.peers]]
ae_title = "LOCAL"
addresses = ["127.0.0.0/8"]
[[dicom.peers]]
ae_title = "SCANNER"
addresses = ["10.9.0.0/16"]
"""
    with running_archive(tmp_path / "home", config=config) as running:
        assert running.host == "[::]"
        running.host = "127.0.0.1"
        assert _rejection(running, called="DRIMBOX", calling="LOCAL")[0] == 2
        assert _rejection(running, called="DRIMBOX", calling="SCANNER")[6:10] == bytes((0, 1, 1, 3))
        assert running.has_logged('"peer_address": "127.0.0.1"')


@pytest.mark.parametrize(("host", "setting"), [("192.0.2.1", "dicom.host"), ("127.0.0.1", "dicom.port")])
def test_a_port_that_cannot_be_opened_names_the_setting(tmp_path: Path, host: str, setting: str) -> None:
    """A host that is not this machine's is the host's fault, a port that is taken the port's."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            RuntimeError, match=f"Setting {setting} is wrong: {re.escape(host)}:{port} cannot be opened"
        ):
            ArchiveProcess(tmp_path / "home", environment={"DRIMBOX_DICOM__HOST": host}).start(port=port)


def test_too_many_associations_are_rejected_with_the_standards_reason(tmp_path: Path) -> None:
    """One too many of one peer, or of all: result 2, source 3, reason 2; who leaves makes room."""
    config = "[dicom]\nmax_associations = 3\nmax_associations_per_peer = 2\n"
    with (
        running_archive(tmp_path / "home", config=config) as running,
        open_scu(running, calling="GREEDY") as first,
        open_scu(running, calling="GREEDY"),
    ):
        assert _rejection(running, called="DRIMBOX", calling="GREEDY")[6:10] == bytes((0, 2, 3, 2))
        with open_scu(running, calling="OTHER") as other:
            assert other.echo() == 0
            assert _rejection(running, called="DRIMBOX", calling="THIRD")[6:10] == bytes((0, 2, 3, 2))
        deadline = time.monotonic() + 10
        while _rejection(running, called="DRIMBOX", calling="THIRD")[0] != 2:
            assert time.monotonic() < deadline, "no room was made"
            time.sleep(0.05)  # the rejected ones leave first: too many connections at once are dropped unheard
        assert first.echo() == 0


def test_an_association_lost_in_an_object_leaves_nothing(archive: ArchiveProcess) -> None:
    """Half an object and a closed connection: no file anywhere, nothing in quarantine, a log line."""
    before = sorted(path for path in archive.home.rglob("*") if "index.db" not in path.name)
    aborted = archive.log().count("association_aborted")
    lost = open_scu(archive, calling="LOST")
    command: dict[int, int | str] = {
        wire.AFFECTED_SOP_CLASS: CT_IMAGE,
        wire.COMMAND_FIELD: wire.STORE_RQ,
        wire.MESSAGE_ID: 1,
        wire.DATA_SET_TYPE: 1,
        wire.AFFECTED_SOP_INSTANCE: _uid(50),
    }
    raw = wire.encode_command(command)
    lost.socket.sendall(struct.pack(">BBIIBB", 4, 0, len(raw) + 6, len(raw) + 2, 1, 3) + raw)
    lost.socket.sendall(struct.pack(">BBIIBB", 4, 0, 400_006, 400_002, 1, 0) + b"y" * 400_000)
    lost.socket.sendall(struct.pack(">BBIIBB", 4, 0, 5006, 5002, 1, 0) + b"y" * 2000)
    lost.socket.close()
    deadline = time.monotonic() + 5
    while archive.log().count("association_aborted") == aborted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert archive.log().count("association_aborted") > aborted
    assert sorted(path for path in archive.home.rglob("*") if "index.db" not in path.name) == before


@pytest.mark.parametrize(
    ("number", "overrides", "status"),
    [
        pytest.param(11, {"StudyInstanceUID": None}, 0xC000, id="no study"),
        pytest.param(12, {"SeriesInstanceUID": None}, 0xC000, id="no series"),
        pytest.param(13, {"SOPInstanceUID": None}, 0xC000, id="no instance"),
        pytest.param(14, {"StudyInstanceUID": ""}, 0xC000, id="empty study"),
        pytest.param(15, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900, id="other class"),
        pytest.param(16, {"SOPInstanceUID": "1.2.3.4.5"}, 0xA900, id="other instance"),
    ],
)
def test_an_object_that_is_not_what_was_announced_is_kept_aside(
    archive: ArchiveProcess, number: int, overrides: dict[str, str | None], status: int
) -> None:
    """Missing identifiers are C000, wrong ones A900, with an Error Comment; the bytes are in quarantine."""
    data = _object(number, **overrides)
    with open_scu(archive) as scu:
        answered, comment = scu.store(_uid(number), data)
    assert answered == status
    assert comment
    notes = _quarantined(archive, data)
    assert len(notes) == 1
    assert notes[0]["calling_ae_title"] == "MODALITY"
    assert not _stored(archive, data)


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "1.2.3\\4", "1..2", "x" * 64])
def test_a_uid_that_is_no_uid_is_kept_aside(archive: ArchiveProcess, uid: str) -> None:
    """Path characters and other nonsense in UIDs: C000 or A900, quarantined, nothing outside the home."""
    data = dataset_bytes(ct_dataset(20)).replace(_uid(20).encode(), uid.encode()[:64])
    with open_scu(archive) as scu:
        status, comment = scu.store(uid, data)
    assert status in (0xC000, 0xA900)
    assert comment
    assert len(_quarantined(archive, data)) == 1


@pytest.mark.parametrize("data", [b"not a data set at all", b"\0" * 5000, _object(30)[:-200]])
def test_an_unreadable_data_set_is_kept_aside(archive: ArchiveProcess, data: bytes) -> None:
    """What cannot be read, or ends too early, is C000 with its bytes in quarantine."""
    with open_scu(archive) as scu:
        status, comment = scu.store(_uid(30), data)
        assert scu.echo() == 0
    assert status == 0xC000
    assert comment
    assert _quarantined(archive, data)


def test_the_class_announced_must_be_the_contexts(archive: ArchiveProcess) -> None:
    """A command whose SOP class is not its context's: A900, quarantined."""
    data = _object(31)
    with open_scu(archive) as scu:
        status, _ = scu.store(_uid(31), data, sop_class_uid="1.2.840.10008.5.1.4.1.1.4")
    assert status == 0xA900
    assert len(_quarantined(archive, data)) == 1


def test_the_same_bytes_again_are_stored_once(archive: ArchiveProcess) -> None:
    """Same UID, same bytes: success twice, one file."""
    data = _object(40)
    with open_scu(archive) as scu:
        assert scu.store(_uid(40), data)[0] == 0
        assert scu.store(_uid(40), data)[0] == 0
    with open_scu(archive, calling="OTHER") as scu:
        assert scu.store(_uid(40), data)[0] == 0
    assert len(_stored(archive, data)) == 1
    assert not _quarantined(archive, data)


def test_other_bytes_under_a_uid_never_overwrite(archive: ArchiveProcess) -> None:
    """Same UID, other bytes: a failure that says so, the first stays, the second is in quarantine."""
    first, second = _object(41), _object(41, StudyDescription="AUTRE")
    with open_scu(archive) as scu:
        assert scu.store(_uid(41), first)[0] == 0
        status, comment = scu.store(_uid(41), second)
    assert status == 0x0111
    assert "quarantine" in comment
    assert len(_stored(archive, first)) == 1
    assert not _stored(archive, second)
    assert len(_quarantined(archive, second)) == 1


@pytest.mark.parametrize(
    ("number", "overrides"),
    [
        pytest.param(60, {"SpecificCharacterSet": "NOT_A_CHARSET"}, id="unknown character set"),
        pytest.param(61, {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, id="broken escape"),
        pytest.param(62, {"StudyDate": "hier"}, id="a date that is none"),
        pytest.param(63, {"SeriesNumber": None, "InstanceNumber": None}, id="no numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_odd_objects_are_stored_exactly(archive: ArchiveProcess, number: int, overrides: dict[str, object]) -> None:
    """Broken character sets and values are no reason to refuse: stored byte for byte."""
    ds = ct_dataset(number, PatientName="MULLER^Zoe")
    for keyword, value in overrides.items():
        if value is None:
            del ds[keyword]
        else:
            ds[keyword]._value = value
    data = dataset_bytes(ds).replace(b"MULLER^Zoe", b"M\xfcLLER^Zo\xeb")
    with open_scu(archive) as scu:
        assert scu.store(_uid(number), data) == (0, "")
    assert len(_stored(archive, data)) == 1


def test_an_odd_element_order_is_stored_exactly(archive: ArchiveProcess) -> None:
    """Elements out of order and an unknown VR length do not lose the object."""
    data = _object(70) + struct.pack("<HH2sH", 0x0008, 0x0050, b"SH", 4) + b"LATE"
    with open_scu(archive) as scu:
        assert scu.store(_uid(70), data)[0] == 0
    assert len(_stored(archive, data)) == 1


def test_an_unknown_request_is_answered(archive: ArchiveProcess) -> None:
    """A request we do not know gets 0211H, unrecognized operation, and the association goes on."""
    with open_scu(archive) as scu:
        scu.request(0x0140, wire.VERIFICATION)
        assert scu.receive().status == 0x0211
        assert scu.echo() == 0


def test_private_storage_is_taken_in_any_syntax(archive: ArchiveProcess) -> None:
    """A private SOP class is stored by default, byte for byte."""
    private = "1.3.12.2.1107.5.9.1"
    data = _object(80, SOPClassUID=private)
    with open_scu(archive, sop_class_uid=private) as scu:
        assert scu.store(_uid(80), data, sop_class_uid=private)[0] == 0
    assert len(_stored(archive, data)) == 1
    assert private != CT_IMAGE
