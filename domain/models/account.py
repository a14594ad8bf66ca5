"""An account's own tables; no rules."""

from tortoise import fields
from tortoise.models import Model

from domain.enums import TaskState
from domain.models.keys import new_id


class PlanTier(Model):
    """One rung of the ladder of plans. Data, not code."""

    key = fields.CharField(max_length=64, primary_key=True)
    name = fields.TextField()
    contact_limit = fields.IntField()

    class Meta:
        table = "plan_tier"


class Account(Model):
    """The tenant. `active_contacts` is kept by whoever changes a contact's status, under this row's lock."""

    id = new_id()
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

    id = new_id()
    account_id = fields.UUIDField()
    token_hash = fields.BinaryField()
    name = fields.TextField(default="")
    scopes = fields.JSONField[list[str]](default=list)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "api_token"


class BackgroundTask(Model):
    """The outbox: work that must happen because of a commit, written in its transaction.

    `subject` is what the work is about: while a task of its kind is queued for it, another changes nothing.
    """

    id = new_id()
    account_id = fields.UUIDField()
    kind = fields.CharField(max_length=64)
    subject = fields.UUIDField()
    arguments = fields.JSONField[dict[str, object]](default=dict)
    state = fields.CharEnumField(TaskState, max_length=16, default=TaskState.QUEUED)
    progress = fields.JSONField[dict[str, object]](default=dict)
    attempts = fields.IntField(default=0)
    run_at = fields.DatetimeField(auto_now_add=True)
    lease_token = fields.UUIDField(null=True)
    lease_expires_at = fields.DatetimeField(null=True)
    error_message = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "background_task"


class AuditEntry(Model):
    """Who changed what: the actor is an API token's id, or null for the engine itself."""

    id = new_id()
    account_id = fields.UUIDField()
    actor_id = fields.UUIDField(null=True)
    action = fields.CharField(max_length=64)
    subject = fields.TextField()
    details = fields.JSONField[dict[str, object]](default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "audit_entry"
