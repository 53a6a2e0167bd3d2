"""The HL7 port of a running archive: answers, bad input, durability, and no identity where none belongs."""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.archive_process import ArchiveProcess, running_archive
from tests.postgres import new_server
from tests.unit.hl7.making import adt, life, pv1, sample, zbe

CONFIG = "[hl7]\nport = 0\n"
PASSWORD = "a long word for tests"


class Sender:
    """A hospital system at the other end of one connection."""

    def __init__(self, archive: ArchiveProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", archive.hl7_port), timeout=20)
        self.rest = b""

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self) -> list[list[str]]:
        """Return the next answer: its segments, their fields."""
        while b"\x1c\r" not in self.rest:
            data = self.socket.recv(65536)
            assert data, "closed without an answer"
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\x1c\r")
        assert message.startswith(b"\x0b")
        return [line.split("|") for line in message[1:].decode("latin-1").rstrip("\r").split("\r")]

    def send(self, message: bytes) -> list[list[str]]:
        """Send a message and return its answer."""
        self.raw(b"\x0b" + message + b"\x1c\r")
        return self.answer()

    def code(self, message: bytes) -> str:
        """Send a message and return MSA-1."""
        return self.send(message)[1][1]

    def is_closed(self) -> bool:
        """Wait until the archive closes the connection."""
        try:
            return self.socket.recv(10) == b""
        except ConnectionResetError:
            return True


@contextmanager
def sender(archive: ArchiveProcess) -> Iterator[Sender]:
    """Lend a connection."""
    each = Sender(archive)
    try:
        yield each
    finally:
        each.socket.close()


def drimbox(archive: ArchiveProcess, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run a command on the archive's home and return what it prints."""
    command = [sys.executable, "-m", "archive", *arguments, "--home", str(archive.home)]
    if archive.config:
        command += ["--config", str(archive.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == code, done.stderr
    return done.stdout


def listed(archive: ArchiveProcess, *options: str) -> list[dict[str, object]]:
    """Return the messages kept."""
    found: list[dict[str, object]] = json.loads(drimbox(archive, "hl7", "list", "--json", *options))
    return found


def kept_ids(archive: ArchiveProcess) -> list[str]:
    """Return the control ids of the messages kept, read beside the running archive."""
    with sqlite3.connect(archive.home / "index.db") as connection:
        return [control_id for (control_id,) in connection.execute("SELECT control_id FROM hl7_message ORDER BY id")]


def refused_bytes(archive: ArchiveProcess) -> list[bytes]:
    """Return the messages kept as refused."""
    with sqlite3.connect(archive.home / "index.db") as connection:
        rows = connection.execute("SELECT message FROM hl7_message WHERE outcome = 'refused'")
        return [base64.b64decode(message) for (message,) in rows]


def visits(archive: ArchiveProcess) -> list[tuple[object, ...]]:
    """Return the visits that count."""
    with sqlite3.connect(archive.home / "index.db") as connection:
        return connection.execute(
            "SELECT site, patient_id, from_on, to_on FROM patient_fact WHERE kind = 'visit' AND withdrawn_at IS NULL"
            " ORDER BY id"
        ).fetchall()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """One archive for the tests that leave it as it was, but for messages."""
    with running_archive(tmp_path_factory.mktemp("hl7") / "home", config=CONFIG) as running:
        yield running


# ---- answers --------------------------------------------------------------------------------------------------------


def test_the_feed_from_end_to_end(tmp_path: Path) -> None:
    """Admission, discharge and their cancels over one connection are answered AA and show in the facts at once."""
    with running_archive(tmp_path / "home", config=CONFIG) as archive, sender(archive) as gam:
        head, acknowledgement = gam.send(sample("a01_admission"))
        assert head[2:6] == ["DRIMBOX", "IMAGERIE", "GAM", "CHU-X"] and head[8] == "ACK^A01^ACK"
        assert head[11] == "2.5^FRA^2.11" and head[17] == "UNICODE UTF-8"
        assert acknowledgement == ["MSA", "AA", "a01_admission-1"]
        assert visits(archive) == [("default", "000003", "2024-03-06", None)]
        assert gam.code(sample("a03_discharge")) == "AA"
        assert visits(archive) == [("default", "000003", "2024-03-06", "2024-03-12")]
        assert gam.code(sample("a13_cancel_discharge")) == "AA"
        assert gam.code(sample("a11_cancel_admission").replace(b"20240306140000", b"20240313090000")) == "AA"
        assert visits(archive) == []
        assert gam.code(sample("a01_admission")) == "AA"
        assert [each["outcome"] for each in listed(archive)] == ["accepted"] * 4


def test_messages_in_one_packet_are_answered_in_order(archive: ArchiveProcess) -> None:
    """Several messages sent without waiting, with line ends between, each get their answer, in order."""
    with sender(archive) as gam:
        frames = [b"\x0b" + adt("A31", control=f"P{number}") + b"\x1c\r\n" for number in range(5)]
        gam.raw(b"".join(frames))
        assert [gam.answer()[1] for _ in frames] == [["MSA", "AA", f"P{number}"] for number in range(5)]


@pytest.mark.parametrize(
    ("accept", "application", "codes"),
    [("AL", "NE", ["CA"]), ("NE", "AL", ["AA"]), ("AL", "AL", ["CA", "AA"]), ("", "AL", ["AA"]), ("ER", "SU", ["AA"])],
)
def test_enhanced_mode(archive: ArchiveProcess, accept: str, application: str, codes: list[str]) -> None:
    """MSH-15 and MSH-16 say which answers are owed, accept before application."""
    with sender(archive) as gam:
        raw = adt("A31", control=f"E{accept}{application}", head=f"|||{accept}|{application}")
        gam.raw(b"\x0b" + raw + b"\x1c\r")
        assert [gam.answer()[1][1] for _ in codes] == codes


def test_enhanced_mode_may_want_no_answer(archive: ArchiveProcess) -> None:
    """NE and NE gets none; the next message's answer comes first."""
    with sender(archive) as gam:
        gam.raw(b"\x0b" + adt("A31", control="NONE", head="|||NE|NE") + b"\x1c\r")
        assert gam.send(adt("A31", control="SOME"))[1][2] == "SOME"
    assert "NONE" in kept_ids(archive)


def test_separators_of_the_sender_are_used(archive: ArchiveProcess) -> None:
    """A sender with separators of its own is understood, and answered in them."""
    raw = adt("A31", control="SEP").replace(b"^", b"$").replace(b"|", b"*")
    with sender(archive) as gam:
        gam.raw(b"\x0b" + raw + b"\x1c\r")
        assert "MSA*AA*SEP" in gam.answer()[1][0]


@pytest.mark.parametrize("charset", ["8859/1", "8859/15", "UNICODE UTF-8"])
def test_french_letters(archive: ArchiveProcess, charset: str) -> None:
    """Accents come out right in each character set of PAM France, and the bytes are kept as they came."""
    codec = {"8859/1": "latin-1", "8859/15": "iso8859-15"}.get(charset, "utf-8")
    control = f"FR{codec}"
    text = adt("A31", control=control, head=f"|||||FRA|{charset}").decode().replace("PAT-TROIS", "LEFÈVRE-ŒUVRÉ")
    raw = text.replace("Œ", "Œ" if charset != "8859/1" else "OE").encode(codec)
    with sender(archive) as gam:
        head, acknowledgement = gam.send(raw)
    assert acknowledgement[1] == "AA" and head[17] == charset
    number = next(each["number"] for each in listed(archive) if each["control_id"] == control)
    shown = json.loads(drimbox(archive, "hl7", "show", str(number), "--json"))
    assert "LEFÈVRE-" in shown["message"] and bytes.fromhex(shown["message_hex"]) == raw
    assert "LEFÈVRE-" in drimbox(archive, "hl7", "show", str(number), PYTHONIOENCODING="utf-8")


# ---- bad input ------------------------------------------------------------------------------------------------------

BAD = {
    "wrong_encoding": (adt("A31", control="B1", head="||||||UNICODE UTF-8").replace(b"PAT", b"\xe9"), "AE", "102"),
    "unknown_encoding": (adt("A31", control="B2", head="||||||BIG-5"), "AE", "103"),
    "no_pid": (b"\r".join(x for x in adt("A01", control="B3").split(b"\r") if x[:3] != b"PID"), "AE", "100"),
    "no_identifier": (adt("A01", control="B4").replace(b"000003", b""), "AE", "101"),
    "unknown_event": (adt("A99", control="B5"), "AR", "201"),
    "no_adt": (adt("A01", control="B6").replace(b"ADT", b"ORU"), "AR", "200"),
    "stay_given_away": (adt("A44", control="B7"), "AR", "201"),
    "bad_day": (adt("A01", control="B8", segments=pv1("V", "20241399")), "AE", "102"),
    "nothing": (b"", "AR", "100"),
    "no_message": (b"GET / HTTP/1.1\r\n\r\n", "AR", "100"),
    "only_msh": (b"MSH|^~\\&", "AR", "100"),
    "batch": (b"FHS|^~\\&|GAM\rBHS|^~\\&|GAM\r" + adt("A01", control="B9"), "AR", "100"),
    "nul": (adt("A31", control="B10").replace(b"PAT", b"P\0T"), "AE", "102"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_message_is_answered_kept_and_ends_nothing(archive: ArchiveProcess, name: str) -> None:
    """What cannot be taken is answered AE or AR with its reason, kept byte for byte, and the next message is taken."""
    raw, code, number = BAD[name]
    with sender(archive) as gam:
        _, acknowledgement, error = gam.send(raw)
        assert (acknowledgement[1], error[3].split("^")[0], error[4]) == (code, number, "E")
        assert len(error) == 9 and error[8].startswith("The HL7 message was refused")
        assert gam.code(adt("A31", control=f"after {name}")) == "AA"
    assert raw in refused_bytes(archive)


def test_half_a_message_is_no_message(archive: ArchiveProcess) -> None:
    """A message cut off by the end of the connection is dropped, told in the log, and taken when it comes whole."""
    whole = adt("A31", control="HALF")
    with sender(archive) as gam:
        gam.raw(b"\x0b" + whole[:100])
    with sender(archive) as gam:
        assert gam.code(whole) == "AA"
    assert kept_ids(archive).count("HALF") == 1
    assert '"dropped_frames": 1' in archive.log()


def test_garbage_costs_its_own_connection(archive: ArchiveProcess) -> None:
    """Two megabytes of nonsense end one connection; another one works meanwhile and after."""
    with sender(archive) as other, sender(archive) as bad:
        with suppress(OSError):
            for _ in range(32):
                bad.raw(b"\xa5G\r" * 21846)
        assert other.code(adt("A31", control="MEANWHILE")) == "AA"
        assert bad.is_closed()
        assert other.code(adt("A31", control="AFTER")) == "AA"
    assert "belong to no message" in archive.log()


def test_too_long_a_message_is_refused(archive: ArchiveProcess) -> None:
    """A message beyond the limit is answered AR under its own control id and the connection closed."""
    with sender(archive) as gam:
        with suppress(OSError):
            gam.raw(b"\x0b" + adt("A31", control="LONG") + b"ZZZ|" + b"x" * (2 << 20))
        assert gam.answer()[1] == ["MSA", "AR", "LONG"]
        assert gam.is_closed()
    kept = next(each for each in listed(archive, "--refused") if each["control_id"] == "LONG")
    assert "longer than 1048576 bytes" in str(kept["detail"])


def test_slow_and_silent_senders_are_let_go(tmp_path: Path) -> None:
    """A message that trickles in and a sender that says nothing are closed in time; a third is one too many."""
    config = f"{CONFIG}message_seconds = 1\nidle_seconds = 2\nmax_connections = 2\n"
    with running_archive(tmp_path / "home", config=config) as archive:
        with sender(archive) as slow, sender(archive) as silent, sender(archive) as third:
            assert third.is_closed()
            slow.raw(b"\x0bMSH|^~")
            assert slow.is_closed() and silent.is_closed()
        assert "took too long" in archive.log() and "too many connections" in archive.log()


def test_only_known_addresses_are_heard(tmp_path: Path) -> None:
    """A connection from an address that is not listed is closed before a byte is read."""
    with running_archive(tmp_path / "home", config=f'{CONFIG}addresses = ["192.0.2.0/24"]\n') as archive:
        with sender(archive) as gam:
            assert gam.is_closed()
        assert "hl7_connection_refused" in archive.log()


# ---- durability -----------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Killed between two messages, the archive has every message it answered AA, with its facts, after a new start."""
    home = tmp_path / "home"
    with running_archive(home, config=CONFIG) as archive:
        with sender(archive) as gam:
            for number in range(20):
                stay = f"{pv1(f'V{number}', '20240306')} {zbe(str(number), '20240306')}"
                assert gam.code(adt("A01", control=f"K{number}", segments=stay)) == "AA"
            gam.raw(b"\x0b" + adt("A01", control="UNANSWERED", segments=pv1("V99", "20240306")))
            archive.kill()
        archive.start()
        assert len(visits(archive)) == 20
        assert kept_ids(archive) == [f"K{number}" for number in range(20)]
        with sender(archive) as gam:
            assert (
                gam.code(adt("A01", control="K3", segments=f"{pv1('V3', '20240306')} {zbe('3', '20240306')}")) == "AA"
            )
        assert len(visits(archive)) == 20


def test_a_database_that_goes_and_comes_back(tmp_path: Path) -> None:
    """While PostgreSQL is down messages are answered AE and not kept; once it is back the same ones are taken."""
    with new_server() as server:
        config = f'{CONFIG}\n[index]\nurl = "{server.create_database()}"\n'
        try:
            with running_archive(tmp_path / "home", config=config) as archive, sender(archive) as gam:
                assert gam.code(sample("a01_admission")) == "AA"
                server.stop()
                head, acknowledgement, error = gam.send(sample("a03_discharge"))
                assert (acknowledgement[1], error[3].split("^")[0]) == ("AE", "207") and head[8] == "ACK^A03^ACK"
                server.start()
                assert gam.code(sample("a03_discharge")) == "AA"
                assert gam.code(sample("a01_admission")) == "AA"
                assert [each["outcome"] for each in listed(archive)] == ["accepted", "accepted"]
        finally:
            server.stop()


def test_settings_corrected_and_replayed(tmp_path: Path) -> None:
    """Refused for a wrong setting, a message is read again after the setting was corrected, by a named person."""
    home = tmp_path / "home"
    site = '[[sites]]\nname = "CHU"\nhl7_facilities = ["CHU-X"]\nipp_authorities = ["{}"]\n'
    other = '[[sites]]\nname = "Autre"\n'
    head = 'default_site = "Autre"\n'
    with running_archive(home, config=head + CONFIG + site.format("WRONG") + other) as archive:
        with sender(archive) as gam:
            assert gam.send(sample("a01_admission"))[2][3].startswith("204")
        (refused,) = listed(archive, "--refused")
        assert archive.config is not None
        archive.config.write_text(head + CONFIG + site.format("CHU-X") + other)
        making = ("account", "create", "anne", "--full-name", "Anne", "--role", "operator")
        drimbox(archive, *making, DRIMBOX_NEW_PASSWORD=PASSWORD)
        number = str(refused["number"])
        replay = ("hl7", "replay", "--as", "anne")
        drimbox(archive, *replay, number, "--refused", code=2, DRIMBOX_PASSWORD=PASSWORD)
        with sender(archive) as gam:
            assert gam.send(adt("A99"))[1][1] == "AR"
        assert "accepted" in drimbox(archive, *replay, "--refused", code=3, DRIMBOX_PASSWORD=PASSWORD)
        assert visits(archive) == [("CHU", "000003", "2024-03-06", None)]
        again = drimbox(archive, *replay, number, "--json", DRIMBOX_PASSWORD=PASSWORD)
        assert json.loads(again)[0]["is_new"] is False


# ---- identity -------------------------------------------------------------------------------------------------------


def test_no_identity_in_logs_or_journal(tmp_path: Path) -> None:
    """Whatever is sent, accepted, refused or torn, no patient is in the log, in the journal or in an answer's words."""
    canary = "CANARI"
    traces = (b"CANARI", b"4711", b"19010203", "Zoé".encode(), "Zoé".encode("latin-1"))
    home = tmp_path / "home"
    with running_archive(home, config=f'[log]\nlevel = "debug"\n{CONFIG}') as archive, sender(archive) as gam:
        said = b""
        for raw in (
            adt("A01", "20240306111501", segments=pv1("VN4711", "20240306")),
            adt("A03", "20240306111502", segments=f"{pv1('VN4711', '20240306')} ZFM||9"),
            adt("A31", "20240306111503", pid=life("20241399", "Y")),
            adt("A40", "20240306111504", segments="MRG|CANARI-4711-B^^^CHU-X^PI"),
            adt("A99", "20240306111505"),
            adt("A31", "20240306111506", head="||||||8859/99"),
            b"PID|CANARI^Zo\xe9|19010203",
            b"MSH|^~\\&|CANARI|4711",
        ):
            named = raw.replace(b"PAT-TROIS^DOMINIQUE", f"{canary}^Zoé".encode()).replace(b"000003", b"CANARI-4711")
            gam.raw(b"\x0b" + named.replace(b"19790328", b"19010203") + b"\x1c\r")
            said += repr([line for line in gam.answer() if line[0] == "ERR"]).encode()
        gam.raw(b"\x0bMSH|^~\\&|CANARI")
        gam.socket.close()
        assert archive.stop() == 0
    with sqlite3.connect(home / "index.db") as connection:
        journal = repr(connection.execute("SELECT event, actor, body FROM audit").fetchall()).encode()
        assert connection.execute("SELECT COUNT(*) FROM patient_fact WHERE patient_id = 'CANARI-4711'").fetchone()[0]
    log = archive.log().encode()
    assert b"hl7_message_kept" in log and b"hl7_message_refused" in log and b"hl7_received" in journal
    for trace in traces:
        assert trace not in log and trace not in journal and trace not in said, trace
