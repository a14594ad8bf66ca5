"""The tables; no rules.

Every id is a UUIDv7. Keys that span account_id and others, foreign keys, checks, partial indexes and triggers are
SQL in the migrations: Tortoise cannot say them, and is told of one column of each key only. So a model whose real
key is composite (its docstring names the key) is never fetched, saved or deleted by `pk`.
"""

from uuid import UUID

from tortoise import fields
from tortoise.fields.base import Field
from tortoise.models import Model
from uuid_utils.compat import uuid7

from domain.enums import (
    ContactStatus,
    DeletionPolicy,
    ExternalAccountHealth,
    ImportState,
    LedgerState,
    Outcome,
    OverwritePolicy,
    RunState,
    RunStop,
    RunTrigger,
    TaskState,
)
from domain.records import FieldType, SourceConsent


def _id() -> Field[UUID]:
    return fields.UUIDField(primary_key=True, default=uuid7)


class PlanTier(Model):
    """One rung of the ladder of plans. Data, not code."""

    key = fields.CharField(max_length=64, primary_key=True)
    name = fields.TextField()
    contact_limit = fields.IntField()

    class Meta:
        table = "plan_tier"


class Account(Model):
    """The tenant. `active_contacts` is kept by whoever changes a contact's status, under this row's lock."""

    id = _id()
    name = fields.TextField()
    plan_tier_key = fields.CharField(max_length=64)
    active_contacts = fields.IntField(default=0)
    auto_upgrade = fields.BooleanField(default=False)
    auto_upgrade_ceiling_key = fields.CharField(max_length=64, null=True)
    email_hash_key = fields.BinaryField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "account"


class ApiToken(Model):
    """A bearer token, as the SHA-256 of its text."""

    id = _id()
    account_id = fields.UUIDField()
    token_hash = fields.BinaryField()
    name = fields.TextField(default="")
    scopes = fields.JSONField[list[str]](default=list)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "api_token"


class Contact(Model):
    """Key (account_id, id). `field_values` is keyed by field id; `edited_at` is the last change by a user or the API."""

    id = _id()
    account_id = fields.UUIDField()
    email = fields.TextField()
    email_key = fields.TextField()
    first_name = fields.TextField(null=True)
    last_name = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    status = fields.CharEnumField(ContactStatus, max_length=16)
    field_values = fields.JSONField[dict[str, object]](default=dict)
    created_by_run_id = fields.UUIDField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)
    edited_at = fields.DatetimeField(null=True)

    class Meta:
        table = "contact"


class Suppression(Model):
    """What outlives a contact: unique (account_id, email_hash, list_id), list_id null meaning all mail (R9)."""

    id = _id()
    account_id = fields.UUIDField()
    email_hash = fields.BinaryField()
    list_id = fields.UUIDField(null=True)
    status = fields.CharEnumField(ContactStatus, max_length=16)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "suppression"


class Tombstone(Model):
    """A contact that a user deleted here: unique (account_id, email_hash) (R13)."""

    id = _id()
    account_id = fields.UUIDField()
    email_hash = fields.BinaryField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "tombstone"


class CustomField(Model):
    """A custom field of contacts. Without a tag it is only a candidate: an open-ended key seen in one record (R7)."""

    id = _id()
    account_id = fields.UUIDField()
    service = fields.CharField(max_length=64)
    source_key = fields.TextField()
    title = fields.TextField()
    type = fields.CharEnumField(FieldType, max_length=16)
    personalization_tag = fields.CharField(max_length=100, null=True)
    options = fields.JSONField[list[str]](default=list)
    open_ended = fields.BooleanField(default=False)
    first_seen_in = fields.TextField(null=True)
    sortable = fields.BooleanField(default=False)
    created_at = fields.DatetimeField(auto_now_add=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "field"


class ContactFieldValue(Model):
    """Key (account_id, contact_id, field_id): a sortable field's value, typed."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    field_id = fields.UUIDField()
    text_value = fields.TextField(null=True)
    number_value = fields.DecimalField(max_digits=38, decimal_places=10, null=True)
    time_value = fields.DatetimeField(null=True)

    class Meta:
        table = "contact_field_value"


class ContactList(Model):
    """A list that contacts subscribe to."""

    id = _id()
    account_id = fields.UUIDField()
    name = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "contact_list"


class Subscription(Model):
    """Key (account_id, contact_id, list_id). Leaving a list is a status, never a deleted row (R9)."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    list_id = fields.UUIDField()
    status = fields.CharEnumField(ContactStatus, max_length=16)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "subscription"


class Tag(Model):
    """A label of contacts."""

    id = _id()
    account_id = fields.UUIDField()
    name = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "tag"


class ContactTag(Model):
    """Key (account_id, contact_id, tag_id)."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    tag_id = fields.UUIDField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "contact_tag"


class ExternalAccount(Model):
    """One connected login at a service; the unit of scheduling, and the owner of the cap's window (R4).

    The window ends at `window_ends_at`, where the next begins. While a worker holds the lease, `next_cycle_at` is
    when the next cycle is due after this one.
    """

    id = _id()
    account_id = fields.UUIDField()
    service = fields.CharField(max_length=64)
    remote_identity = fields.TextField()
    label = fields.TextField()
    credentials = fields.BinaryField(null=True)
    credentials_key_id = fields.CharField(max_length=64, null=True)
    health = fields.CharEnumField(ExternalAccountHealth, max_length=16, default=ExternalAccountHealth.HEALTHY)
    health_reason = fields.TextField(null=True)
    next_cycle_at = fields.DatetimeField(null=True)
    window_ends_at = fields.DatetimeField(null=True)
    window_used = fields.IntField(default=0)
    lease_token = fields.UUIDField(null=True)
    lease_expires_at = fields.DatetimeField(null=True)
    transient_failures = fields.IntField(default=0)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "external_account"


class AutomaticImport(Model):
    """A recurring import. `revision` is raised by every edit, pause, delete, disconnect and undo: it fences pages."""

    id = _id()
    account_id = fields.UUIDField()
    external_account_id = fields.UUIDField()
    name = fields.TextField()
    criteria = fields.JSONField[dict[str, object]](default=dict)
    state = fields.CharEnumField(ImportState, max_length=16, default=ImportState.ACTIVE)
    state_reason = fields.TextField(null=True)
    name_policy = fields.CharEnumField(OverwritePolicy, max_length=16, default=OverwritePolicy.ALWAYS)
    phone_policy = fields.CharEnumField(OverwritePolicy, max_length=16, default=OverwritePolicy.ALWAYS)
    deletion_policy = fields.CharEnumField(DeletionPolicy, max_length=16, default=DeletionPolicy.KEEP)
    deletion_tag_id = fields.UUIDField(null=True)
    checkpoint = fields.JSONField[dict[str, object]](null=True)
    revision = fields.IntField(default=1)
    source_total = fields.IntField(null=True)
    backlog = fields.BooleanField(default=True)
    sweep = fields.IntField(default=1)
    last_turn_at = fields.DatetimeField(null=True)
    consecutive_failures = fields.IntField(default=0)
    next_attempt_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "automatic_import"


class ImportList(Model):
    """Key (account_id, automatic_import_id, list_id): a list that an import's contacts are subscribed to."""

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    list_id = fields.UUIDField()

    class Meta:
        table = "automatic_import_list"


class ImportTag(Model):
    """Key (account_id, automatic_import_id, tag_id): a tag that an import's contacts get."""

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    tag_id = fields.UUIDField()

    class Meta:
        table = "automatic_import_tag"


class ImportRun(Model):
    """One attempt of one automatic import inside a cycle. `revision` grows with every change that a watcher sees."""

    id = _id()
    account_id = fields.UUIDField()
    automatic_import_id = fields.UUIDField()
    trigger = fields.CharEnumField(RunTrigger, max_length=16)
    state = fields.CharEnumField(RunState, max_length=24, default=RunState.QUEUED)
    stopped_by = fields.CharEnumField(RunStop, max_length=16, null=True)
    waiting_until = fields.DatetimeField(null=True)
    revision = fields.IntField(default=1)
    checks = fields.IntField(default=1)
    last_checked_at = fields.DatetimeField(null=True)
    found_something = fields.BooleanField(default=False)
    read_count = fields.IntField(default=0)
    created_count = fields.IntField(default=0)
    updated_count = fields.IntField(default=0)
    unchanged_count = fields.IntField(default=0)
    skipped_count = fields.IntField(default=0)
    waiting_count = fields.IntField(default=0)
    failed_count = fields.IntField(default=0)
    protected_count = fields.IntField(default=0)
    silenced_autoresponders = fields.IntField(default=0)
    silenced_webhooks = fields.IntField(default=0)
    silenced_notifications = fields.IntField(default=0)
    error_code = fields.CharField(max_length=32, null=True)
    error_message = fields.TextField(null=True)
    cancel_requested = fields.BooleanField(default=False)
    created_at = fields.DatetimeField(auto_now_add=True)
    started_at = fields.DatetimeField(null=True)
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "import_run"


class LedgerEntry(Model):
    """Key (account_id, external_account_id, external_id, automatic_import_id): the present truth about a record.

    `record` is the record as last seen, `digest` its hash, `consent` the source's consent as last acted on.
    `due` marks a row that is ingested from here before anything new is read; `position` orders the waiting room and
    the succession to a shared address.
    """

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    external_account_id = fields.UUIDField()
    external_id = fields.TextField()
    contact_id = fields.UUIDField(null=True)
    email_key = fields.TextField(null=True)
    record = fields.JSONField[dict[str, object]]()
    digest = fields.BinaryField()
    consent = fields.CharEnumField(SourceConsent, max_length=16, null=True)
    state = fields.CharEnumField(LedgerState, max_length=16)
    code = fields.CharField(max_length=32, null=True)
    due = fields.BooleanField(default=False)
    position = fields.BigIntField()
    revision = fields.IntField()
    run_id = fields.UUIDField()
    first_seen_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "ledger"


class RecordOutcome(Model):
    """Key (account_id, day, id), partitioned by day: what became of a record in a run, and the values before."""

    id = _id()
    account_id = fields.UUIDField()
    day = fields.DateField()
    run_id = fields.UUIDField()
    automatic_import_id = fields.UUIDField()
    external_id = fields.TextField()
    contact_id = fields.UUIDField(null=True)
    outcome = fields.CharEnumField(Outcome, max_length=16)
    code = fields.CharField(max_length=32, null=True)
    notes = fields.JSONField[list[str]](default=list)
    before = fields.JSONField[dict[str, object]](null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "outcome"


class SweepSeen(Model):
    """Key (account_id, automatic_import_id, sweep, external_id): an id that a deletion sweep has seen (R16)."""

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    external_id = fields.TextField()
    sweep = fields.IntField()

    class Meta:
        table = "sweep_seen"


class BackgroundTask(Model):
    """The outbox: work that must happen because of a commit, written in its transaction."""

    id = _id()
    account_id = fields.UUIDField()
    kind = fields.CharField(max_length=64)
    arguments = fields.JSONField[dict[str, object]](default=dict)
    state = fields.CharEnumField(TaskState, max_length=16, default=TaskState.QUEUED)
    progress = fields.JSONField[dict[str, object]](default=dict)
    attempts = fields.IntField(default=0)
    run_at = fields.DatetimeField(auto_now_add=True)
    lease_expires_at = fields.DatetimeField(null=True)
    error_message = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "background_task"


class AuditEntry(Model):
    """Who changed what: the actor is an API token's id, or null for the engine itself."""

    id = _id()
    account_id = fields.UUIDField()
    actor_id = fields.UUIDField(null=True)
    action = fields.CharField(max_length=64)
    subject = fields.TextField()
    details = fields.JSONField[dict[str, object]](default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "audit_entry"
