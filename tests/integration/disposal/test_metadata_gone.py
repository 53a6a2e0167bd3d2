"""The metadata kept of a study go with it: before the certificate, and the certificate waits for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archive.services.destroy import Destruction
from archive.services.remains import METADATA
from archive.services.retrieve import Retrieve
from archive.services.series_metadata import SeriesMetadata, metadata_cache
from tests.integration.disposal.conftest import OLGA, Office, nothing, study_uid


def described(office: Office, folder: Path, *studies: int) -> None:
    """Have studies described, as by somebody who looks at them."""
    retrieve = Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot)
    kept = SeriesMetadata(retrieve, metadata_cache(folder, 0), lambda instance, _: b"MOREAU", b",".join)
    for study in studies:
        assert list(kept.of_study(study_uid(study), by="rose"))


def destruction(office: Office, folder: Path) -> Destruction:
    """Return what destroys, with that cache beside."""
    return replace(office.destruction(), stores=replace(office.stores, cache=folder))


def test_nothing_of_a_destroyed_study_is_kept(office: Office, tmp_path: Path) -> None:
    """Entries of the studies of the list go, those of others stay, and the certificate is signed."""
    folder = tmp_path / "cache"
    office.store(9, exam_on="20200101")
    list_id = office.ready(1, 2)
    described(office, folder, 1, 2, 9)
    report = destruction(office, folder).destroy(list_id, who=OLGA, progress=nothing)
    assert (report.left, report.certificate is not None) == ([], True)
    (entry,) = (folder / METADATA).iterdir()
    assert study_uid(9).encode() in entry.read_bytes()


def test_the_certificate_waits_for_what_cannot_be_taken_away(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails leaves the list undone and says where; once it works again, the same command ends it."""
    folder = tmp_path / "cache"
    list_id = office.ready(1)
    described(office, folder, 1)

    def fail(_folder: Path, _key: str) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("archive.services.remains.forget_pack", fail)
        report = destruction(office, folder).destroy(list_id, who=OLGA, progress=nothing)
    assert report.left == [(f"{METADATA}/{study_uid(1)}", "Input/output error")]
    assert report.certificate is None
    report = destruction(office, folder).destroy(list_id, who=OLGA, progress=nothing)
    assert (report.left, report.certificate is not None) == ([], True)
    assert list((folder / METADATA).iterdir()) == []
