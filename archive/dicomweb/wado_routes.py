"""Puts the retrieves of DICOMweb on their paths (PS3.18 section 10.4); must not answer a request itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from starlette.routing import BaseRoute, Route

from archive.dicomweb import json_model
from archive.dicomweb.streaming import Threads
from archive.dicomweb.wado import Objects
from archive.dicomweb.wado_frames import FrameRequests
from archive.dicomweb.wado_metadata import Metadata, describe
from archive.dicomweb.wado_rendered import Renderings
from archive.services.pictures import Pictures
from archive.services.retrieve import Retrieve
from archive.services.series_metadata import SeriesMetadata, metadata_cache
from archive.services.viewing import Viewing

_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_FRAMES = _INSTANCE + "/frames/{frames}"


class Wado:
    """The retrieves of an archive: its routes, and what has to be stopped with them."""

    def __init__(self, retrieve: Retrieve, cache_folder: Path, min_free_bytes: int) -> None:
        retrieve = _impatient(retrieve)
        self.threads = Threads()
        self.metadata = SeriesMetadata(
            retrieve,
            metadata_cache(cache_folder, min_free_bytes),
            partial(describe, retrieve=retrieve),
            json_model.array,
        )
        viewing, pictures = Viewing(retrieve), Pictures(retrieve)
        self._objects = Objects(viewing, self.threads)
        self._metadata = Metadata(viewing, self.metadata, self.threads)
        self._frames = FrameRequests(viewing, pictures, self.threads)
        self._renderings = Renderings(viewing, pictures, self.threads)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes below the path of the service."""
        levels = (_STUDY, _SERIES, _INSTANCE)
        return [
            *(Route(level, self._objects.retrieve, methods=["GET"]) for level in levels),
            *(Route(f"{level}/metadata", self._metadata.retrieve, methods=["GET"]) for level in levels),
            *(Route(f"{level}/thumbnail", self._renderings.thumbnail, methods=["GET"]) for level in (*levels, _FRAMES)),
            *(Route(f"{level}/rendered", self._renderings.rendered, methods=["GET"]) for level in (*levels, _FRAMES)),
            Route(_FRAMES, self._frames.frames, methods=["GET"]),
            Route(f"{_INSTANCE}/bulkdata/{{place:path}}", self._frames.bulk_data, methods=["GET"]),
        ]

    def start(self) -> None:
        """Have what a crash left of destroyed studies taken away, beside everything else."""
        self.threads.preparing.submit(self.metadata.sweep)

    def stop(self) -> None:
        """Return when nothing is being read any more."""
        self.threads.stop()


def _impatient(retrieve: Retrieve) -> Retrieve:
    """Return a way out that waits for no thaw: over HTTP one is told when to come back."""
    if retrieve.recall is None:
        return retrieve
    return replace(retrieve, recall=replace(retrieve.recall, wait=timedelta()))
