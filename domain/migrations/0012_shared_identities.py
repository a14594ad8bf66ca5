"""Whoever disconnects asks whether another account is connected to the same login at the service."""

from tortoise import migrations
from tortoise.migrations import operations as ops

INDEX = """
CREATE INDEX external_account_remote_identity_idx ON external_account (service, remote_identity)
    WHERE credentials IS NOT NULL;
"""


class Migration(migrations.Migration):
    """Runs after the tables exist."""

    dependencies = [("domain", "0011_service_authorizations")]
    operations = [ops.RunSQL(INDEX)]
