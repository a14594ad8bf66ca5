"""What must hold at any moment, whatever the rules make of it."""

from uuid import UUID

from domain import database

INVARIANTS = {
    "a linked record has its contact": """
        SELECT count(*) FROM ledger l LEFT JOIN contact c ON c.account_id = l.account_id AND c.id = l.contact_id
        WHERE l.state = 'LINKED' AND c.id IS NULL""",
    "whatever contact the ledger names exists": """
        SELECT count(*) FROM ledger l LEFT JOIN contact c ON c.account_id = l.account_id AND c.id = l.contact_id
        WHERE l.contact_id IS NOT NULL AND c.id IS NULL""",
    "the account counts its ACTIVE contacts": """
        SELECT count(*) FROM account a
        WHERE active_contacts <> (SELECT count(*) FROM contact c WHERE c.account_id = a.id AND c.status = 'ACTIVE')""",
    "no address is held twice in an import": """
        SELECT count(*) FROM (SELECT FROM ledger WHERE state = 'LINKED' GROUP BY automatic_import_id, email_key
            HAVING count(*) > 1) doubles""",
    "every record read is counted once": """
        SELECT count(*) FROM import_run WHERE read_count <> created_count + updated_count + unchanged_count
            + skipped_count + waiting_count + failed_count""",
    "every contact that was written is an outcome": """
        SELECT count(*) FROM import_run r WHERE created_count + updated_count <> (
            SELECT count(*) FROM outcome o WHERE o.run_id = r.id AND o.outcome IN ('CREATED', 'UPDATED'))""",
    "the cap is never passed": "SELECT count(*) FROM external_account WHERE window_used > $1",
    "no duplicate waits for an address that nobody holds": """
        SELECT count(*) FROM ledger d WHERE d.code = 'DUPLICATE_EMAIL' AND NOT EXISTS (
            SELECT FROM ledger h WHERE h.automatic_import_id = d.automatic_import_id AND h.email_key = d.email_key
                AND (h.state IN ('LINKED', 'WAITING', 'UNDONE') OR h.due))""",
}


async def check_invariants(cap: int) -> None:
    """All of them in one statement."""
    counts = ", ".join(f'({query}) AS "{name}"' for name, query in INVARIANTS.items())
    row = (await database.fetch(f"SELECT {counts}", cap))[0]
    broken = {name: row[name] for name in INVARIANTS if row[name]}
    assert not broken, broken


Statuses = dict[tuple[UUID, UUID | None], str]
"""The status of every contact, and of its subscriptions, by contact and list."""
LOW = {"UNSUBSCRIBED", "BOUNCED"}


async def statuses() -> Statuses:
    """As they are."""
    rows = await database.fetch(
        "SELECT id AS contact_id, NULL::uuid AS list_id, status FROM contact"
        " UNION ALL SELECT contact_id, list_id, status FROM subscription"
    )
    return {(row["contact_id"], row["list_id"]): row["status"] for row in rows}


def check_consent(before: Statuses, after: Statuses) -> None:
    """R9: nothing raised UNSUBSCRIBED or BOUNCED. For every step but those in which a user sets a status."""
    raised = {key: after[key] for key in before.keys() & after.keys() if before[key] in LOW and after[key] not in LOW}
    assert not raised, f"consent was raised: {raised}"
