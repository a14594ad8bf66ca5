from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

DEFAULTS = "ALTER TABLE undone_record ALTER COLUMN details SET DEFAULT '[]'"


class Migration(migrations.Migration):
    dependencies = [("domain", "0005_finished_tasks")]

    initial = False

    operations = [
        ops.AddField(
            model_name="ImportUndo",
            name="total",
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name="UndoneRecord",
            name="details",
            field=fields.JSONField(default=list, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.RunSQL(DEFAULTS),
    ]
