"""The states that are stored, with the words of the API."""

from enum import StrEnum


class ContactStatus(StrEnum):
    """Whether a person may be mailed; of a contact, and of its subscription to one list (R9)."""

    ACTIVE = "ACTIVE"
    UNCONFIRMED = "UNCONFIRMED"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    BOUNCED = "BOUNCED"


class ExternalAccountHealth(StrEnum):
    """Whether an external account can be read."""

    HEALTHY = "HEALTHY"
    NEEDS_RECONNECT = "NEEDS_RECONNECT"
    DISCONNECTED = "DISCONNECTED"


class AttemptState(StrEnum):
    """Where an attempt to get a user's consent stands. EXPIRED is not stored: it is what PENDING becomes."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class ImportState(StrEnum):
    """What the owner, or the engine, last decided about an automatic import."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    FAILING = "FAILING"
    NEEDS_REVIEW = "NEEDS_REVIEW"


class OverwritePolicy(StrEnum):
    """Whether an import's names and phone replace what a contact already has (R8)."""

    ALWAYS = "ALWAYS"
    IF_EMPTY = "IF_EMPTY"


class DeletionPolicy(StrEnum):
    """What happens to a contact whose record was deleted at the source (R16)."""

    KEEP = "KEEP"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    TAG = "TAG"


class RunTrigger(StrEnum):
    """Why a run started."""

    CREATED = "CREATED"
    SCHEDULE = "SCHEDULE"
    USER = "USER"
    ROOM = "ROOM"
    RETRY = "RETRY"


class RunState(StrEnum):
    """Where a run stands. QUEUED, RUNNING, WAITING_FOR_SERVICE and NEEDS_REVIEW are open; the others are final.

    Only a COMPLETED run that found nothing is opened again, by the next cycle that finds nothing: they share a row.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING_FOR_SERVICE = "WAITING_FOR_SERVICE"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNDONE = "UNDONE"


class RunStop(StrEnum):
    """What ended a completed run before its backlog did."""

    CAP = "CAP"
    SERVICE = "SERVICE"
    REVIEW = "REVIEW"


class ReviewKind(StrEnum):
    """What a run that needs a review ran into."""

    CHANGES = "CHANGES"
    MISSING = "MISSING"


class Outcome(StrEnum):
    """What became of a record in a run (R17)."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"
    SKIPPED = "SKIPPED"
    WAITING = "WAITING"
    FAILED = "FAILED"

    # That of an enum is written in Python, and outcomes are counted record by record.
    __hash__ = str.__hash__


class OutcomeCode(StrEnum):
    """Why a record was skipped, waits or failed."""

    NO_EMAIL = "NO_EMAIL"
    INVALID_EMAIL = "INVALID_EMAIL"
    DUPLICATE_EMAIL = "DUPLICATE_EMAIL"
    DELETED_HERE = "DELETED_HERE"
    UNDONE = "UNDONE"
    CONTACT_LIMIT = "CONTACT_LIMIT"
    REJECTED_VALUE = "REJECTED_VALUE"


class OutcomeNote(StrEnum):
    """What an outcome has to add, though the contact was written."""

    FIELD_TYPE = "FIELD_TYPE"
    FIELD_LIMIT = "FIELD_LIMIT"
    PROTECTED = "PROTECTED"
    CONTACT_LIMIT = "CONTACT_LIMIT"


class LedgerState(StrEnum):
    """The present truth about a record."""

    LINKED = "LINKED"
    SKIPPED = "SKIPPED"
    WAITING = "WAITING"
    FAILED = "FAILED"
    DELETED = "DELETED"
    UNDONE = "UNDONE"

    __hash__ = str.__hash__


class TaskState(StrEnum):
    """Where a background task stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class TaskKind(StrEnum):
    """What a background task does."""

    APPLY_TARGETS = "APPLY_TARGETS"
    DELETE_LIST = "DELETE_LIST"
    DELETE_TAG = "DELETE_TAG"
    DRAIN_WAITING_ROOM = "DRAIN_WAITING_ROOM"
    ERASE_CONTACT = "ERASE_CONTACT"
    PREVIEW = "PREVIEW"
    UNDO = "UNDO"


class UndoResult(StrEnum):
    """What undoing came to for one outcome of a run (R20)."""

    REMOVED = "REMOVED"
    RESTORED = "RESTORED"
    PARTLY_RESTORED = "PARTLY_RESTORED"
    KEPT = "KEPT"
    REFUSED = "REFUSED"
    NOTHING = "NOTHING"


class UndoCode(StrEnum):
    """Why something was not undone."""

    CHANGED_SINCE = "CHANGED_SINCE"
    CONSENT = "CONSENT"
    DELETED_HERE = "DELETED_HERE"
    EMAIL_TAKEN = "EMAIL_TAKEN"
    GONE = "GONE"
    HELD_ELSEWHERE = "HELD_ELSEWHERE"
    LATER_RUN = "LATER_RUN"
    TOUCHED = "TOUCHED"
    UNDO_EXPIRED = "UNDO_EXPIRED"


class UndoneValueKind(StrEnum):
    """What a run wrote of a contact."""

    EMAIL = "EMAIL"
    FIRST_NAME = "FIRST_NAME"
    LAST_NAME = "LAST_NAME"
    PHONE = "PHONE"
    STATUS = "STATUS"
    FIELD = "FIELD"
    LIST = "LIST"
    TAG = "TAG"
