"""C-STORE from DCMTK's storescu: every transfer syntax as it comes, byte for byte, in the right site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import (
    _read_file_meta_info,  # the only way to the data set's offset
    read_preamble,
)

from benchmarks import wire
from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import run, storescu
from tests.objects import ROOT, ct_dataset, dataset_bytes, write_series
from tests.raw_scu import open_scu

SITES = """
default_site = "hopital"
[[sites]]
name = "hopital"
regime = "hospital"
kind = "public"
[[sites]]
name = "cabinet"
regime = "private"
kind = "practice"
calling_ae_titles = ["CABINET1"]
"""

FILES = {
    "implicit": ("rtplan.dcm", "-xi"),
    "explicit": ("CT_small.dcm", "-xe"),
    "big endian": ("rtdose_expb_1frame.dcm", "-xb"),
    "deflated": ("image_dfl.dcm", "-xd"),
    "JPEG baseline": ("SC_rgb_small_odd_jpeg.dcm", "-xy"),
    "JPEG extended": ("JPGExtended.dcm", "-xx"),
    "JPEG lossless": ("SC_rgb_jpeg_gdcm.dcm", "-xs"),
    "JPEG-LS": ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
    "JPEG 2000 lossless": ("MR_small_jp2klossless.dcm", "-xv"),
    "JPEG 2000": ("JPEG2000.dcm", "-xw"),
    "RLE": ("SC_rgb_rle.dcm", "-xr"),
}
UNKNOWN_TO_DCMTK = {
    "HTJ2K lossless": "1.2.840.10008.1.2.4.201",
    "HTJ2K RPCL": "1.2.840.10008.1.2.4.202",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
    "JPEG XL lossless": "1.2.840.10008.1.2.4.110",
    "JPEG XL": "1.2.840.10008.1.2.4.112",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """One archive with two sites for the whole module."""
    with running_archive(tmp_path_factory.mktemp("store") / "home", config=SITES) as running:
        yield running


def _stored(archive: ArchiveProcess) -> set[Path]:
    return set(archive.home.glob("hot/*/*/*.dcm"))


def _dataset_of(path: Path) -> bytes:
    """Return the bytes behind the file meta."""
    with path.open("rb") as file:
        read_preamble(file, True)
        _read_file_meta_info(file)
        return file.read()


def _with_own_uid(source: Path, copy: Path, number: int) -> Path:
    """Copy a file under a SOP Instance UID of its own, same length: pydicom's files share theirs."""
    raw = source.read_bytes()
    uid = str(dcmread(source, stop_before_pixels=True).SOPInstanceUID)
    copy.write_bytes(raw.replace(uid.encode(), f"{uid[:-3]}{100 + number}".encode()))
    return copy


@pytest.mark.parametrize("name", FILES)
def test_every_transfer_syntax_is_stored_as_it_comes(archive: ArchiveProcess, tmp_path: Path, name: str) -> None:
    """What storescu sends in a syntax is on disk in that syntax with the same values; only it re-encodes lengths."""
    filename, option = FILES[name]
    source = _with_own_uid(Path(str(get_testdata_file(filename))), tmp_path / "source.dcm", list(FILES).index(name))
    before = _stored(archive)
    result = storescu(archive, option, source)
    assert result.returncode == 0, result.stderr
    assert "Store Response (Success)" in result.stderr + result.stdout
    (stored,) = _stored(archive) - before
    sent, kept = dcmread(source), dcmread(stored)
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert kept.get("PixelData") == sent.get("PixelData")
    for element in sent:
        if element.tag.element and element.tag.group < 0x7FE0:  # group lengths, paddings and OW/OB are the tool's
            assert kept[element.tag] == element


@pytest.mark.parametrize("name", UNKNOWN_TO_DCMTK)
def test_syntaxes_newer_than_the_tools_are_stored_to_the_byte(archive: ArchiveProcess, name: str) -> None:
    """HTJ2K and JPEG XL objects come and stay as they are."""
    number = 700 + list(UNKNOWN_TO_DCMTK).index(name)
    data = dataset_bytes(ct_dataset(number))
    before = _stored(archive)
    with open_scu(archive, transfer_syntax=UNKNOWN_TO_DCMTK[name]) as scu:
        assert scu.store(f"{ROOT}.1.1.{number}", data) == (0, "")
    (stored,) = _stored(archive) - before
    assert _dataset_of(stored) == data


def test_a_folder_is_pushed_in_one_association(archive: ArchiveProcess, tmp_path: Path) -> None:
    """Forty images in one association: forty files, and a second push changes nothing."""
    write_series(tmp_path / "series", 40, study=9)
    before = _stored(archive)
    assert storescu(archive, "+sd", tmp_path / "series").returncode == 0
    assert len(_stored(archive) - before) == 40
    assert storescu(archive, "+sd", tmp_path / "series").returncode == 0
    assert len(_stored(archive) - before) == 40


def test_the_stored_bytes_are_the_bytes_sent(archive: ArchiveProcess) -> None:
    """Odd padding, private elements and element lengths are kept: the data set on disk equals the one on the wire."""
    ds = ct_dataset(800)
    block = ds.private_block(0x0029, "ACME", create=True)
    block.add_new(1, "UN", b"\x01\x02\x03\x04")
    data = dataset_bytes(ds) + b"\xfc\xff\xfc\xffOB\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"
    before = _stored(archive)
    with open_scu(archive) as scu:
        assert scu.store(f"{ROOT}.1.1.800", data)[0] == 0
    (stored,) = _stored(archive) - before
    assert _dataset_of(stored) == data


def test_a_study_belongs_to_the_site_of_its_sender(archive: ArchiveProcess) -> None:
    """The calling AE title decides the site; an unlisted one gives the default site."""
    for study, calling, site in ((21, "CABINET1", "cabinet"), (22, "ANYONE", "hopital")):
        data = dataset_bytes(ct_dataset(1, study=study))
        with open_scu(archive, calling=calling) as scu:
            assert scu.store(f"{ROOT}.{study}.1.1", data)[0] == 0
            scu.request(wire.ECHO_RQ, wire.VERIFICATION)
            scu.receive()
        archive_site = _site_of(archive, f"{ROOT}.{study}")
        assert archive_site == site


def _site_of(archive: ArchiveProcess, study_instance_uid: str) -> str:
    return str(*archive.index_row("SELECT site FROM study WHERE study_instance_uid = ?", study_instance_uid))


def test_verification_is_answered(archive: ArchiveProcess) -> None:
    """DCMTK's echoscu gets success."""
    result = run("echoscu", "-v", "-aec", archive.ae_title, archive.host, str(archive.port))
    assert result.returncode == 0
    assert "Echo Response (Success)" in result.stderr + result.stdout


def test_large_and_small_pdus_store_the_same(archive: ArchiveProcess, tmp_path: Path) -> None:
    """A sender limited to 4 KiB PDUs stores the same bytes as one with the largest."""
    small, large = write_series(tmp_path, 2, study=10)
    before = _stored(archive)
    assert storescu(archive, "--max-send-pdu", "4096", small).returncode == 0
    assert storescu(archive, "--max-send-pdu", "131072", large).returncode == 0
    stored = sorted(_stored(archive) - before)
    assert {_dataset_of(path) for path in stored} == {_dataset_of(small), _dataset_of(large)}
