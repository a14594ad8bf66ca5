"""An index for whoever asks which records are not simply linked; the hot path, which links them, does not touch it."""

from tortoise import migrations
from tortoise.migrations import operations as ops

EXCEPTIONS = """
CREATE INDEX ledger_exception_idx ON ledger (account_id, automatic_import_id, external_id)
    WHERE state <> 'LINKED' OR code IS NOT NULL;
"""


class Migration(migrations.Migration):
    """Runs after the ledger exists."""

    dependencies = [("domain", "0006_undo")]
    operations = [ops.RunSQL(EXCEPTIONS)]
