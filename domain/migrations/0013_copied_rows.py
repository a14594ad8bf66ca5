"""New rows of contact, ledger and outcome come by COPY: what the statement computed for them is a default now.

The type `decided_record` stays for now: this runs before the workers are replaced, and those still write by it.
"""

from tortoise import migrations
from tortoise.migrations import operations as ops

COPIED_ROWS = """
ALTER TABLE outcome ALTER COLUMN day SET DEFAULT (now() AT TIME ZONE 'UTC')::date;
"""


class Migration(migrations.Migration):
    """Nothing for Tortoise to know."""

    dependencies = [("domain", "0012_shared_identities")]
    operations = [ops.RunSQL(COPIED_ROWS)]
