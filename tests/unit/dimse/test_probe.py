"""Asking ourselves for a series: what is timed, what goes wrong, who is let in under which name."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest

from archive.config import DicomSettings, PeerSettings
from archive.dimse import command as dimse
from archive.dimse.association import Association, Limits, Message
from archive.dimse.command import Command
from archive.dimse.get import GetHandler
from archive.dimse.probe import ProbeRequestor
from archive.dimse.recorder import AssociationRecorder
from archive.dimse.requestor import Destination, request_association
from archive.dimse.server import Handler, Server
from archive.index import associations
from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from archive.services.probe import Fetched
from tests.objects import ROOT, ct_dataset
from tests.unit.dimse.retrieving import Store, fill, open_store
from tests.unit.services.shelf import Clock

TITLE = "PROBE-0123456789"
NAMES = MappingProxyType({TITLE: "probe"})
CLOSED = DicomSettings(port=0, accept_unknown_peers=False, peers=(PeerSettings(ae_title="CT1"),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Lend an archive with one series of five images."""
    with open_store(tmp_path) as lent:
        fill(lent, 5)
        yield lent


@contextmanager
def served(
    store: Store,
    handler: Handler | None = None,
    *,
    names: Mapping[str, str] = NAMES,
    settings: DicomSettings = CLOSED,
) -> Iterator[tuple[str, int]]:
    """Run a DICOM server on a store; lend its address."""
    handlers = {dimse.C_GET_RQ: handler or GetHandler(store.retrieve).handle}
    recorder = AssociationRecorder(store.rig.committer, store.rig.clock)
    server = Server(settings, handlers, recorder=recorder, clock=Clock(), tls=None, own_titles=names)
    try:
        yield server.start()["dicom"]
    finally:
        server.stop(grace_seconds=2)


def series(store: Store) -> list[StoredInstance]:
    """Return the instances of the series."""
    with store.rig.committer.read() as connection:
        return list(iter_instances(connection, series=f"{ROOT}.1.1"))


def fetch(store: Store, address: tuple[str, int], *, title: str = TITLE) -> Fetched:
    """Ask for the series."""
    connect = partial(
        request_association,
        calling_ae_title=title,
        limits=Limits(idle_seconds=5, max_pdu_bytes=1 << 20),
        connect_seconds=5.0,
        io_seconds=5.0,
    )
    return ProbeRequestor(connect, Destination("DRIMBOX", *address)).fetch(series(store))


def test_all_of_a_series_comes_and_nothing_of_it_stays(store: Store) -> None:
    """Counted in images and bytes; the first before the whole."""
    with served(store) as address:
        found = fetch(store, address)
    sizes = [each.dataset_size for each in series(store)]
    assert (found.instances, found.problem) == (5, "")
    assert found.size_bytes == sum(size + size % 2 for size in sizes)
    assert 0 < found.first_seconds < found.whole_seconds


def test_the_journal_and_the_log_of_associations_call_it_the_probe(store: Store) -> None:
    """Never by the title of the day, which opens the door."""
    with served(store) as address:
        fetch(store, address)
    (entry,) = [each for each in store.rig.entries() if each.event == "retrieved"]
    assert (entry.actor, json.loads(entry.body)["destination"]) == ("probe", "probe")
    with store.rig.committer.read() as connection:
        (logged,) = associations.latest(connection, limit=5)
    assert (logged.calling_ae_title, logged.retrieved) == ("probe", 5)


@pytest.mark.parametrize("title", ["probe", "PROBE", "PROBE-0000000000"])
def test_who_only_says_that_it_is_the_probe_is_a_stranger(store: Store, title: str) -> None:
    """A name that everybody knows opens nothing where unknown peers are refused."""
    with served(store) as address:
        found = fetch(store, address, title=title)
    assert found.instances == 0 and "calling ae title not recognised" in found.problem


def test_a_stranger_that_is_let_in_is_called_what_it_calls_itself(store: Store) -> None:
    """Its retrieves are those of a peer."""
    with served(store, settings=DicomSettings(port=0)) as address:
        fetch(store, address, title="PROBE-0000000000")
    (entry,) = [each for each in store.rig.entries() if each.event == "retrieved"]
    assert entry.actor == "PROBE-0000000000"


def test_what_does_not_come_is_a_problem(store: Store) -> None:
    """So many of so many, by the status of the archive."""
    store.path(f"{ROOT}.1.1.2").unlink()
    with served(store) as address:
        found = fetch(store, address)
    assert (found.instances, found.problem) == (4, "status B000")


def test_less_than_was_asked_for_is_a_problem_whatever_the_status(store: Store) -> None:
    """An archive that has lost a row says success."""
    expected = series(store)
    store.put(ct_dataset(1, series=2))
    with served(store) as address:
        connect = partial(
            request_association,
            calling_ae_title=TITLE,
            limits=Limits(idle_seconds=5, max_pdu_bytes=1 << 20),
            connect_seconds=5.0,
            io_seconds=5.0,
        )
        found = ProbeRequestor(connect, Destination("DRIMBOX", *address)).fetch([*expected, expected[0]])
    assert (found.instances, found.problem) == (5, "5 of 6 came")


def test_nobody_there_is_a_problem(store: Store) -> None:
    """With what the system says; the time is that until it was known."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    found = fetch(store, address)
    assert (found.instances, found.problem) == (0, "Connection refused")
    assert found.first_seconds == pytest.approx(found.whole_seconds, abs=0.5)


def aborting(association: Association, _message: Message) -> None:
    """Abort, whatever is asked."""
    association.abort()


def echoing(association: Association, message: Message) -> None:
    """Answer something else."""
    association.read_dataset(message, limit_bytes=1 << 20)
    request: Command = {dimse.COMMAND_FIELD: dimse.C_ECHO_RQ, dimse.MESSAGE_ID: 1, dimse.DATASET_TYPE: dimse.NO_DATASET}
    association.send_message(message.context, request)


def failing(association: Association, message: Message) -> None:
    """Answer that it cannot be done."""
    association.read_dataset(message, limit_bytes=1 << 20)
    association.send_message(message.context, dimse.response_to(message.command, 0xC000))


@pytest.mark.parametrize(
    ("handler", "problem"), [(aborting, "PeerAborted"), (echoing, "PduError"), (failing, "status C000")]
)
def test_an_archive_that_misbehaves_is_a_problem(store: Store, handler: Handler, problem: str) -> None:
    """And never an exception: the next probe comes."""
    with served(store, handler) as address:
        assert fetch(store, address).problem == problem
