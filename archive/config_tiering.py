"""The settings of the cold tier: where it is, what goes there and when, how it is read; must not open anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator as check_field, model_validator as check_model

from archive.config_sections import Section
from archive.config_values import Count, Name
from tiering.budget import zone_of

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _time_zone(name: str) -> str:
    return zone_of(name).key


TimeZone = Annotated[str, AfterValidator(_time_zone)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Code = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
Percent = Annotated[float, Field(gt=0, le=100)]
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class ColdSettings(Section):
    """The cold store: none, a folder (a disk or a network share), or a bucket of S3 or of what speaks like it.

    ``prefix``: what stands before every key, when the bucket is not the archive's alone. ``credentials``: a TOML file
    with ``access_key`` and ``secret_key`` that only its owner may read. ``key_ring``: a file made by ``drimbox cold
    new-key-ring``; with one, objects are encrypted before they leave.
    """

    store: Literal["none", "folder", "s3"] = "none"
    folder: Path | None = None
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://")
    region: Name = "us-east-1"
    bucket: str | None = Field(default=None, min_length=3, max_length=63)
    prefix: str = Field(default="", max_length=200, pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*/)*$")
    credentials: Path | None = None
    ca_file: Path | None = None
    path_style: bool = True
    storage_class: Name | None = None
    encryption: Literal["none", "AES256", "aws:kms"] = "none"
    kms_key: SecretStr | None = None
    key_ring: Path | None = None
    object_lock: bool = False
    part_mib: Annotated[int, Field(ge=5, le=1024)] = 16
    transfers: Count = 4
    bandwidth_mib: Annotated[float, Field(ge=0)] = 0
    attempts: Count = 6

    @property
    def is_there(self) -> bool:
        """Tell whether there is a cold tier."""
        return self.store != "none"

    @property
    def transport_warning(self) -> str | None:
        """Say that images would go over the network for everybody to read."""
        url = urlsplit(self.endpoint_url or "")
        is_open = self.store == "s3" and url.scheme == "http" and self.key_ring is None
        if not is_open or url.hostname in _LOOPBACK:
            return None
        return "cold.endpoint_url: images go over the network in the clear; use https://, or set cold.key_ring"

    @check_field("endpoint_url")
    @classmethod
    def _has_no_secret(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("a key or password does not belong here: it goes into the file of cold.credentials")
        return url

    @check_model(mode="after")
    def _is_complete(self) -> ColdSettings:
        wanted = {"none": (), "folder": ("folder",), "s3": ("endpoint_url", "bucket", "credentials")}[self.store]
        for name in wanted:
            if getattr(self, name) is None:
                raise ValueError(f'{name} is needed with store = "{self.store}"')
        if self.object_lock and self.store != "s3":
            raise ValueError("object_lock is something that buckets have: store is not s3")
        if self.encryption == "aws:kms" and self.kms_key is None:
            raise ValueError("kms_key is needed with encryption aws:kms")
        return self


class RecallSettings(Section):
    """How cold studies are read. ``cache_gib``: what is kept of them on the local disk.

    ``wait_seconds``: how long a retrieve waits for objects that thaw, at most, before those instances fail;
    ``thaw_days``: how long they stay readable. ``prefetch_priors``: so many cold priors of a patient are fetched when
    a new study comes, 0 for none.
    """

    cache_gib: Annotated[float, Field(ge=0)] = 10
    threads: Annotated[int, Field(ge=1, le=64)] = 8
    wait_seconds: Annotated[float, Field(ge=0)] = 20
    thaw_days: Annotated[int, Field(ge=1, le=365)] = 7
    prefetch_priors: Annotated[int, Field(ge=0, le=100)] = 0
    prefetch_same_modality: bool = True


class MigrationRule(Section):
    """What holds beside the rest for a site's studies with a series of these modalities; either may be left out.

    It can only keep longer or gentler: ``extra_days`` more than the law's three years, ``never`` cold, cold
    ``lossless`` alone.
    """

    site: str = Field(default="", max_length=64)
    modalities: tuple[Code, ...] = ()
    extra_days: Annotated[int, Field(ge=0, le=36500)] = 0
    never: bool = False
    lossless: bool = False

    @check_model(mode="after")
    def _says_something(self) -> MigrationRule:
        if not (self.extra_days or self.never or self.lossless):
            raise ValueError("give extra_days, never or lossless: the rule changes nothing")
        return self


class MigrationSettings(Section):
    """When studies go cold: by themselves while the archive serves when ``enabled``, else by ``drimbox tier migrate``.

    ``grace_days``: how long hot packs stay beside their cold copies. ``window``: times of day, ``"20:00-06:00"``, in
    ``time_zone``; "" for any; ``weekdays``: of the days on which it opens. ``cpu_share``: percent of the time that may
    be worked. ``extra_days``: so many more than the law's three years. ``min_study_mib``: smaller studies stay.
    ``held``: what becomes of studies under a hold or an appeal. ``remake``: what went cold without loss is made lossy
    by itself too, where the rules of today allow it. ``prices``: money a GB and month, by ``hot``,
    ``folder`` or storage class.
    """

    enabled: bool = False
    grace_days: Annotated[int, Field(ge=1, le=3650)] = 30
    window: str = Field(default="", pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    weekdays: tuple[Weekday, ...] = WEEKDAYS
    time_zone: TimeZone = "Europe/Paris"
    cpu_share: Percent = 50
    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    extra_days: Annotated[int, Field(ge=0, le=36500)] = 0
    min_study_mib: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    never_modalities: tuple[Code, ...] = ()
    held: Literal["stay", "cold_lossless"] = "stay"
    remake: bool = False
    rules: tuple[MigrationRule, ...] = ()
    prices: dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    workflows_url: SecretStr | None = None


class LossySettings(Section):
    """Whether pixels may lose what nobody can see, in the cold tier alone; a site can only forbid more than the rules.

    ``table``: the caps of the German consensus (``drg``) or of the Canadian standard (``car``). ``codec``: ``jpeg2000``
    is slower, and needs the package's extra ``codecs`` for its second decoder. ``keep_uids``: copies keep the SOP
    Instance UIDs of their originals, for sites whose systems know no other. ``threads``: so many work on the frames
    of one series at once; more series at once are ``migration.concurrency``.
    """

    enabled: bool = False
    table: Literal["drg", "car"] = "drg"
    codec: Literal["htj2k", "jpeg2000"] = "htj2k"
    keep_uids: bool = False
    never_modalities: tuple[Code, ...] = ()
    never_body_parts: tuple[Name, ...] = ()
    never_image_types: tuple[Name, ...] = ()
    caps: dict[Code, Annotated[float, Field(gt=1)]] = Field(default_factory=dict)
    threads: Annotated[int, Field(ge=1, le=64)] = 1
