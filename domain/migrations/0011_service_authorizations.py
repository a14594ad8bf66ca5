"""Attempts to get a user's consent on a page of a service, and the right to renew an external account's credentials."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops
from uuid_utils.compat import uuid7

from domain.enums import AttemptState

KEYS = """
ALTER TABLE service_authorization DROP CONSTRAINT service_authorization_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, external_account_id) REFERENCES external_account (account_id, id) ON DELETE CASCADE,
    ADD CONSTRAINT service_authorization_used_check CHECK (used_at IS NULL OR secret IS NULL);
"""


class Migration(migrations.Migration):
    """Runs after the tables exist."""

    dependencies = [("domain", "0010_decided_record")]
    operations = [
        ops.AddField(
            model_name="ExternalAccount",
            name="renewing_until",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.CreateModel(
            name="ServiceAuthorizationAttempt",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("service", fields.CharField(max_length=64)),
                ("token_id", fields.UUIDField()),
                ("external_account_id", fields.UUIDField(null=True)),
                ("secret", fields.BinaryField(null=True)),
                (
                    "state",
                    fields.CharEnumField(
                        default=AttemptState.PENDING,
                        description="PENDING: PENDING\nCOMPLETED: COMPLETED\nFAILED: FAILED\nEXPIRED: EXPIRED",
                        enum_type=AttemptState,
                        max_length=16,
                    ),
                ),
                ("problems", fields.JSONField(default=list, encoder=JSON_DUMPS, decoder=loads)),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("used_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={
                "table": "service_authorization",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "One attempt to get a user's consent on a page of the service; `external_account_id`: what it reconnects, or made.",
            },
            bases=["Model"],
        ),
        ops.RunSQL(KEYS),
    ]
