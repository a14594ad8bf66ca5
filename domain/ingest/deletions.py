"""Act on deletions at the source, which are free of the cap: the ledger says so, and the import's policy acts (R16)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from domain import contact_limit, database, import_runs, suppressions
from domain.consent import LOW
from domain.effects import ContactChange, Effects, Origin, announce
from domain.enums import ContactStatus, DeletionPolicy, LedgerState
from domain.ingest.changed import count_active_subscriptions
from domain.ingest.decisions import KEEPS_ADDRESS
from domain.ingest.transaction import MAX_RECORDS, Stored, Storing, in_transaction
from domain.ingest.write import name_successors
from domain.turns import Turn


async def store_deletions(turn: Turn) -> Stored | None:
    """Act on up to 500 records that are known to be deleted. None where none is left."""
    # Hardly ever is there one: a look is cheaper than to hold the turn.
    if not await database.fetch(
        "SELECT FROM missing_record WHERE account_id = $1 AND automatic_import_id = $2 AND confirmed LIMIT 1",
        turn.account_id, turn.automatic_import_id,
    ):  # fmt: skip
        return None

    async def work(storing: Storing) -> Stored:
        stored = Stored()
        stored.consumed = await act(storing, stored)
        return stored

    stored = await in_transaction(turn, work)
    return stored if stored.consumed else None


async def act(storing: Storing, stored: Stored) -> int:
    """Act on up to 500 records that are known to be deleted. Returns how many they were."""
    connection, turn = storing.connection, storing.turn
    rows = await connection.fetch(
        """
        WITH gone AS (
            SELECT external_id FROM missing_record WHERE account_id = $1 AND automatic_import_id = $2 AND confirmed
            ORDER BY external_id LIMIT $4
        )
        SELECT gone.external_id, l.email_key, l.state, l.due, l.contact_id FROM gone LEFT JOIN ledger l
            ON l.account_id = $1 AND l.external_account_id = $3 AND l.external_id = gone.external_id
            AND l.automatic_import_id = $2 AND l.state <> 'DELETED'
        """,
        turn.account_id, turn.automatic_import_id, turn.external_account_id, MAX_RECORDS,
    )  # fmt: skip
    if known := [row for row in rows if row["state"] is not None]:
        await _delete(storing, known, stored)
    await connection.execute(
        "DELETE FROM missing_record WHERE account_id = $1 AND automatic_import_id = $2 AND external_id = ANY($3)",
        turn.account_id, turn.automatic_import_id, [row["external_id"] for row in rows],
    )  # fmt: skip
    return len(rows)


async def _delete(storing: Storing, known: Sequence[Mapping[str, Any]], stored: Stored) -> None:
    connection, turn = storing.connection, storing.turn
    await _hold_contacts(storing, {row["contact_id"] for row in known if row["contact_id"] is not None})
    await connection.execute(
        "UPDATE ledger SET state = 'DELETED', code = NULL, due = false, updated_at = now()"
        " WHERE account_id = $1 AND external_account_id = $2 AND automatic_import_id = $3"
        " AND external_id = ANY($4::text[])",
        turn.account_id, turn.external_account_id, turn.automatic_import_id, [row["external_id"] for row in known],
    )  # fmt: skip
    effects = await _apply_policy(storing, await _gone_for_good(storing, known))
    await name_successors(
        connection, turn, {row["email_key"] for row in known if row["state"] in KEEPS_ADDRESS or row["due"]}
    )
    run_id = storing.run_id or await import_runs.open_for_news(connection, turn.account_id, turn.automatic_import_id)
    stored.run = await import_runs.count_deleted(
        connection, turn.account_id, turn.automatic_import_id, run_id, len(known), effects
    )


async def _hold_contacts(storing: Storing, contact_ids: Collection[UUID]) -> None:
    """What the policy may change, in the lock order of the house: before the ledger."""
    policy = storing.rules.deletion_policy
    if policy is DeletionPolicy.UNSUBSCRIBE:
        await contact_limit.hold(storing.connection, storing.turn.account_id)
    if policy is not DeletionPolicy.KEEP:
        await storing.connection.execute(
            "SELECT FROM contact WHERE account_id = $1 AND id = ANY($2::uuid[]) ORDER BY email_key FOR NO KEY UPDATE",
            storing.turn.account_id, list(contact_ids),
        )  # fmt: skip


async def _gone_for_good(storing: Storing, deleted: Sequence[Mapping[str, Any]]) -> Sequence[UUID]:
    """The contacts that no other record of the service has, be it one that waits for the address (R6).

    What the service says is deleted is so for every import that knows the record; what this import's sweeps miss may
    only have left its criteria, but an import that was deleted will not know better.
    """
    turn = storing.turn
    linked = [row for row in deleted if row["state"] == LedgerState.LINKED]
    # A value, not a join: by the key, however many are missing and whatever was thought of the table when planning.
    gone = """
        (SELECT m.confirmed AND (m.told OR o.automatic_import_id = $3 OR o.automatic_import_id IN (
            SELECT id FROM automatic_import WHERE account_id = $1 AND deleted_at IS NOT NULL))
        FROM missing_record m
        WHERE m.account_id = $1 AND m.automatic_import_id = $3 AND m.external_id = o.external_id)
    """
    rows = await storing.connection.fetch(
        f"""
        SELECT DISTINCT u.contact_id FROM unnest($4::uuid[], $5::text[]) u (contact_id, email_key)
        WHERE NOT EXISTS (SELECT FROM ledger o WHERE o.account_id = $1 AND o.contact_id = u.contact_id
                AND o.external_account_id = $2 AND o.state = 'LINKED' AND {gone} IS NOT TRUE)
            AND NOT EXISTS (SELECT FROM ledger o WHERE o.account_id = $1 AND o.email_key = u.email_key
                AND o.external_account_id = $2 AND o.state = 'SKIPPED' AND o.code = 'DUPLICATE_EMAIL'
                AND {gone} IS NOT TRUE)
        ORDER BY 1
        """,
        turn.account_id, turn.external_account_id, turn.automatic_import_id,
        [row["contact_id"] for row in linked], [row["email_key"] for row in linked],
    )  # fmt: skip
    return [row["contact_id"] for row in rows]


async def _apply_policy(storing: Storing, contact_ids: Sequence[UUID]) -> Effects:
    match storing.rules.deletion_policy:
        case DeletionPolicy.UNSUBSCRIBE:
            changes = await _unsubscribe(storing, contact_ids)
        case DeletionPolicy.TAG:
            changes = await _tag(storing, contact_ids)
        case DeletionPolicy.KEEP:
            changes = []
    return announce(Origin.AUTOMATIC_IMPORT, changes)


async def _unsubscribe(storing: Storing, contact_ids: Collection[UUID]) -> list[ContactChange]:
    connection, account_id = storing.connection, storing.turn.account_id
    rows = await connection.fetch(
        "SELECT id, email_key, status FROM contact WHERE account_id = $1 AND id = ANY($2::uuid[]) AND status <> ALL($3)"
        " ORDER BY email_key FOR NO KEY UPDATE",
        account_id, list(contact_ids), list(LOW),
    )  # fmt: skip
    ids = [row["id"] for row in rows]
    left = await count_active_subscriptions(connection, account_id, [r["id"] for r in rows if r["status"] == "ACTIVE"])
    await connection.execute(
        "UPDATE contact SET status = 'UNSUBSCRIBED', updated_at = now() WHERE account_id = $1 AND id = ANY($2::uuid[])",
        account_id, ids,
    )  # fmt: skip
    low: suppressions.Suppressed = {(row["email_key"], None): ContactStatus.UNSUBSCRIBED for row in rows}
    await suppressions.suppress(connection, account_id, low)
    await contact_limit.count_active(connection, account_id, -sum(row["status"] == "ACTIVE" for row in rows))
    return [ContactChange(written=True, left=left.get(contact_id, 0)) for contact_id in ids]


async def _tag(storing: Storing, contact_ids: Collection[UUID]) -> list[ContactChange]:
    rows = await storing.connection.fetch(
        "INSERT INTO contact_tag (account_id, contact_id, tag_id) SELECT account_id, id, $3 FROM contact"
        " WHERE account_id = $1 AND id = ANY($2::uuid[]) ON CONFLICT DO NOTHING RETURNING contact_id",
        storing.turn.account_id, list(contact_ids), storing.rules.deletion_tag_id,
    )  # fmt: skip
    return [ContactChange(written=True) for _ in rows]
