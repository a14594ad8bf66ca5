"""The form in which a page's decisions reach the statement that writes them: one value a record, not one array a column.

The driver looks at each element of an array twice, at a field of a composite once.
"""

from tortoise import migrations
from tortoise.migrations import operations as ops

DECIDED_RECORD = """
CREATE TYPE decided_record AS (
    external_id text, contact_id uuid, email_key text, record jsonb, digest bytea, applied jsonb, state text, code text,
    email text, first_name text, last_name text, phone text, status text, field_values jsonb,
    outcome_id uuid, outcome text, notes jsonb, before jsonb, after jsonb
);
"""


class Migration(migrations.Migration):
    """Nothing for Tortoise to know."""

    dependencies = [("domain", "0009_lean_keys")]
    operations = [ops.RunSQL(DECIDED_RECORD)]
