"""Keys, checks and indexes of the tables of sweeps, previews, undoing and background tasks; the queue of R11."""

from tortoise import migrations
from tortoise.migrations import operations as ops

TABLES = """
ALTER TABLE background_task
    ALTER COLUMN arguments SET DEFAULT '{}', ALTER COLUMN progress SET DEFAULT '{}',
    ALTER COLUMN state SET DEFAULT 'QUEUED', ALTER COLUMN attempts SET DEFAULT 0,
    ALTER COLUMN run_at SET DEFAULT now(), ALTER COLUMN created_at SET DEFAULT now(),
    ADD CONSTRAINT background_task_state_check CHECK (state IN ('QUEUED', 'RUNNING', 'COMPLETED', 'FAILED'));
CREATE UNIQUE INDEX background_task_queued_key ON background_task (account_id, kind, subject) WHERE state = 'QUEUED';

ALTER TABLE sweep_page DROP CONSTRAINT sweep_page_pkey, ADD PRIMARY KEY (account_id, automatic_import_id, sweep, id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE;
ALTER TABLE missing_record DROP CONSTRAINT missing_record_pkey,
    ALTER COLUMN external_id TYPE text COLLATE "C", ALTER COLUMN confirmed SET DEFAULT false,
    ADD PRIMARY KEY (account_id, automatic_import_id, external_id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE;

ALTER TABLE import_preview DROP CONSTRAINT import_preview_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id, external_account_id) REFERENCES external_account (account_id, id) ON DELETE CASCADE;
ALTER TABLE import_undo DROP CONSTRAINT import_undo_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE;
CREATE INDEX import_undo_import_idx ON import_undo (account_id, automatic_import_id, id);
ALTER TABLE undone_record DROP CONSTRAINT undone_record_pkey, ADD PRIMARY KEY (account_id, undo_id, id),
    ALTER COLUMN created_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id, undo_id) REFERENCES import_undo (account_id, id) ON DELETE CASCADE;
"""

# Whoever the contact limit holds back stands in one queue, new contacts and confirmations alike. The second index
# finds those whose address meanwhile has a contact.
WAITING_ROOM = """
DROP INDEX ledger_waiting_idx;
CREATE INDEX ledger_waiting_idx ON ledger (account_id, automatic_import_id, position) WHERE code = 'CONTACT_LIMIT';
CREATE INDEX ledger_waiting_email_idx ON ledger (account_id, email_key) WHERE code = 'CONTACT_LIMIT';
"""


class Migration(migrations.Migration):
    """Runs after the tables exist."""

    dependencies = [("domain", "0003_engine")]
    operations = [ops.RunSQL(sql) for sql in (TABLES, WAITING_ROOM)]
