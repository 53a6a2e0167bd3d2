"""Makes lossy packs without a codec, for the tests of what happens around them; must not be taken for compression.

The copies are other instances with other UIDs and pixels, in packs like those of ``tiering.lossy_series``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from archive.index.packs import PackRow
from archive.services.lossy_members import derived_header
from archive.services.migrate import LossyPack, LossyResult
from archive.services.remains import PACK, Stores
from tests.objects import dataset_bytes
from tiering.pack import MemberFacts, PackedMember, PackWriter, SeriesFacts, read_manifest


def successor_uid(uid: str) -> str:
    """Return the UID of a copy."""
    return f"{uid}.99"


@dataclass
class PlainLossy:
    """Makes copies whose pixels are all zero; ``keeps_uids`` as the setting does."""

    stores: Stores
    keeps_uids: bool = False

    def make(self, series: Sequence[PackRow], folder: Path) -> LossyResult:
        """Write a lossy pack for each hot one."""
        made = [self._pack(pack, folder / f"{number}.zip") for number, pack in enumerate(series)]
        return LossyResult(made, {pack.key: '{"format":"test"}' for pack in series})

    def _pack(self, hot: PackRow, path: Path) -> LossyPack:
        data = self.stores.path(PACK, hot.key).read_bytes()
        manifest = read_manifest(lambda start, length: data[start : start + length], len(data))
        series = manifest.series
        facts = SeriesFacts(
            site=series.site,
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            generation=series.generation,
            created_at=series.created_at,
            metadata={
                "received_sizes": {
                    self.uid(each.sop_instance_uid): each.length - each.header_size for each in manifest.members
                },
                "lossy": {"format": "test"},
            },
        )
        target = io.BytesIO()
        writer = PackWriter(target, series=facts)
        for member in manifest.members:
            self._add(writer, member, data[member.offset : member.offset + member.length])
        packed = writer.finish()
        path.write_bytes(target.getvalue())
        return LossyPack(hot.key, path, packed.size_bytes, bytes.fromhex(packed.sha256))

    def uid(self, uid: str) -> str:
        """Return the UID of a copy."""
        return uid if self.keeps_uids else successor_uid(uid)

    def _add(self, writer: PackWriter, member: PackedMember, file: bytes) -> None:
        ds = dcmread(io.BytesIO(file))
        ds.SOPInstanceUID = self.uid(member.sop_instance_uid)
        ds.PixelData = bytes(len(ds.PixelData))
        ds.LossyImageCompression = "01"
        content = dataset_bytes(ds, ExplicitVRLittleEndian)
        header = derived_header(
            file[: member.header_size],
            sop_instance_uid=ds.SOPInstanceUID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            dataset_sha256=sha256(content).digest(),
            dataset_size=len(content),
        )
        facts = MemberFacts(
            sop_instance_uid=ds.SOPInstanceUID,
            sop_class_uid=member.sop_class_uid,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            header_size=len(header),
            dataset_sha256=sha256(content).hexdigest(),
            received_sha256=member.received_sha256,
            received_transfer_syntax_uid=member.received_transfer_syntax_uid,
            derived_from=member.sop_instance_uid,
        )
        writer.add(facts, lambda: [header, content])
