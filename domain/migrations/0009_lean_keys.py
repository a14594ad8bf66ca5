"""Two foreign keys less, on the two tables that an import fills: they took more than half of PostgreSQL's time."""

from tortoise import migrations
from tortoise.migrations import operations as ops

# Every row of a page had its account and its import looked up and locked, though whoever writes a ledger row holds its
# import's row, and no account is deleted while it is written for: it has imports, whose own keys refuse that. What is
# left of the keys is what they did on deletion, once per statement.
LEAN_KEYS = """
ALTER TABLE contact DROP CONSTRAINT contact_account_id_fkey;
ALTER TABLE ledger DROP CONSTRAINT ledger_account_id_automatic_import_id_fkey;

CREATE FUNCTION sluice_delete_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM contact c USING gone WHERE c.account_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER account_contacts AFTER DELETE ON account REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_delete_contacts();

CREATE FUNCTION sluice_delete_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ledger l USING gone WHERE l.account_id = gone.account_id
        AND l.external_account_id = gone.external_account_id AND l.automatic_import_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER automatic_import_ledger AFTER DELETE ON automatic_import REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_delete_ledger();
"""


class Migration(migrations.Migration):
    """Nothing for Tortoise to know."""

    dependencies = [("domain", "0008_deleted_targets")]
    operations = [ops.RunSQL(LEAN_KEYS)]
