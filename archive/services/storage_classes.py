"""Which SOP classes are stored, for ways in other than C-STORE; must not know how an object came.

The same as ``archive.dimse.contexts`` takes: every class of the Storage Service Class (PS3.4 annex B.5), retired ones
and those to come under the same root, and private ones by setting.
"""

from __future__ import annotations

from typing import Final

from pydicom.uid import UID

_STANDARD_ROOT: Final = "1.2.840.10008."
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_RADIOTHERAPY_ROOT: Final = "1.2.840.10008.5.1.4.34."


def is_stored(sop_class_uid: str, *, accept_private: bool) -> bool:
    """Tell whether a SOP class is one we store."""
    if sop_class_uid.startswith(_STORAGE_ROOT):
        return True
    if sop_class_uid.startswith(_RADIOTHERAPY_ROOT):
        return UID(sop_class_uid).name.endswith("Storage")
    return accept_private and not sop_class_uid.startswith(_STANDARD_ROOT)
