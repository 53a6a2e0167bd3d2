"""Every error the archive raises; must not import anything of the product.

ArchiveError
├── ConfigError                     a setting is wrong
├── InvalidUid, InvalidAETitle      an identifier is not what the standard says
├── IngestError                     an object cannot be taken in
│   ├── UnreadableDataset           ├── MissingIdentifier
│   ├── SopClassMismatch            ├── SopInstanceMismatch
│   ├── ConflictingInstance         ├── DestroyedInstance
│   ├── StudyMismatch               ├── SopClassNotStored
│   └── TransferLost
├── Unavailable                     try again later
│   ├── StorageFull                 ├── StorageFailed
│   ├── IndexUnavailable            └── WorkflowsUnavailable
├── QueryError
│   ├── InvalidIdentifier           └── TooManyMatches
├── RetrieveError
│   ├── UnknownDestination          ├── DestinationUnreachable
│   ├── InstanceNotFound            ├── SyntaxNotAccepted
│   ├── FixityError                 ├── ColdStoreDown
│   ├── NotReadableYet              ├── NotAnImage
│   ├── NoSuchFrame                 └── NotAllGiven
├── ProtocolError                   a peer broke PS3.8; its association is aborted
│   ├── PduError                    ├── PeerTimeout
│   ├── PeerClosed                  ├── PeerAborted
│   └── AssociationRefused
├── FeedBroken                      an HL7 connection is closed
│   └── MessageTooLong
├── MessageRefused                  an HL7 message cannot be taken in; it is set aside
├── MessageNotFound                 no HL7 message of this number
├── RebuildRefused                  the index cannot be made again now
├── AuditBroken                     the journal's chain does not hold
├── LedgerBroken                    the ledger's chain does not hold
├── AccountRefused                  an account cannot be made so
├── NotAllowed                      whoever asks may not do this
├── SignInError                     somebody does not come in
│   ├── LinkRefused                 ├── PasskeyRefused
│   ├── SignInExpired               ├── TooManyAttempts
│   ├── TokenRefused                ├── IdentityRefused
│   └── ProviderFailed
├── FactError                       facts cannot be taken in
│   ├── InvalidFact                 ├── UnreadableFacts
│   └── NoSuchFact
├── HoldError                       a hold cannot be placed, reviewed or lifted
│   ├── InvalidHold                 ├── NothingToHold
│   └── NoSuchHold
├── ClockNotTrusted                 the server's clock cannot be right: nothing that depends on the day is done
├── NoSuchStudy                     a study that is asked about is not here
│   └── StudyDestroyed              any more
├── SweepRefused                    a sweep cannot be made so
├── DisposalError                   an elimination cannot go on so
│   ├── NoSuchList                  ├── NothingDue
│   ├── DisposalRefused             └── CertificateInvalid
├── MigrationError                  a study cannot go to the cold tier, or back
│   ├── MigrationRefused            └── ColdCopyDiffers
├── ViewerRefused                   the viewer cannot be installed from this
├── RequestError                    an HTTP request cannot be answered
│   ├── BadRequest                  ├── NotAuthenticated
│   ├── NoSuchResource              ├── MethodNotOffered
│   ├── NotAcceptable               ├── UnsupportedMedia
│   ├── BodyTooLarge                ├── HeadersTooLong
│   ├── FormTooOld                  ├── TooSlow
│   └── TooManyRequests
│       └── TooManyConnections
├── NoticeNotSent                   a warning did not reach whom it is for
└── CertificatesNeedCare            TLS certificates need a person
    ├── CertificatesExpireSoon      └── CertificatesExpired

The class docstring is the message; it is formatted with the exception's own fields.
"""

from __future__ import annotations

from archive.errors.base import ArchiveError as ArchiveError
from archive.errors.requests import (
    BadRequest as BadRequest,
    BodyTooLarge as BodyTooLarge,
    FormTooOld as FormTooOld,
    HeadersTooLong as HeadersTooLong,
    IdentityRefused as IdentityRefused,
    LinkRefused as LinkRefused,
    MethodNotOffered as MethodNotOffered,
    NoSuchResource as NoSuchResource,
    NotAcceptable as NotAcceptable,
    NotAuthenticated as NotAuthenticated,
    PasskeyRefused as PasskeyRefused,
    ProviderFailed as ProviderFailed,
    RequestError as RequestError,
    SignInError as SignInError,
    SignInExpired as SignInExpired,
    TokenRefused as TokenRefused,
    TooManyAttempts as TooManyAttempts,
    TooManyConnections as TooManyConnections,
    TooManyRequests as TooManyRequests,
    TooSlow as TooSlow,
    UnsupportedMedia as UnsupportedMedia,
)


class ConfigError(ArchiveError):
    """Setting {name} is wrong: {reason}. Correct it in drimbox.toml or the environment."""

    exit_code = 11


class InvalidUid(ArchiveError):
    """{keyword} is not a DICOM UID (digits and dots, 64 characters at most)."""

    exit_code = 12


class InvalidAETitle(ArchiveError):
    """{value!r} is not an AE title (1 to 16 printable characters, no backslash)."""

    exit_code = 12


class IngestError(ArchiveError):
    """The object could not be taken in: {reason}."""

    exit_code = 13


class UnreadableDataset(IngestError):
    """The data set cannot be read: {reason}."""


class MissingIdentifier(IngestError):
    """{keyword} is missing or empty in the data set."""


class SopClassMismatch(IngestError):
    """The data set's SOP Class UID is not the one announced."""


class SopInstanceMismatch(IngestError):
    """The data set's SOP Instance UID is not the one announced."""


class ConflictingInstance(IngestError):
    """Stored already with other bytes; this copy is in quarantine."""


class DestroyedInstance(IngestError):
    """Destroyed lawfully (list {list_id}); it is not taken again."""


class StudyMismatch(IngestError):
    """The data set belongs to another study than the one it was sent to."""


class SopClassNotStored(IngestError):
    """The SOP class of the data set is not one that is stored."""


class TransferLost(IngestError):
    """The transfer stopped before the object was whole."""


class Unavailable(ArchiveError):
    """A part the archive needs is not available: {reason}. It resumes by itself."""

    retryable = True
    exit_code = 14


class StorageFull(Unavailable):
    """The storage is full (floor {floor_mib} MiB): make room, it resumes by itself."""


class StorageFailed(Unavailable):
    """The storage failed: {reason}. Check the disk, the archive resumes by itself."""


class IndexUnavailable(Unavailable):
    """The index database does not answer: {reason}. Start it, the archive resumes by itself."""


class WorkflowsUnavailable(Unavailable):
    """The database of workflows does not answer: {reason}. Start it, migration resumes by itself."""


class QueryError(ArchiveError):
    """The query cannot be answered: {reason}."""

    exit_code = 15


class InvalidIdentifier(QueryError):
    """The identifier does not fit the query: {reason}."""


class TooManyMatches(QueryError):
    """More than {limit} answers; narrow the query."""


class RetrieveError(ArchiveError):
    """The instance cannot be given back: {reason}."""

    exit_code = 16


class UnknownDestination(RetrieveError):
    """{ae_title} is not a known destination; add it under [[dicom.peers]] with host and port."""


class DestinationUnreachable(RetrieveError):
    """{ae_title} could not be reached: {reason}."""

    retryable = True


class InstanceNotFound(RetrieveError):
    """No stored instance matches."""


class SyntaxNotAccepted(RetrieveError):
    """Neither {transfer_syntax_uid} nor a conversion is accepted by the peer."""


class FixityError(RetrieveError):
    """The stored bytes of {key} are not the bytes received: {reason}."""

    exit_code = 17


class ColdStoreDown(RetrieveError):
    """The cold store does not give it now: {reason}."""

    retryable = True


class NotReadableYet(RetrieveError):
    """In cold storage, try again later: {reason}."""

    retryable = True


class NotAnImage(RetrieveError):
    """It cannot be shown: {reason}."""


class NoSuchFrame(RetrieveError):
    """There is no frame {frame}: it has {frames}."""


class NoSuchRegion(RetrieveError):
    """The region is not in the image, which has {columns} columns and {rows} rows."""


class NotAllGiven(RetrieveError):
    """{failed} objects could not be given; the answer was cut so that nobody takes it for all of them."""


class ProtocolError(ArchiveError):
    """The peer broke the DICOM upper layer protocol: {reason}."""

    exit_code = 18


class PduError(ProtocolError):
    """A PDU is malformed: {reason}."""


class PeerTimeout(ProtocolError):
    """The peer did not go on within {seconds} s ({what})."""


class PeerClosed(ProtocolError):
    """The peer closed the connection ({what})."""


class PeerAborted(ProtocolError):
    """The peer aborted the association."""


class AssociationRefused(ProtocolError):
    """The association was refused: {reason}."""


class FeedBroken(ArchiveError):
    """The HL7 connection is closed: {reason}."""

    exit_code = 18


class MessageTooLong(FeedBroken):
    """The HL7 message is longer than {limit_bytes} bytes; raise hl7.max_message_kib if it should be taken."""


class MessageRefused(ArchiveError):
    """The HL7 message was refused: {reason}."""

    exit_code = 13


class MessageNotFound(ArchiveError):
    """There is no HL7 message {number}; drimbox hl7 list shows which there are."""


class RebuildRefused(ArchiveError):
    """The index was not made again, and is as it was: {reason}."""

    exit_code = 14


class AuditBroken(ArchiveError):
    """The audit journal is broken at entry {sequence}: {reason}. Keep the database as it is and ask for help."""

    exit_code = 19


class LedgerBroken(ArchiveError):
    """The ledger is broken at event {sequence}: {reason}. Restore its files; until then nothing is decided."""

    exit_code = 20


class AccountRefused(ArchiveError):
    """Account {name}: {reason}."""

    exit_code = 21


class NotAllowed(ArchiveError):
    """{name} may not do this: {reason}."""

    exit_code = 22


class FactError(ArchiveError):
    """The facts cannot be taken in: {reason}."""

    exit_code = 23


class InvalidFact(FactError):
    """The fact cannot be kept: {name} {reason}."""


class UnreadableFacts(FactError):
    """The file of facts cannot be read: {reason}."""


class NoSuchFact(FactError):
    """There is no such fact: {reason}."""


class HoldError(ArchiveError):
    """The hold stays as it was: {reason}."""

    exit_code = 24


class InvalidHold(HoldError):
    """The hold cannot be kept: {name} {reason}."""


class NothingToHold(HoldError):
    """Nothing was put on hold: {reason}."""


class NoSuchHold(HoldError):
    """There is no hold {hold_id} to do this with: {reason}. drimbox hold list --all prints them."""


class ClockNotTrusted(ArchiveError):
    """The clock is not believed: it says {now}, {reason}. Set it; if it is right, say so with --trust-clock."""

    exit_code = 25


class NoSuchStudy(ArchiveError):
    """There is no study {study_instance_uid} in the archive."""

    exit_code = 26


class StudyDestroyed(NoSuchStudy):
    """Study {study_instance_uid} was destroyed: drimbox disposal certificate {list_id} prints the proof."""


class SweepRefused(ArchiveError):
    """No sweep was made: {reason}."""

    exit_code = 27


class DisposalError(ArchiveError):
    """The elimination does not go on: {reason}."""

    exit_code = 28


class NoSuchList(DisposalError):
    """There is no disposal list {list_id}. drimbox disposal list prints them."""


class NothingDue(DisposalError):
    """No list was made: {reason}."""


class DisposalRefused(DisposalError):
    """List {list_id} stays as it is: {reason}."""


class CertificateInvalid(DisposalError):
    """The certificate proves nothing: {reason}."""

    exit_code = 29


class MigrationError(ArchiveError):
    """The study cannot be moved between tiers: {reason}."""

    exit_code = 35


class MigrationRefused(MigrationError):
    """Study {study} stays where it is: {reason}."""


class ColdCopyDiffers(MigrationError):
    """What was read back from the cold store under {key} is not what was put there: {reason}."""

    retryable = True


class ViewerRefused(ArchiveError):
    """The viewer cannot be installed from {package}: {reason}; ./run viewer fetches the right one."""

    exit_code = 39


class NoticeNotSent(ArchiveError):
    """The warning was not delivered: {reason}. It is tried again."""

    retryable = True
    exit_code = 44


class CertificatesNeedCare(ArchiveError):
    """TLS certificates need a person: {reason}."""

    exit_code = 45


class CertificatesExpireSoon(CertificatesNeedCare):
    """TLS certificates end soon, or cannot be read: {reason}. Renew them."""


class CertificatesExpired(CertificatesNeedCare):
    """TLS certificates are not valid: {reason}. Renew them, what uses them does not work."""

    exit_code = 46
