"""Who may see which study, and what the journal says of who looked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from archive.errors import InstanceNotFound, InvalidUid, NoSuchStudy, NotAllowed, StudyDestroyed
from archive.index import journal, tombstones
from archive.index.tombstones import Tombstone
from archive.services.accesses import Access
from archive.services.people import Person
from archive.services.viewing import Viewing, visible_sites
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import NOON, Shelf, open_shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf with two studies of the site "default"."""
    with open_shelf(tmp_path) as shelf:
        for study, series, number in ((1, 1, 2), (1, 1, 1), (1, 2, 3), (2, 1, 1)):
            shelf.put(ct_dataset(number, study=study, series=series))
        yield shelf


def somebody(*roles: str, sites: tuple[str, ...] = (), reason: str = "") -> Access:
    """Return somebody who looks."""
    person = Person("rose", "Rose Leblanc", frozenset(roles or ("radiologist",)), frozenset(sites), "passkey")
    return Access(person, "192.0.2.9", reason)


def viewed(shelf: Shelf) -> list[dict[str, object]]:
    """Return the bodies of the journal's entries of who looked."""
    with shelf.committer.read() as connection:
        return [json.loads(row.body) for row in journal.iter_entries(connection) if row.event == "viewed"]


def test_everybody_sees_the_studies_of_their_sites(shelf: Shelf) -> None:
    """Who acts for every site, and who acts for this one, finds it; for who acts for another it is not here."""
    viewing = Viewing(shelf.retrieve)
    for access in (somebody(), somebody(sites=("Clinique", "default"))):
        assert [each.sop_instance_uid for each in viewing.find(access, f"{ROOT}.1")] == [
            f"{ROOT}.1.1.1",
            f"{ROOT}.1.1.2",
            f"{ROOT}.1.2.3",
        ]
    with pytest.raises(NoSuchStudy):
        viewing.find(somebody(sites=("Clinique",)), f"{ROOT}.1")


def test_not_everybody_sees_images(shelf: Shelf) -> None:
    """Who runs or checks the archive sees no image, of no site."""
    with pytest.raises(NotAllowed):
        Viewing(shelf.retrieve).find(somebody("operator"), f"{ROOT}.1")
    with pytest.raises(NotAllowed):
        visible_sites(somebody("auditor").person)
    assert visible_sites(somebody().person) is None
    assert visible_sites(somebody(sites=("A",)).person) == frozenset({"A"})


def test_series_and_instances_narrow(shelf: Shelf) -> None:
    """A series, or an instance of it, and nothing else; what is in another series is not there."""
    viewing, access, study = Viewing(shelf.retrieve), somebody(), f"{ROOT}.1"
    assert len(viewing.find(access, study, f"{study}.1")) == 2
    assert len(viewing.find(access, study, f"{study}.1", f"{study}.1.2")) == 1
    for series, instance in ((f"{study}.9", ""), (f"{study}.2", f"{study}.1.2"), (f"{ROOT}.2.1", "")):
        with pytest.raises(InstanceNotFound):
            viewing.find(access, study, series, instance)


@pytest.mark.parametrize(("study", "series", "instance"), [("1.*", "", ""), ("", "", ""), (f"{ROOT}.1", "a/b", "")])
def test_only_uids_name_anything(shelf: Shelf, study: str, series: str, instance: str) -> None:
    """Stars, paths and nothing are no UIDs."""
    with pytest.raises(InvalidUid):
        Viewing(shelf.retrieve).find(somebody(), study, series, instance)


def test_what_was_destroyed_is_told_to_who_may_see_all(shelf: Shelf) -> None:
    """A destroyed study is gone, and on which list; to who acts for some sites it is not here, like any other."""
    stone = Tombstone("1.9.1", "1.9", "D-2026-0001", bytes(32), NOON)
    shelf.committer.record(work=lambda connection: tombstones.add(connection, [stone]))
    with pytest.raises(StudyDestroyed):
        Viewing(shelf.retrieve).admit(somebody(), "1.9")
    with pytest.raises(NoSuchStudy) as caught:
        Viewing(shelf.retrieve).admit(somebody(sites=("default",)), "1.9")
    assert not isinstance(caught.value, StudyDestroyed)


def test_the_journal_says_who_looked_at_what_from_where_and_why(shelf: Shelf) -> None:
    """Person, name, roles, way in, address, reason, what and which study."""
    Viewing(shelf.retrieve).note(somebody(reason="second opinion"), f"{ROOT}.1", service="frames")
    assert viewed(shelf) == [
        {
            "full_name": "Rose Leblanc",
            "roles": ["radiologist"],
            "via": "passkey",
            "address": "192.0.2.9",
            "reason": "second opinion",
            "service": "frames",
            "study_instance_uid": f"{ROOT}.1",
            "repeated": 0,
        }
    ]


def test_a_viewer_that_asks_again_and_again_is_one_entry(shelf: Shelf) -> None:
    """Within ten minutes the same is told once; then with how often it was; anything else is told at once."""
    viewing = Viewing(shelf.retrieve, quiet=timedelta(minutes=10))
    for _ in range(5):
        viewing.note(somebody(), f"{ROOT}.1", service="frames")
    assert len(viewed(shelf)) == 1
    viewing.note(somebody(), f"{ROOT}.2", service="frames")
    viewing.note(somebody(), f"{ROOT}.1", service="metadata")
    viewing.note(somebody(reason="other"), f"{ROOT}.1", service="frames")
    assert len(viewed(shelf)) == 4
    shelf.clock.advance(minutes=10)
    viewing.note(somebody(), f"{ROOT}.1", service="frames")
    assert [body["repeated"] for body in viewed(shelf)] == [0, 0, 0, 0, 4]


def test_what_is_remembered_is_bounded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is forgotten is told again: nothing is lost."""
    monkeypatch.setattr("archive.services.viewing._REMEMBERED", 2)
    viewing = Viewing(shelf.retrieve)
    for service in ("a", "b", "c", "a"):
        viewing.note(somebody(), f"{ROOT}.1", service=service)
    assert [body["service"] for body in viewed(shelf)] == ["a", "b", "c", "a"]
