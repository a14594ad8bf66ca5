"""What imports did, and what they know of every record; no rules."""

from tortoise import fields
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model

from domain.enums import LedgerState, Outcome, RunState, RunStop, RunTrigger, TaskState
from domain.models.keys import new_id


class ImportRun(Model):
    """One attempt of one automatic import inside a cycle. `revision` grows with every change that a watcher sees.

    `deleted_count` is how many records the service deleted, which are not read; `review` is what a user has to judge.
    """

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
    deleted_count = fields.IntField(default=0, db_default=0)
    silenced_autoresponders = fields.IntField(default=0)
    silenced_webhooks = fields.IntField(default=0)
    silenced_notifications = fields.IntField(default=0)
    error_code = fields.CharField(max_length=32, null=True)
    error_message = fields.TextField(null=True)
    cancel_requested = fields.BooleanField(default=False)
    review = fields.JSONField[dict[str, object]](null=True)
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
    """Key (account_id, day, id), partitioned by day: what became of a record in a run.

    `before` and `after` are the values that an UPDATED contact had and got, and the lists and tags it got.
    """

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
    after = fields.JSONField[dict[str, object]](null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "outcome"


class SweepPage(Model):
    """Key (account_id, automatic_import_id, sweep, id): the ids that a sweep saw on one page (R16)."""

    id = new_id()
    account_id = fields.UUIDField()
    automatic_import_id = fields.UUIDField()
    sweep = fields.IntField()
    external_ids = ArrayField(element_type="text")

    class Meta:
        table = "sweep_page"


class MissingRecord(Model):
    """Key (account_id, automatic_import_id, external_id): a record that the last complete sweep missed.

    `confirmed`: it is deleted, because the service said so (`told`) or because it was missed twice (R16).
    """

    automatic_import_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    external_id = fields.TextField()
    confirmed = fields.BooleanField(default=False)
    told = fields.BooleanField(default=False)

    class Meta:
        table = "missing_record"


class ImportPreview(Model):
    """What an automatic import would do, filled in by a background task (R21)."""

    id = new_id()
    account_id = fields.UUIDField()
    external_account_id = fields.UUIDField()
    automatic_import_id = fields.UUIDField(null=True)
    input = fields.JSONField[dict[str, object]](default=dict)
    state = fields.CharEnumField(TaskState, max_length=16, default=TaskState.QUEUED)
    result = fields.JSONField[dict[str, object]](default=dict)
    error_message = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "import_preview"


class ImportUndo(Model):
    """The undoing of runs, newest first, by a background task (R20). `counts` is by result.

    `total` is how many outcomes the runs have, null until it has begun.
    """

    id = new_id()
    account_id = fields.UUIDField()
    automatic_import_id = fields.UUIDField()
    run_ids = fields.JSONField[list[str]](default=list)
    state = fields.CharEnumField(TaskState, max_length=16, default=TaskState.QUEUED)
    total = fields.IntField(null=True)
    counts = fields.JSONField[dict[str, int]](default=dict)
    error_message = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "import_undo"


class UndoneRecord(Model):
    """Key (account_id, undo_id, id): what undoing came to for one record of one run.

    `details` is `[{"kind", "id" of the field, list or tag, "code" why it stayed, null where it came back}]`.
    """

    id = new_id()
    account_id = fields.UUIDField()
    undo_id = fields.UUIDField()
    run_id = fields.UUIDField()
    external_id = fields.TextField()
    contact_id = fields.UUIDField(null=True)
    result = fields.CharField(max_length=16)
    code = fields.CharField(max_length=32, null=True)
    details = fields.JSONField[list[dict[str, object]]](default=list)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "undone_record"
