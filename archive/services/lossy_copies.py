"""Lossy packs for migration, made from hot packs on the local disk; must not put, switch or delete anything."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from archive.clock import Clock
from archive.index import cold
from archive.index.packs import PackRow
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.services.lossy_members import derived_header
from archive.services.migrate import LossyPack, LossyResult
from archive.services.pack_file import ReadBack
from archive.services.remains import PACK, Stores
from tiering.disk import read_range
from tiering.errors import TranscodeError
from tiering.lossy_rules import LossyRules
from tiering.lossy_series import LossyCodec, LossyMaking, NewHeader, copy_uid, make_lossy
from tiering.lossy_source import HotPackFile
from tiering.lossy_tables import load_gates
from tiering.pack import PackedMember, read_manifest
from tiering.references import may_name_images, referenced_uids

_LARGEST_REFERRING: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class LossyCopier:
    """Makes the lossy packs of one archive; ``keeps_uids``: copies keep the SOP Instance UIDs of their originals.

    ``rules_at`` returns the rules for what a site has, None when that is never lossy; ``codec`` is how frames are
    compressed. ``threads``: so many work on the frames of one series, with a ``pause`` before each frame.
    ``referring``: the packs of the study in which something may name these images, None for its hot ones.
    """

    committer: Committer
    stores: Stores
    clock: Clock
    rules_at: Callable[[str], LossyRules | None]
    keeps_uids: bool = False
    codec: LossyCodec = "htj2k"
    threads: int = 1
    pause: Callable[[], None] = lambda: None
    referring: Sequence[PackRow] | None = None

    def make(self, series: Sequence[PackRow], folder: Path) -> LossyResult:
        """Write the lossy packs of all hot packs of a series, or none of them; see ``tiering.lossy_series``."""
        with ExitStack() as stack:
            packs = [self._open(row, stack) for row in series]
            rules = self.rules_at(packs[0].manifest.series.site)
            if rules is None:
                return LossyResult((), {})
            making = LossyMaking(
                rules=rules,
                gates=load_gates(),
                make_header=_header,
                new_uid=(lambda uid, _: uid) if self.keeps_uids else copy_uid,
                now=self.clock,
                remarks={"referenced_by": list(self._referring(packs))},
                codec=self.codec,
                threads=self.threads,
                pause=self.pause,
            )
            made = make_lossy(packs, folder, making)
        written = [
            LossyPack(each.hot_key, each.path, each.facts.size_bytes, bytes.fromhex(each.facts.sha256))
            for each in made.packs
        ]
        return LossyResult(written, made.evidence)

    def _open(self, row: PackRow, stack: ExitStack) -> HotPackFile:
        path = self.stores.path(PACK, row.key)
        manifest = read_manifest(partial(read_range, self.stores.disk, path), row.size_bytes)
        file = stack.enter_context(io.BufferedReader(ReadBack(self.stores.disk, path, row.size_bytes), CHUNK_BYTES))
        return HotPackFile(row.key, manifest, cast(BinaryIO, file))

    def _referring(self, packs: Sequence[HotPackFile]) -> Iterator[Mapping[str, Any]]:
        """Yield which objects of the study name instances of these packs."""
        study = packs[0].manifest.series.study_instance_uid
        replaced = {member.sop_instance_uid for pack in packs for member in pack.manifest.members}
        for row in self._hot_packs(study) if self.referring is None else self.referring:
            with ExitStack() as stack:
                pack = self._open(row, stack)
                for member in pack.manifest.members:
                    named = _names(pack, member) & replaced
                    if named:
                        yield {
                            "sop_instance_uid": member.sop_instance_uid,
                            "sop_class_uid": member.sop_class_uid,
                            "instances": len(named),
                        }

    def _hot_packs(self, study: str) -> Sequence[PackRow]:
        with self.committer.read() as connection:
            return [each.row for each in cold.hot_packs(connection, study)]


def _names(pack: HotPackFile, member: PackedMember) -> set[str]:
    if not may_name_images(member.sop_class_uid) or member.length > _LARGEST_REFERRING:
        return set()
    try:
        return referenced_uids(pack.dataset(member), member.transfer_syntax_uid)
    except (TranscodeError, KeyError):
        return set()


def _header(original: bytes, new: NewHeader) -> bytes:
    return derived_header(
        original,
        sop_instance_uid=new.sop_instance_uid,
        transfer_syntax_uid=new.transfer_syntax_uid,
        dataset_sha256=new.dataset_sha256,
        dataset_size=new.dataset_size,
    )
