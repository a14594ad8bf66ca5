"""Lists and tags that are deleted, and the index by which a deleted contact is found among records without one."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

# The name of a deleted list or tag is free.
NAMES = """
DROP INDEX contact_list_name_key;
CREATE UNIQUE INDEX contact_list_name_key ON contact_list (account_id, lower(name)) WHERE deleted_at IS NULL;
DROP INDEX tag_name_key;
CREATE UNIQUE INDEX tag_name_key ON tag (account_id, lower(name)) WHERE deleted_at IS NULL;
"""

# The hot path, which links records, does not touch it.
ADDRESSES = """
CREATE INDEX ledger_email_idx ON ledger (account_id, email_key) WHERE state <> 'LINKED';
"""


class Migration(migrations.Migration):
    """Runs after the tables exist."""

    dependencies = [("domain", "0007_ledger_exceptions")]
    operations = [
        ops.AddField(
            model_name="ContactList",
            name="deleted_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Tag",
            name="deleted_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        *(ops.RunSQL(sql) for sql in (NAMES, ADDRESSES)),
    ]
