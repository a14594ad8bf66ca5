"""A deletion that the service told of is one for every import that knows the record; absence says so of one import."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

DEFAULTS = "ALTER TABLE missing_record ALTER COLUMN told SET DEFAULT false"


class Migration(migrations.Migration):
    """What was confirmed before counts as absence, which lets nobody go whom another import still knows."""

    dependencies = [("domain", "0013_copied_rows")]
    operations = [
        ops.AddField(model_name="MissingRecord", name="told", field=fields.BooleanField(default=False)),
        ops.RunSQL(DEFAULTS),
    ]
