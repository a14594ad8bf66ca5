"""Keys, checks, indexes, partitions, the consent guard and the plan tiers: what Tortoise cannot say."""

from tortoise import migrations
from tortoise.migrations import operations as ops

# Every table that belongs to an account is keyed by it, so that the database can be distributed by account.
KEYS = """
ALTER TABLE account ADD FOREIGN KEY (plan_tier_key) REFERENCES plan_tier (key),
    ADD FOREIGN KEY (auto_upgrade_ceiling_key) REFERENCES plan_tier (key),
    ADD CONSTRAINT account_active_contacts_check CHECK (active_contacts >= 0);
CREATE UNIQUE INDEX account_name_key ON account (name);

ALTER TABLE api_token DROP CONSTRAINT api_token_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
CREATE UNIQUE INDEX api_token_hash_key ON api_token (token_hash);

ALTER TABLE contact DROP CONSTRAINT contact_pkey, ADD PRIMARY KEY (account_id, id),
    ALTER COLUMN email_key TYPE text COLLATE "C",
    ALTER COLUMN field_values SET DEFAULT '{}',
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE,
    ADD CONSTRAINT contact_email_key_key UNIQUE (account_id, email_key),
    ADD CONSTRAINT contact_status_check CHECK (status IN ('ACTIVE', 'UNCONFIRMED', 'UNSUBSCRIBED', 'BOUNCED'));
CREATE INDEX contact_field_values_idx ON contact USING gin (field_values jsonb_path_ops);

ALTER TABLE suppression DROP CONSTRAINT suppression_pkey, ADD PRIMARY KEY (account_id, id),
    ALTER COLUMN created_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE,
    ADD CONSTRAINT suppression_status_check CHECK (status IN ('UNSUBSCRIBED', 'BOUNCED'));
CREATE UNIQUE INDEX suppression_all_key ON suppression (account_id, email_hash) WHERE list_id IS NULL;
CREATE UNIQUE INDEX suppression_list_key ON suppression (account_id, email_hash, list_id) WHERE list_id IS NOT NULL;

ALTER TABLE tombstone DROP CONSTRAINT tombstone_pkey, ADD PRIMARY KEY (account_id, email_hash),
    ALTER COLUMN created_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;

ALTER TABLE field DROP CONSTRAINT field_pkey, ADD PRIMARY KEY (account_id, id),
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN sortable SET DEFAULT false,
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE,
    ADD CONSTRAINT field_source_key UNIQUE (account_id, service, source_key),
    ADD CONSTRAINT field_tag_key UNIQUE (account_id, personalization_tag),
    ADD CONSTRAINT field_tag_check CHECK (personalization_tag ~ '^[A-Z0-9_]+$'),
    ADD CONSTRAINT field_active_check CHECK ((personalization_tag IS NULL) = (activated_at IS NULL));

ALTER TABLE contact_field_value DROP CONSTRAINT contact_field_value_pkey,
    ADD PRIMARY KEY (account_id, contact_id, field_id),
    ADD FOREIGN KEY (account_id, contact_id) REFERENCES contact (account_id, id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, field_id) REFERENCES field (account_id, id) ON DELETE CASCADE;
CREATE INDEX contact_field_value_text_idx ON contact_field_value (account_id, field_id, text_value, contact_id)
    WHERE text_value IS NOT NULL;
CREATE INDEX contact_field_value_number_idx ON contact_field_value (account_id, field_id, number_value, contact_id)
    WHERE number_value IS NOT NULL;
CREATE INDEX contact_field_value_time_idx ON contact_field_value (account_id, field_id, time_value, contact_id)
    WHERE time_value IS NOT NULL;

ALTER TABLE contact_list DROP CONSTRAINT contact_list_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
CREATE UNIQUE INDEX contact_list_name_key ON contact_list (account_id, lower(name));
ALTER TABLE suppression ADD FOREIGN KEY (account_id, list_id) REFERENCES contact_list (account_id, id) ON DELETE CASCADE;

ALTER TABLE subscription DROP CONSTRAINT subscription_pkey, ADD PRIMARY KEY (account_id, contact_id, list_id),
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id, contact_id) REFERENCES contact (account_id, id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, list_id) REFERENCES contact_list (account_id, id) ON DELETE CASCADE,
    ADD CONSTRAINT subscription_status_check CHECK (status IN ('ACTIVE', 'UNCONFIRMED', 'UNSUBSCRIBED', 'BOUNCED'));
CREATE INDEX subscription_list_idx ON subscription (account_id, list_id, contact_id);

ALTER TABLE tag DROP CONSTRAINT tag_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
CREATE UNIQUE INDEX tag_name_key ON tag (account_id, lower(name));

ALTER TABLE contact_tag DROP CONSTRAINT contact_tag_pkey, ADD PRIMARY KEY (account_id, contact_id, tag_id),
    ALTER COLUMN created_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id, contact_id) REFERENCES contact (account_id, id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, tag_id) REFERENCES tag (account_id, id) ON DELETE CASCADE;
CREATE INDEX contact_tag_tag_idx ON contact_tag (account_id, tag_id, contact_id);

ALTER TABLE external_account DROP CONSTRAINT external_account_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE,
    ADD CONSTRAINT external_account_identity_key UNIQUE (account_id, service, remote_identity),
    ADD CONSTRAINT external_account_lease_check CHECK ((lease_token IS NULL) = (lease_expires_at IS NULL));
CREATE INDEX external_account_due_idx ON external_account (next_cycle_at)
    WHERE lease_token IS NULL AND health = 'HEALTHY' AND next_cycle_at IS NOT NULL;
CREATE INDEX external_account_lease_idx ON external_account (lease_expires_at) WHERE lease_token IS NOT NULL;

ALTER TABLE automatic_import DROP CONSTRAINT automatic_import_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id, external_account_id) REFERENCES external_account (account_id, id),
    ADD FOREIGN KEY (account_id, deletion_tag_id) REFERENCES tag (account_id, id);
CREATE INDEX automatic_import_external_account_idx ON automatic_import (account_id, external_account_id)
    WHERE deleted_at IS NULL;

ALTER TABLE automatic_import_list DROP CONSTRAINT automatic_import_list_pkey,
    ADD PRIMARY KEY (account_id, automatic_import_id, list_id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, list_id) REFERENCES contact_list (account_id, id) ON DELETE CASCADE;
ALTER TABLE automatic_import_tag DROP CONSTRAINT automatic_import_tag_pkey,
    ADD PRIMARY KEY (account_id, automatic_import_id, tag_id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id, tag_id) REFERENCES tag (account_id, id) ON DELETE CASCADE;

ALTER TABLE import_run DROP CONSTRAINT import_run_pkey, ADD PRIMARY KEY (account_id, id),
    ALTER COLUMN revision SET DEFAULT 1, ALTER COLUMN checks SET DEFAULT 1,
    ALTER COLUMN found_something SET DEFAULT false, ALTER COLUMN cancel_requested SET DEFAULT false,
    ALTER COLUMN read_count SET DEFAULT 0, ALTER COLUMN created_count SET DEFAULT 0,
    ALTER COLUMN updated_count SET DEFAULT 0, ALTER COLUMN unchanged_count SET DEFAULT 0,
    ALTER COLUMN skipped_count SET DEFAULT 0, ALTER COLUMN waiting_count SET DEFAULT 0,
    ALTER COLUMN failed_count SET DEFAULT 0, ALTER COLUMN protected_count SET DEFAULT 0,
    ALTER COLUMN silenced_autoresponders SET DEFAULT 0, ALTER COLUMN silenced_webhooks SET DEFAULT 0,
    ALTER COLUMN silenced_notifications SET DEFAULT 0, ALTER COLUMN created_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE,
    ADD CONSTRAINT import_run_counts_check CHECK (read_count = created_count + updated_count + unchanged_count
        + skipped_count + waiting_count + failed_count);
CREATE UNIQUE INDEX import_run_open_key ON import_run (account_id, automatic_import_id)
    WHERE state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE', 'NEEDS_REVIEW');
CREATE INDEX import_run_import_idx ON import_run (account_id, automatic_import_id, id);
"""

# No foreign key to contact: it costs a third of the write speed. The property test of `ingest` holds its promise.
LEDGER = """
CREATE SEQUENCE ledger_position_seq;
ALTER TABLE ledger DROP CONSTRAINT ledger_pkey,
    ADD PRIMARY KEY (account_id, external_account_id, external_id, automatic_import_id),
    ALTER COLUMN external_id TYPE text COLLATE "C",
    ALTER COLUMN email_key TYPE text COLLATE "C",
    ALTER COLUMN position SET DEFAULT nextval('ledger_position_seq'),
    ALTER COLUMN due SET DEFAULT false,
    ALTER COLUMN first_seen_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE,
    ADD CONSTRAINT ledger_state_check
        CHECK (state IN ('LINKED', 'SKIPPED', 'WAITING', 'FAILED', 'DELETED', 'UNDONE')),
    ADD CONSTRAINT ledger_linked_check CHECK (state <> 'LINKED' OR (contact_id IS NOT NULL AND email_key IS NOT NULL));
CREATE UNIQUE INDEX ledger_holder_key ON ledger (account_id, automatic_import_id, email_key)
    WHERE state = 'LINKED';
CREATE INDEX ledger_contact_idx ON ledger (account_id, contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX ledger_waiting_idx ON ledger (account_id, position) WHERE state = 'WAITING';
CREATE INDEX ledger_due_idx ON ledger (account_id, automatic_import_id, position) WHERE due;
CREATE INDEX ledger_duplicate_idx ON ledger (account_id, automatic_import_id, email_key, position)
    WHERE code = 'DUPLICATE_EMAIL';

ALTER TABLE sweep_seen DROP CONSTRAINT sweep_seen_pkey,
    ALTER COLUMN external_id TYPE text COLLATE "C",
    ADD PRIMARY KEY (account_id, automatic_import_id, sweep, external_id),
    ADD FOREIGN KEY (account_id, automatic_import_id) REFERENCES automatic_import (account_id, id) ON DELETE CASCADE;
"""

# Partitioned by day, so that retention drops tables instead of deleting rows. The default partition is the net for a
# day that nobody prepared.
OUTCOME = """
ALTER TABLE outcome RENAME TO outcome_unpartitioned;
CREATE TABLE outcome (LIKE outcome_unpartitioned INCLUDING DEFAULTS, PRIMARY KEY (account_id, day, id))
    PARTITION BY RANGE (day);
DROP TABLE outcome_unpartitioned;
ALTER TABLE outcome ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN notes SET DEFAULT '[]',
    ADD CONSTRAINT outcome_outcome_check
        CHECK (outcome IN ('CREATED', 'UPDATED', 'UNCHANGED', 'SKIPPED', 'WAITING', 'FAILED'));
CREATE INDEX outcome_run_idx ON outcome (account_id, run_id, id);
CREATE TABLE outcome_default PARTITION OF outcome DEFAULT;

CREATE FUNCTION sluice_prepare_outcome_days(first_day date, days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new_day date;
BEGIN
    FOR new_day IN SELECT first_day + n FROM generate_series(0, days - 1) n LOOP
        IF to_regclass('outcome_' || to_char(new_day, 'YYYYMMDD')) IS NULL
            AND NOT EXISTS (SELECT FROM outcome_default o WHERE o.day = new_day) THEN
            EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF outcome FOR VALUES FROM (%L) TO (%L)',
                'outcome_' || to_char(new_day, 'YYYYMMDD'), new_day, new_day + 1);
        END IF;
    END LOOP;
END $$;
"""

REST = """
ALTER TABLE background_task DROP CONSTRAINT background_task_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
CREATE INDEX background_task_due_idx ON background_task (run_at) WHERE state = 'QUEUED';
CREATE INDEX background_task_lease_idx ON background_task (lease_expires_at) WHERE state = 'RUNNING';
ALTER TABLE audit_entry DROP CONSTRAINT audit_entry_pkey, ADD PRIMARY KEY (account_id, id),
    ADD FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
"""

# The last line of R9: whatever code forgets, a raise passes only where the transaction names the acting user.
CONSENT_GUARD = """
CREATE FUNCTION sluice_guard_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IN ('UNSUBSCRIBED', 'BOUNCED') AND NEW.status IN ('ACTIVE', 'UNCONFIRMED')
        AND coalesce(current_setting('sluice.acting_user', true), '') = '' THEN
        RAISE EXCEPTION 'consent of % % may be raised only by a user (R9)', TG_TABLE_NAME, OLD.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contact_consent_guard BEFORE UPDATE OF status ON contact
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION sluice_guard_consent();
CREATE TRIGGER subscription_consent_guard BEFORE UPDATE OF status ON subscription
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION sluice_guard_consent();
"""

PLAN_TIERS = """
INSERT INTO plan_tier (key, name, contact_limit)
SELECT 'contacts-' || n, to_char(n, 'FM9,999,999') || ' contacts', n
FROM unnest(ARRAY[1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000]) n;
"""


class Migration(migrations.Migration):
    """Runs after the tables exist; there is no way back but an empty database."""

    dependencies = [("domain", "0001_tables")]
    operations = [ops.RunSQL(sql) for sql in (KEYS, LEDGER, OUTCOME, REST, CONSENT_GUARD, PLAN_TIERS)]
