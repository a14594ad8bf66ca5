"""What retention looks for: background tasks by the time when they were finished."""

from tortoise import migrations
from tortoise.migrations import operations as ops

FINISHED = "CREATE INDEX background_task_finished_idx ON background_task (finished_at) WHERE finished_at IS NOT NULL;"


class Migration(migrations.Migration):
    """Runs after the tables exist."""

    dependencies = [("domain", "0004_engine_constraints")]
    operations = [ops.RunSQL(FINISHED)]
