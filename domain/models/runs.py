"""What imports did, and what they know of every record; no rules."""

from tortoise import fields
from tortoise.models import Model

from domain.enums import LedgerState, Outcome, RunState, RunStop, RunTrigger
from domain.models.keys import new_id


class ImportRun(Model):
    """One attempt of one automatic import inside a cycle. `revision` grows with every change that a watcher sees."""

    id = new_id()
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

    `record` is the record as last seen, `digest` its hash; `applied` is the record as last written to the contact,
    where that is an older one. `due` marks a row that is ingested from here before anything new is read; `position`
    orders the waiting room and the succession to a shared address.
    """

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    external_account_id = fields.UUIDField()
    external_id = fields.TextField()
    contact_id = fields.UUIDField(null=True)
    email_key = fields.TextField(null=True)
    record = fields.JSONField[dict[str, object]]()
    digest = fields.BinaryField()
    applied = fields.JSONField[dict[str, object]](null=True)
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

    id = new_id()
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
