"""A header completed after reception is the header that would have been built with the digest known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from archive.part10.meta import Provenance, build_header, complete_header, parse_header

AT = datetime(2026, 11, 23, 6, 35, 29, 123456, tzinfo=UTC)
NASTY = st.sampled_from(["A", '"dataset_sha256":"', '","dataset_size":"', "é\\", "x" * 16])


def _provenance(calling: str = "MODALITY", site: str = "default") -> Provenance:
    return Provenance(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title=calling,
        called_ae_title="DRIMBOX",
        peer_address="127.0.0.1",
        site=site,
        received_at=AT,
    )


@given(st.binary(min_size=32, max_size=32), st.integers(0, 10**20 - 1), NASTY, NASTY)
def test_completing_equals_building(digest: bytes, size: int, calling: str, site: str) -> None:
    """Whatever the names in it, patching gives byte for byte what building gives, and reads back."""
    provenance = _provenance(calling, site)
    completed = complete_header(build_header(provenance), dataset_sha256=digest, dataset_size=size)
    assert completed == build_header(provenance, dataset_sha256=digest, dataset_size=size)
    stored = parse_header(completed)
    assert (stored.dataset_sha256, stored.dataset_size) == (digest, size)


@pytest.mark.parametrize(("digest", "size"), [(b"short", 1), (bytes(32), -1), (bytes(32), 10**20)])
def test_what_does_not_fit_is_refused(digest: bytes, size: int) -> None:
    """A digest or a size of another width would move the rest of the header."""
    with pytest.raises(ValueError, match="SHA-256"):
        complete_header(build_header(_provenance()), dataset_sha256=digest, dataset_size=size)
