"""Reads the query of a search (PS3.18 sections 8.3.4 and 10.6.1); must not know what the index can do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from archive.errors import BadRequest
from archive.services.search import Level, Wanted

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_ALL: Final = "all"
EMPTY_VALUES: Final = "emptyvaluematching"
_FLAGS: Final = frozenset(("fuzzymatching", EMPTY_VALUES, "multiplevaluematching"))
"""How to match (sections 8.3.4.2, .5 and .6). Several values mean one of them, asked for or not."""
_ABOUT_THE_ANSWER: Final = frozenset(("accept", "charset"))
_MOST_PARAMETERS: Final = 200
_LONGEST_VALUE: Final = 4096
_LARGEST_OFFSET: Final = 2**31 - 1

_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY: Final = (
    *("StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy"),
    *("ReferringPhysicianName", *_PATIENT, "StudyInstanceUID", "StudyID"),
    *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
_SERIES: Final = (
    *("Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "InstanceAvailability"),
    *("NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)
_IMAGE: Final = (
    *("SOPClassUID", "SOPInstanceUID", "InstanceAvailability", "TimezoneOffsetFromUTC", "InstanceNumber"),
    *("Rows", "Columns", "BitsAllocated", "NumberOfFrames"),
)
_RETURNED: Final[Mapping[Level, tuple[tuple[str, ...], ...]]] = {
    "STUDY": (_STUDY,),
    "SERIES": (_SERIES, _STUDY),
    "IMAGE": (_IMAGE, _SERIES, _STUDY),
}
"""What is returned without being asked for, of the level and of those above (tables 10.6.3-3 to 10.6.3-5)."""

_ALL_OF: Final[Mapping[Level, int]] = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}


@dataclass(frozen=True, slots=True)
class Place:
    """What the path of a search says: the level, and the study and series it is within, where it names them."""

    level: Level
    study: str = ""
    series: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """Return the keys the path stands for."""
        given = {"StudyInstanceUID": self.study, "SeriesInstanceUID": self.series}
        return {keyword: uid for keyword, uid in given.items() if uid}

    @property
    def returned(self) -> tuple[str, ...]:
        """Return the keywords of an answer nobody asked for more of: levels the path has settled are left out."""
        levels = _RETURNED[self.level]
        settled = (1 if self.study else 0) + (1 if self.series else 0)
        return tuple(keyword for level in levels[: len(levels) - settled] for keyword in level)


def read_search(pairs: Iterable[tuple[str, str]], place: Place, everything: Mapping[Level, Iterable[str]]) -> Wanted:
    """Return what a query, as decoded pairs, asks at ``place``; ``everything``: what ``includefield=all`` means.

    Attributes are named by keyword, by tag or by a path of them (``00400275.00400009``). Raises BadRequest.
    """
    reader = _Reader(place, everything)
    for count, (name, value) in enumerate(pairs):
        if count == _MOST_PARAMETERS or len(value) > _LONGEST_VALUE:
            raise BadRequest(
                reason=f"more than {_MOST_PARAMETERS} parameters, or more than {_LONGEST_VALUE} characters"
            )
        reader.take(name.strip(), value.strip())
    return reader.wanted()


class _Reader:
    def __init__(self, place: Place, everything: Mapping[Level, Iterable[str]]) -> None:
        self._place = place
        self._everything = everything
        self._keys: dict[str, str] = {}
        self._included: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._flags: dict[str, bool] = {}

    def take(self, name: str, value: str) -> None:
        if name in ("limit", "offset"):
            self._take_number(name, value)
        elif name == "includefield":
            self._include(value)
        elif name in _FLAGS:
            self._take_flag(name, value)
        elif name not in _ABOUT_THE_ANSWER:
            self._match(name, value)

    def wanted(self) -> Wanted:
        returned = dict.fromkeys(self._place.returned, "")
        keys = {**returned, **self._included, **self._keys, **self._place.keys}
        numbers = self._numbers
        return Wanted(
            self._place.level,
            keys,
            numbers.get("limit", 0),
            numbers.get("offset", 0),
            is_fuzzy=self._flags.get("fuzzymatching", False),
        )

    def _take_number(self, name: str, value: str) -> None:
        least = 1 if name == "limit" else 0
        if name in self._numbers or not value.isascii() or not value.isdigit() or not least <= int(value[:11]):
            raise BadRequest(reason=f"{name} is a whole number from {least} on, given once")
        self._numbers[name] = min(int(value[:11]), _LARGEST_OFFSET)

    def _take_flag(self, name: str, value: str) -> None:
        if name in self._flags or value not in ("true", "false"):
            raise BadRequest(reason=f"{name} is true or false, given once")
        self._flags[name] = value == "true"

    def _include(self, value: str) -> None:
        for name in filter(None, (part.strip() for part in value.split(","))):
            if name == _ALL:
                self._included |= dict.fromkeys(self._everything[self._place.level], "")
            else:
                self._included[_keyword(name)] = ""

    def _match(self, name: str, value: str) -> None:
        keyword = _keyword(name)
        if _is_list(keyword):
            value = value.replace(",", "\\")
            value = "\\".join(filter(None, (self._keys.get(keyword), value)))
        elif keyword in self._keys:
            raise BadRequest(reason=f"{keyword} is given twice")
        of_path = self._place.keys.get(keyword)
        if value and of_path is not None and of_path not in value.split("\\"):
            raise BadRequest(reason=f"{keyword} of the query is not that of the path")
        self._keys[keyword] = value


def _is_list(keyword: str) -> bool:
    """Tell whether several values may be given, with commas: UIDs, and modalities, in which none can stand."""
    tag = tag_for_keyword(keyword)
    return keyword == "ModalitiesInStudy" or (tag is not None and dictionary_VR(tag) == "UI")


def _keyword(name: str) -> str:
    """Return the keyword, or the path of keywords, that a name of a query means; raise BadRequest."""
    return ".".join(_one_keyword(part) for part in name.split("."))


def _one_keyword(name: str) -> str:
    if _TAG.fullmatch(name):
        return keyword_for_tag(int(name, 16)) or name.upper()
    if name and tag_for_keyword(name) is not None:
        return name
    raise BadRequest(reason="a parameter is neither a keyword nor a tag of eight hexadecimal digits, nor one of ours")
