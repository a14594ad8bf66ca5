from uuid import uuid4

from orjson import loads
from tortoise import fields, migrations
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops
from uuid_utils.compat import uuid7

from domain.enums import TaskState


class Migration(migrations.Migration):
    dependencies = [("domain", "0002_constraints")]

    initial = False

    operations = [
        ops.CreateModel(
            name="ImportPreview",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("external_account_id", fields.UUIDField()),
                ("automatic_import_id", fields.UUIDField(null=True)),
                ("input", fields.JSONField(default=dict, encoder=JSON_DUMPS, decoder=loads)),
                (
                    "state",
                    fields.CharEnumField(
                        default=TaskState.QUEUED,
                        description="QUEUED: QUEUED\nRUNNING: RUNNING\nCOMPLETED: COMPLETED\nFAILED: FAILED",
                        enum_type=TaskState,
                        max_length=16,
                    ),
                ),
                ("result", fields.JSONField(default=dict, encoder=JSON_DUMPS, decoder=loads)),
                ("error_message", fields.TextField(null=True, unique=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("finished_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "import_preview",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "What an automatic import would do, filled in by a background task (R21).",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ImportUndo",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("automatic_import_id", fields.UUIDField()),
                ("run_ids", fields.JSONField(default=list, encoder=JSON_DUMPS, decoder=loads)),
                (
                    "state",
                    fields.CharEnumField(
                        default=TaskState.QUEUED,
                        description="QUEUED: QUEUED\nRUNNING: RUNNING\nCOMPLETED: COMPLETED\nFAILED: FAILED",
                        enum_type=TaskState,
                        max_length=16,
                    ),
                ),
                ("counts", fields.JSONField(default=dict, encoder=JSON_DUMPS, decoder=loads)),
                ("error_message", fields.TextField(null=True, unique=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("finished_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "import_undo",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "The undoing of runs, newest first, by a background task (R20). `counts` is by result.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="MissingRecord",
            fields=[
                ("automatic_import_id", fields.UUIDField(primary_key=True, default=uuid4, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("external_id", fields.TextField(unique=False)),
                ("confirmed", fields.BooleanField(default=False)),
            ],
            options={
                "table": "missing_record",
                "app": "domain",
                "pk_attr": "automatic_import_id",
                "table_description": "Key (account_id, automatic_import_id, external_id): a record that the last complete sweep missed.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="SweepPage",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("automatic_import_id", fields.UUIDField()),
                ("sweep", fields.IntField()),
                ("external_ids", ArrayField(element_type="TEXT")),
            ],
            options={
                "table": "sweep_page",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "Key (account_id, automatic_import_id, sweep, id): the ids that a sweep saw on one page (R16).",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="UndoneRecord",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("account_id", fields.UUIDField()),
                ("undo_id", fields.UUIDField()),
                ("run_id", fields.UUIDField()),
                ("external_id", fields.TextField(unique=False)),
                ("contact_id", fields.UUIDField(null=True)),
                ("result", fields.CharField(max_length=16)),
                ("code", fields.CharField(null=True, max_length=32)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={
                "table": "undone_record",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "Key (account_id, undo_id, id): what undoing came to for one record of one run.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="AutomaticImport",
            name="guard",
            field=fields.JSONField(default=dict, db_default={}, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name="AutomaticImport",
            name="sweep_is_whole",
            field=fields.BooleanField(default=True, db_default=True),
        ),
        ops.AddField(
            model_name="AutomaticImport",
            name="sweep_started_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="BackgroundTask",
            name="lease_token",
            field=fields.UUIDField(null=True),
        ),
        ops.AddField(
            model_name="BackgroundTask",
            name="subject",
            field=fields.UUIDField(),
        ),
        ops.AddField(
            model_name="ImportRun",
            name="deleted_count",
            field=fields.IntField(default=0, db_default=0),
        ),
        ops.AddField(
            model_name="ImportRun",
            name="review",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AlterModelOptions(
            name="RecordOutcome",
            options={
                "table": "outcome",
                "app": "domain",
                "pk_attr": "id",
                "table_description": "Key (account_id, day, id), partitioned by day: what became of a record in a run.",
            },
        ),
        ops.AddField(
            model_name="RecordOutcome",
            name="after",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.DeleteModel(name="SweepSeen"),
    ]
