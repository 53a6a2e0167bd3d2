"""Several pictures as one answer (PS3.18 section 10.4.1.1.3), drawn while they are read; must not draw them itself.

What cannot be drawn is left out: told by the status where that is known before the first byte goes, else by an answer
that is cut at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Final

from pydicom.uid import UID

from archive.dicomweb.streaming import Begun, Multipart
from archive.errors import ArchiveError, InstanceNotFound, NotAllGiven, NotAnImage
from archive.index.records import StoredInstance
from archive.services.part10_files import Given
from archive.services.pictures import Pictures
from archive.services.rendering import Look
from archive.services.retrieve import Retrieve
from tiering.transcode.syntaxes import SOURCES

_FIRST_PICTURES: Final = 64
_IMAGE: Final = "Image Storage"
"""In the names of SOP classes whose objects have pixel data; other objects may have some as well."""


@dataclass(slots=True)
class Album:
    """Frames of instances as pictures, in their order; ``numbers``: which frames, counted from 1, () for all of them.

    ``base`` is the URL of the service. One picture is in memory at a time, and what waits to be sent.
    """

    pictures: Pictures
    instances: Sequence[StoredInstance]
    numbers: Sequence[int]
    look: Look
    base: str
    given: Given = field(init=False)
    _frame: Multipart = field(init=False)
    _known: dict[int, ArchiveError] = field(default_factory=dict, init=False)
    _is_begun: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.given = Given(self.instances)
        self._frame = Multipart(self.look.media_type)

    @property
    def media_type(self) -> str:
        """Return the Content-Type of the answer."""
        return self._frame.media_type

    @property
    def status(self) -> int:
        """Return the status of the answer, once it is begun."""
        return 206 if self.given.foreseen else 200

    def begin(self, stack: ExitStack, retrieve: Retrieve) -> Begun:
        """Draw the first pictures and find out what cannot be drawn; what is on the stack is closed at the end.

        ``retrieve`` opens the objects. Raises the error of the first object when there is not one picture.
        """
        begun = Begun(self._parts(stack, retrieve)).begin(_FIRST_PICTURES)
        with ExitStack() as cleanup:
            cleanup.callback(begun.close)
            if not begun.first:
                assert self.given.first_error is not None
                raise self.given.first_error
            if not begun.is_complete:
                self._foresee()
            failed = [each for each in self.instances if each.instance_id in self._known]
            self.given.foreseen = [*self.given.failed, *failed]
            self._is_begun = True
            cleanup.pop_all()
        return begun

    def _parts(self, stack: ExitStack, retrieve: Retrieve) -> Iterator[bytes]:
        with stack:
            for instance in self.instances:
                try:
                    yield from self._parts_of(instance, retrieve)
                except ArchiveError as exc:
                    self.given.fail(instance, exc)
                else:
                    self.given.completed += 1
            if self._is_begun and self.given.surprises:
                raise NotAllGiven(failed=self.given.surprises, reason="not all")
            if not self._frame.is_empty:
                yield self._frame.end()

    def _parts_of(self, instance: StoredInstance, retrieve: Retrieve) -> Iterator[bytes]:
        if instance.instance_id in self._known:
            raise self._known[instance.instance_id]
        series = f"{self.base}/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
        place = f"{series}/instances/{instance.sop_instance_uid}/frames"
        stored = retrieve.open(instance)
        with closing(self.pictures.iter_rendered(stored, self.numbers, self.look)) as drawn:
            for number, picture in drawn:
                head = self._frame.head(self.look.media_type, content_location=f"{place}/{number}/rendered")
                yield head + picture

    def _foresee(self) -> None:
        """Find out which of the instances to come have nothing that can be drawn: status goes before they do."""
        done = self.given.completed + len(self.given.failed)
        for instance in self.instances[done:]:
            try:
                self._check(instance)
            except ArchiveError as exc:
                self._known[instance.instance_id] = exc

    def _check(self, instance: StoredInstance) -> None:
        """Raise why an instance cannot be drawn; images are only looked at where the index tells enough."""
        syntax = instance.given_syntax_uid
        if instance.readable is None:
            raise InstanceNotFound(reason="no copy of it can be read")
        if syntax not in SOURCES:
            raise NotAnImage(reason=f"frames of transfer syntax {syntax} are not told apart")
        if _IMAGE not in UID(instance.sop_class_uid).name:
            with self.pictures.opened(instance) as found:
                found.frames()
