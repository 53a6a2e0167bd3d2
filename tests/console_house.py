"""An archive with something for every page of the console, in this process, on its real port or without one.

Objects come in as files do, people and facts through the services; whoever asks is told by a header, since proving
who one is is tested elsewhere.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr
from pydicom.dataset import Dataset
from starlette.types import ASGIApp, Scope

from archive.bootstrap_console import console_surface
from archive.bootstrap_disposal import assessor_of, destruction_of, disposals_of
from archive.bootstrap_monitoring import Watching, watching_of
from archive.bootstrap_tiering import migration_of, sealer_of, trimmer_of
from archive.clock import utc_now
from archive.config import Settings, Site
from archive.config_sections import DisposalSettings, IndexSettings, SealingSettings
from archive.config_tiering import ColdSettings, LossySettings
from archive.http.guard import Bounds, Guard
from archive.index import arrivals, set_aside, study_details
from archive.opening import Core, open_core
from archive.opening_cold import create_folder
from archive.services.clock_trust import ClockTrust
from archive.services.death_search import DeathSearch
from archive.services.destroy import Destroyed
from archive.services.facts import NewFact, changes
from archive.services.holds import Holds, NewHold
from archive.services.importer import Importer
from archive.services.people import Person
from archive.services.study_view import reference_of
from tests.insee import insee_line
from tests.objects import ROOT, changed, ct_dataset, part10_bytes
from tests.phantoms import slice_of
from tiering.disk import OsDisk

WHO: Final = "x-person"
SCRIPT: Final = '<script>document.title="broken"</script>'
IMAGE: Final = '"><img src=x onerror=document.title=1>'


def person(name: str, *roles: str, sites: tuple[str, ...] = ()) -> Person:
    """Return somebody who proved who they are."""
    return Person(name, name.title(), frozenset(roles), frozenset(sites), via="passkey")


PEOPLE: Final[Mapping[str, Person]] = {
    each.name: each
    for each in (
        person("anne", "archivist"),
        person("olga", "operator"),
        person("diane", "director"),
        person("david", "dim_physician"),
        person("aude", "archives_officer"),
        person("rita", "radiologist"),
        person("gaston", "auditor"),
        person("manu", "manipulator"),
        person("clara", "archivist", "operator", "auditor", "dim_physician"),
        person("nina", "archivist", "auditor", sites=("Nord",)),
    )
}


def whoever(scope: Scope) -> Person | None:
    """Say who asks, as the header has it."""
    name = dict(scope["headers"]).get(WHO.encode(), b"").decode()
    return PEOPLE.get(name)


def study_uid(study: int) -> str:
    """Return the Study Instance UID of a study of the house."""
    return f"{ROOT}.{study}"


@dataclass
class Browser:
    """Asks for pages and sends their forms, keeping cookies as a browser does."""

    application: ASGIApp
    headers: dict[str, str]
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page below /console."""
        return self._send("GET", path, headers=headers)

    def post(self, path: str, fields: Mapping[str, object] | None = None, *, follow: bool = True) -> httpx.Response:
        """Send a form with the token of a page of ours; go on to where it leads."""
        token = re.search('name="form_token" value="([0-9a-f]+)"', self.get("/holds").text)
        told = {"form_token": token[1] if token else "", **(fields or {})}
        return self.send(path, told, follow=follow)

    def send(self, path: str, fields: Mapping[str, object], *, follow: bool = False) -> httpx.Response:
        """Send a form just as it is given."""
        return self._send("POST", path, data=dict(fields), follow_redirects=follow)

    def text(self, path: str) -> str:
        """Return what a page says, without its marks."""
        return words_of(self.get(path).text)

    def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://console.test", headers=self.headers, cookies=self.cookies
            ) as client:
                answer = await client.request(method, f"/console{path}", **given)
                self.cookies = client.cookies
                return answer

        with ThreadPoolExecutor(1) as thread:  # Playwright has a loop running in the test's own
            return thread.submit(asyncio.run, send()).result()


def words_of(page: str) -> str:
    """Return the words of a page in one line."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


@dataclass
class House:
    """The archive, and its console as an ASGI application behind the real door."""

    core: Core
    folder: Path
    application: ASGIApp
    watching: Watching

    def browser(self, name: str, language: str = "en") -> Browser:
        """Return a browser without a screen, of one person."""
        return Browser(self.application, {WHO: name, "accept-language": language})

    def receive(self, *objects: Dataset) -> None:
        """Take objects in, as an import does, and assess their studies."""
        place = self.folder / "incoming"
        place.mkdir(exist_ok=True)
        for ds in objects:
            (place / f"{ds.SOPInstanceUID}.dcm").write_bytes(part10_bytes(ds))
        core, settings = self.core, self.core.settings
        importer = Importer(core.ingest, core.committer, utc_now, settings.default_site, settings.dicom.ae_title)
        importer.run([place], lambda _done, _total: None)
        for file in place.iterdir():
            file.unlink()
        self.settle()

    def settle(self) -> None:
        """Assess what arrived or changed."""
        self.core.committer.barrier()
        ClockTrust(self.core.ledger).observe()
        while assessor_of(self.core).settle():
            pass

    def reference(self, study: int) -> str:
        """Return what a study is in an address."""
        with self.core.committer.read() as connection:
            return reference_of(study_details.by_uid(connection, [study_uid(study)])[study_uid(study)])

    def find_death(self) -> None:
        """Search the archive for the one death that a file of INSEE has."""
        file = self.folder / "deces.txt"
        file.write_text(insee_line() + "\n")
        search = DeathSearch(self.core.ledger)
        search.run(file, sites=frozenset({"default"}), actor="anne", progress=lambda _done, _total: None)

    def tell(self, patient_id: str, kind: str, start: str | None, end: str | None = None) -> None:
        """Tell a fact about a patient."""
        fact = NewFact("default", patient_id, kind, "hl7:GAM", f"{patient_id}-{kind}-{start}", start, end)
        self.core.ledger.act("anne", lambda connection: changes(connection, [fact]))

    def journal(self, event: str) -> list[dict[str, object]]:
        """Return the bodies of the journal's entries of a kind."""
        from archive.index import journal

        with self.core.committer.read() as connection:
            return [json.loads(row.body) for row in journal.iter_entries(connection) if row.event == event]

    def destroyed(self, *studies: int) -> Destroyed:
        """Eliminate studies, from the list to the certificate."""
        disposals = disposals_of(self.core)
        list_id = disposals.propose("default", who=PEOPLE["anne"]).list_id
        assert list_id is not None
        others = {item.study_instance_uid for item in disposals.show(list_id).items} - set(map(study_uid, studies))
        if others:
            disposals.refuse(list_id, others, "not these", who=PEOPLE["anne"])
        for name, office in (("diane", "director"), ("david", "dim_physician"), ("aude", "archives_officer")):
            reference = "VISA-1" if name == "aude" else None
            disposals.approve(list_id, office, who=PEOPLE[name], reference=reference)
        return destruction_of(self.core).destroy(list_id, who=PEOPLE["anne"], progress=lambda _done, _total: None)


def settings_of(folder: Path, index_url: str | None = None) -> Settings:
    """Return settings under which everything can be tried within a minute."""
    return Settings(
        index=IndexSettings(url=None if index_url is None else SecretStr(index_url)),
        home=folder / "home",
        sites=(Site(name="default", finess="750000001"), Site(name="Nord", kind="private_clinic")),
        disposal=DisposalSettings(waiting_days=0),
        cold=ColdSettings(store="folder", folder=folder / "cold"),
        lossy=LossySettings(enabled=True),
        sealing=SealingSettings(quiet_minutes=0, grace_hours=0),
    )


@contextmanager
def open_house(folder: Path, index_url: str | None = None) -> Iterator[House]:
    """Lend an empty archive with its console, its index on SQLite unless an address is given."""
    settings = settings_of(folder, index_url)
    create_folder(settings.cold, OsDisk())
    with open_core(settings) as core:
        watching = watching_of(core)
        surface = console_surface(core, watching)
        yield House(core, folder, Guard((surface,), (whoever,), Bounds(64, 30, 30)), watching)


def images(study: int, count: int = 2, *, exam_on: str = "20000302", **values: object) -> list[Dataset]:
    """Return the images of a study of a patient born in 1950."""
    given = {"StudyDate": exam_on, "PatientBirthDate": "19500714", **values}
    return [changed(ct_dataset(number, study=study), given) for number in range(1, count + 1)]


def slices(study: int, count: int = 2) -> list[Dataset]:
    """Return the images of a study of 2008 that may go cold with loss."""
    found = []
    for number, ds in enumerate(images(study, count, exam_on="20080302", PatientBirthDate="19700101"), start=1):
        samples = slice_of(number)
        ds.Rows, ds.Columns = samples.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
        ds.PixelData = samples.astype("<i2").tobytes()
        found.append(ds)
    return found


def furnish(house: House) -> None:
    """Fill the house: kept and due studies, facts, a death to confirm, a contradiction, holds, lists, quarantine."""
    recent = (utc_now() - timedelta(days=200)).strftime("%Y%m%d")
    house.receive(
        *images(1, StudyDescription="SCANNER THORACIQUE"),
        *images(2, exam_on="20150610", PatientBirthDate="20090120", PatientName="PETIT^Léo", PatientSex="M"),
        *images(3, exam_on=recent, PatientName=SCRIPT, StudyDescription=IMAGE, SeriesDescription=SCRIPT),
        *images(4, exam_on="20010911", PatientName="DURAND^Paul", PatientSex="M"),
        *images(5, exam_on="20120505", PatientBirthDate="19800101"),
        *slices(7),
        *images(6, exam_on="19990304", StudyDescription="IRM CEREBRALE", Modality="MR"),
    )
    house.receive(changed(images(1, 1)[0], {"StudyDescription": "OTHER BYTES"}))
    house.tell("PID1", "visit", "2002-05-01", "2002-05-09")
    house.tell("PID4", "visit", "2004-02-01", "2004-02-03")
    house.tell("PID4", "appeal", "2005-01-01", "2007-06-30")
    house.tell("PID4", "death", "2019-08-20")
    house.tell("PID5", "birth", "2013-01-01")
    house.find_death()
    hold = NewHold("default", "Recherche <b>clinique</b>", "Tribunal de Nantes", "RG 24/0117", patient_ids=("PID4",))
    Holds(house.core.ledger).place(hold, actor="anne", sites=None)
    with house.core.database.write(synced=False) as connection:
        set_aside.record_failure(connection, study_uid(2), "the codec gave other pixels", utc_now())
    house.settle()
    house.destroyed(6)
    migrate(house, 7)
    arrive(house)
    house.watching.keeper.refresh()


def arrive(house: House, weeks: int = 6) -> None:
    """Have received images for weeks, of CT as always and of MR hardly any since yesterday."""
    now = utc_now()
    counts = {}
    for back in range(weeks * 7):
        hour = arrivals.hour_of((now - timedelta(days=back)).replace(hour=1))
        counts[hour, "default", "CT"] = (400 + 10 * (back % 7), 200_000_000)
        counts[hour, "default", "MR"] = (30 if back < 2 else 300, 90_000_000 if back > 1 else 9_000_000)
    with house.core.database.write(synced=False) as connection:
        arrivals.add(connection, counts)


def migrate(house: House, study: int) -> None:
    """Bring a study to the cold tier, lossy where it may be."""
    sealer_of(house.core).run()
    trimmer_of(house.core).run()
    migration_of(house.core, actor="olga").migrator.migrate(study_uid(study))
