"""External accounts and their automatic imports; no rules."""

from tortoise import fields
from tortoise.models import Model

from domain.enums import AttemptState, DeletionPolicy, ExternalAccountHealth, ImportState, OverwritePolicy
from domain.models.keys import new_id


class ExternalAccount(Model):
    """One connected login at a service; the unit of scheduling, and the owner of the cap's window (R4).

    The window ends at `window_ends_at`, where the next begins. While a worker holds the lease, `next_cycle_at` is
    when the next cycle is due after this one. `not_before` is until when the service wants to be left alone.
    Until `renewing_until` somebody renews the credentials, and nobody else may.
    """

    id = new_id()
    account_id = fields.UUIDField()
    service = fields.CharField(max_length=64)
    remote_identity = fields.TextField()
    label = fields.TextField()
    credentials = fields.BinaryField(null=True)
    health = fields.CharEnumField(ExternalAccountHealth, max_length=16, default=ExternalAccountHealth.HEALTHY)
    health_reason = fields.TextField(null=True)
    next_cycle_at = fields.DatetimeField(null=True)
    window_ends_at = fields.DatetimeField(null=True)
    window_used = fields.IntField(default=0)
    lease_token = fields.UUIDField(null=True)
    lease_expires_at = fields.DatetimeField(null=True)
    transient_failures = fields.IntField(default=0)
    not_before = fields.DatetimeField(null=True)
    renewing_until = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "external_account"


class ServiceAuthorizationAttempt(Model):
    """One attempt to get a user's consent on a page of the service; `external_account_id`: what it reconnects, or made.

    `secret` is what finishing needs, sealed, and gone once `used_at` is set: an answer is taken once.
    """

    id = new_id()
    account_id = fields.UUIDField()
    service = fields.CharField(max_length=64)
    token_id = fields.UUIDField()
    external_account_id = fields.UUIDField(null=True)
    secret = fields.BinaryField(null=True)
    state = fields.CharEnumField(AttemptState, max_length=16, default=AttemptState.PENDING)
    problems = fields.JSONField[list[dict[str, object]]](default=list)
    expires_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "service_authorization"


class AutomaticImport(Model):
    """A recurring import. `revision` is raised by every edit, pause, delete, disconnect and undo: it fences pages.

    It is due in a window until `served_window_ends_at` names that window, or while it has an open run. `sweep` numbers
    the sweep under way, which began at `sweep_started_at`, else the last; `sweep_is_whole` is false where part of it
    was read under other credentials. `guard` is what the guard against accidents counts until the pass is complete.
    """

    id = new_id()
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
    source_remaining = fields.IntField(null=True)
    backlog = fields.BooleanField(default=True)
    sweep = fields.IntField(default=0)
    sweep_started_at = fields.DatetimeField(null=True)
    sweep_is_whole = fields.BooleanField(default=True, db_default=True)
    guard = fields.JSONField[dict[str, object]](default=dict, db_default={})
    served_window_ends_at = fields.DatetimeField(null=True)
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
