"""What a manifest takes, how it is written and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.packing import NOON, SERIES, facts, pack
from tiering.errors import MalformedPack, UnknownPackVersion
from tiering.pack_manifest import (
    MAX_MEMBER_BYTES,
    Manifest,
    PackedMember,
    SeriesFacts,
    encode_manifest,
    is_uid,
    parse_manifest,
)

MEMBERS = pack(b"first", b"second")[1].members
MANIFEST = encode_manifest(SERIES, MEMBERS)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
SERIES_FACTS = st.builds(
    SeriesFacts,
    site=st.text(min_size=1, max_size=64),
    study_instance_uid=UIDS,
    series_instance_uid=UIDS,
    generation=st.integers(1, 10**6),
    created_at=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
    metadata=st.dictionaries(st.text(), JSON, max_size=3),
)
PACKED = st.builds(
    PackedMember,
    sop_instance_uid=UIDS,
    sop_class_uid=WORDS,
    transfer_syntax_uid=WORDS,
    header_size=st.integers(0, 1000),
    dataset_sha256=DIGESTS,
    received_sha256=DIGESTS,
    received_transfer_syntax_uid=WORDS,
    pixel_sha256=st.none() | DIGESTS,
    derived_from=st.none() | UIDS,
    instance_number=st.none() | st.integers(-(2**31), 2**31),
    name=WORDS,
    offset=st.integers(0, 2**62),
    length=st.integers(1000, 2**62),
    sha256=DIGESTS,
    crc32=st.integers(0, 2**32 - 1),
)


@given(SERIES_FACTS, st.lists(PACKED, max_size=4, unique_by=lambda member: member.sop_instance_uid))
def test_facts_come_back(series: SeriesFacts, members: list[PackedMember]) -> None:
    """Whatever is known of a series and its members is read back as it was, type by type."""
    data = encode_manifest(series, members)
    assert parse_manifest(data) == Manifest(series, tuple(members))
    assert len(encode_manifest(series, [])) + len(members) * MAX_MEMBER_BYTES >= len(data)


def test_a_person_can_read_it() -> None:
    """The manifest is plain JSON in ASCII: format, series, members, each fact by its name."""
    content = json.loads(MANIFEST)
    assert set(content) == {"format", "series", "members"}
    assert content["series"]["created_at"] == "2026-11-23T12:00:05.000000+00:00"
    assert content["series"]["metadata"]["description"] == "Thorax é"
    assert content["members"][1]["sop_instance_uid"] == "2.25.7.1.2"
    assert content["members"][1]["name"] == "000002.dcm"
    assert set(content["members"][0]) == {
        *"sop_instance_uid sop_class_uid transfer_syntax_uid header_size dataset_sha256 received_sha256".split(),
        *"received_transfer_syntax_uid pixel_sha256 derived_from instance_number".split(),
        *"name offset length sha256 crc32".split(),
    }
    assert MANIFEST.isascii()
    assert b'": ' not in MANIFEST


def test_one_moment_one_form() -> None:
    """The same moment in another time zone is the same manifest."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=2)))
    assert encode_manifest(replace(SERIES, created_at=elsewhere), MEMBERS) == MANIFEST


def test_one_content_one_form() -> None:
    """The same metadata in another order are the same manifest."""
    turned = dict(reversed(list(SERIES.metadata.items())))
    assert list(turned) != list(SERIES.metadata)
    assert encode_manifest(replace(SERIES, metadata=turned), MEMBERS) == MANIFEST


def changed(change: Callable[[Any], object]) -> bytes:
    """Return the manifest after a change to its content, in canonical form."""
    content = json.loads(MANIFEST)
    change(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(more=1),
        lambda content: content.pop("series"),
        lambda content: content.update(members={}),
        lambda content: content.update(members=[1]),
        lambda content: content.update(members="ab"),
        lambda content: content["members"][0].update(more=1),
        lambda content: content["members"][0].pop("crc32"),
        lambda content: content["members"][0].update(crc32="1"),
        lambda content: content["members"][0].update(crc32=-1),
        lambda content: content["members"][0].update(crc32=True),
        lambda content: content["members"][0].update(offset=1.0),
        lambda content: content["members"][0].update(offset=2**64),
        lambda content: content["members"][0].update(header_size=6),
        lambda content: content["members"][0].update(header_size=-1),
        lambda content: content["members"][0].update(name=7),
        lambda content: content["members"][0].update(received_sha256="0"),
        lambda content: content["members"][0].update(sha256="0" * 63),
        lambda content: content["members"][0].update(sha256="A" * 64),
        lambda content: content["members"][0].update(dataset_sha256=None),
        lambda content: content["members"][0].update(pixel_sha256=""),
        lambda content: content["members"][0].update(sop_instance_uid="../1"),
        lambda content: content["members"][0].update(sop_class_uid="x" * 65),
        lambda content: content["members"][0].update(sop_class_uid="\n"),
        lambda content: content["members"][0].update(derived_from="original"),
        lambda content: content["members"][0].update(instance_number="1"),
        lambda content: content["members"][1].update(sop_instance_uid="2.25.7.1.1"),
        lambda content: content["series"].update(site=""),
        lambda content: content["series"].update(site="x" * 65),
        lambda content: content["series"].update(generation=0),
        lambda content: content["series"].update(generation="1"),
        lambda content: content["series"].update(study_instance_uid="1..2"),
        lambda content: content["series"].update(series_instance_uid=7),
        lambda content: content["series"].update(created_at="2026-11-23T12:00:05.000000"),
        lambda content: content["series"].update(created_at="yesterday"),
        lambda content: content["series"].update(created_at=7),
        lambda content: content["series"].update(created_at="0001-01-01T00:00:00.000000+23:00"),
        lambda content: content["series"].update(metadata=[]),
        lambda content: content["series"].update(metadata=None),
    ],
)
def test_refuses_other_content(change: Callable[[Any], object]) -> None:
    """A fact that is missing, unknown, of another type or out of its range makes the manifest unreadable."""
    with pytest.raises(MalformedPack, match="its manifest"):
        parse_manifest(changed(change))


@pytest.mark.parametrize(
    "data",
    [
        MANIFEST + b"\n",
        MANIFEST.replace(b":", b": ", 1),
        MANIFEST.replace(b'"format"', b'"\\u0066ormat"'),
        MANIFEST.replace(b"+00:00", b"Z"),
        MANIFEST.replace(b"\\u00e9", "é".encode()),
        MANIFEST.replace(b'"number":3', b'"number":3,"number":3'),
        MANIFEST.replace(b'"number":3', b'"number":NaN'),
        MANIFEST.replace(b'"number":3', b'"number":3.00'),
        MANIFEST.decode().encode("utf-16"),
    ],
)
def test_refuses_another_form(data: bytes) -> None:
    """The same content written in another way is not this manifest: its digest would be another."""
    assert data != MANIFEST
    with pytest.raises(MalformedPack, match="its manifest"):
        parse_manifest(data)


@pytest.mark.parametrize("version", ["drimbox-series-pack/2", "x" * 1000, 7, None])
def test_refuses_another_format(version: object) -> None:
    """Another format is named in the error, whatever else there is, and not at length."""
    with pytest.raises(UnknownPackVersion) as caught:
        parse_manifest(json.dumps({"format": version, "unknown": 1}).encode())
    assert str(version)[:40] in str(caught.value)
    assert len(str(caught.value)) < 150


def test_an_error_does_not_tell_the_content() -> None:
    """What cannot be read may name a patient: the error does not quote it."""
    data = changed(lambda content: content["series"].update(site="", metadata={"patient": "MOREAU"}))
    with pytest.raises(MalformedPack) as caught:
        parse_manifest(data)
    assert "MOREAU" not in str(caught.value)


def test_facts_are_checked_when_they_are_made() -> None:
    """What no manifest would take is refused where it arises."""
    with pytest.raises(ValueError, match="created_at"):
        replace(SERIES, created_at=datetime(2026, 11, 23))
    with pytest.raises(ValueError, match="dataset_sha256"):
        facts(1, b"", dataset_sha256="abc")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.2.840", True), ("0", True), ("1.02", True), ("", False), ("1.", False), ("1" * 65, False), (1, False)],
)
def test_uids(value: object, expected: bool) -> None:
    """A UID is digits and dots, 64 at most; leading zeros are let through."""
    assert is_uid(value) is expected
