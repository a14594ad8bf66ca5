"""Write what undoing a slice of outcomes comes to: a few statements over arrays, however many records."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import contact_limit, effects, suppressions
from domain.database import Connection
from domain.effects import ContactChange, Origin
from domain.undo.known import Known, Undoing
from domain.undo.plan import Plan


async def write(connection: Connection, undoing: Undoing, plan: Plan, known: Known) -> None:
    """Suppressions, contacts, their targets, ledger rows and results, in an order that no unique key minds."""
    account_id, removed = undoing.account_id, list(plan.removed)
    await suppressions.suppress(connection, account_id, plan.consents)
    await _remove_contacts(connection, account_id, removed)
    # One by one, in the order decided: only so is each address free when the next contact takes it.
    await connection.executemany(
        "UPDATE contact SET email = $3, email_key = $4 WHERE account_id = $1 AND id = $2",
        [(account_id, *move) for move in plan.moved],
    )
    await contact_limit.tell_waiting(connection, account_id, [email_key for _, _, email_key in plan.moved])
    await _restore_contacts(connection, account_id, plan)
    await _lower_subscriptions(connection, account_id, plan)
    await _leave_targets(connection, account_id, plan)
    await _mark_ledger(connection, undoing, plan, known)
    await _insert_results(connection, undoing, plan)
    effects.announce(Origin.AUTOMATIC_IMPORT, [ContactChange(written=True) for _ in (*plan.removed, *plan.changed)])


async def _remove_contacts(connection: Connection, account_id: UUID, removed: Sequence[UUID]) -> None:
    """What they declined outlives them (R9). No tombstone: nobody decided that these people are not wanted here."""
    if removed:
        await suppressions.suppress_contacts(connection, account_id, removed)
        await connection.execute(
            "UPDATE ledger SET contact_id = NULL, applied = NULL, due = false, updated_at = now(),"
            # What the service deleted stays deleted.
            " state = CASE WHEN state = 'DELETED' THEN state ELSE 'UNDONE' END,"
            " code = CASE WHEN state = 'DELETED' THEN code ELSE 'UNDONE' END"
            " WHERE account_id = $1 AND contact_id = ANY($2::uuid[])",
            account_id, removed,
        )  # fmt: skip
        await connection.execute(
            "DELETE FROM contact WHERE account_id = $1 AND id = ANY($2::uuid[])", account_id, removed
        )


async def _restore_contacts(connection: Connection, account_id: UUID, plan: Plan) -> None:
    contacts = list(plan.changed.values())
    if contacts:
        await connection.execute(
            """
            UPDATE contact c SET first_name = u.first_name, last_name = u.last_name, phone = u.phone,
                status = u.status, field_values = u.field_values, updated_at = now()
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
                u (id, first_name, last_name, phone, status, field_values)
            WHERE c.account_id = $1 AND c.id = u.id
            """,
            account_id,
            [contact.id for contact in contacts],
            [contact.first_name for contact in contacts],
            [contact.last_name for contact in contacts],
            [contact.phone for contact in contacts],
            [contact.status.value for contact in contacts],
            [orjson.dumps(contact.field_values).decode() for contact in contacts],
        )


async def _lower_subscriptions(connection: Connection, account_id: UUID, plan: Plan) -> None:
    if plan.lowered:
        await connection.execute(
            "UPDATE subscription s SET status = u.status, updated_at = now()"
            " FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u (contact_id, list_id, status)"
            " WHERE s.account_id = $1 AND s.contact_id = u.contact_id AND s.list_id = u.list_id",
            account_id, *zip(*plan.lowered, strict=True), list(plan.lowered.values()),
        )  # fmt: skip


async def _leave_targets(connection: Connection, account_id: UUID, plan: Plan) -> None:
    for table, column, left in (
        ("subscription", "list_id", plan.left_lists),
        ("contact_tag", "tag_id", plan.left_tags),
    ):
        if left:
            await connection.execute(
                f"DELETE FROM {table} t USING unnest($2::uuid[], $3::uuid[]) u (contact_id, target_id)"
                f" WHERE t.account_id = $1 AND t.contact_id = u.contact_id AND t.{column} = u.target_id",
                account_id, *zip(*left, strict=True),
            )  # fmt: skip


async def _mark_ledger(connection: Connection, undoing: Undoing, plan: Plan, known: Known) -> None:
    """The records that the run wrote last are UNDONE until they change at the source.

    They hold no address and name no successor, who would bring back what is undone. What a run that stays wrote since
    is that run's. Their record as seen is what a later change is compared with: an undone value stays undone until
    that very value changes there (R8).
    """
    await connection.execute(
        "UPDATE ledger SET state = 'UNDONE', code = 'UNDONE', due = false, updated_at = now(),"
        " applied = CASE WHEN state <> 'LINKED' THEN applied END"
        " WHERE account_id = $1 AND external_account_id = $2 AND automatic_import_id = $3"
        " AND external_id = ANY($4::text[]) AND state NOT IN ('UNDONE', 'DELETED')",
        undoing.account_id, undoing.external_account_id, undoing.automatic_import_id,
        list({each.outcome.external_id for each in plan.undone} - known.rewritten),
    )  # fmt: skip


async def _insert_results(connection: Connection, undoing: Undoing, plan: Plan) -> None:
    await connection.execute(
        "INSERT INTO undone_record (account_id, undo_id, run_id,"
        " id, external_id, contact_id, result, code, details) SELECT $1, $2, $3, u.* FROM unnest($4::uuid[],"
        " $5::text[], $6::uuid[], $7::text[], $8::text[], $9::jsonb[]) u",
        undoing.account_id, undoing.undo_id, undoing.run_id,
        [uuid7() for _ in plan.undone],
        [each.outcome.external_id for each in plan.undone],
        [each.outcome.contact_id for each in plan.undone],
        [each.result.value for each in plan.undone],
        [each.code.value if each.code else None for each in plan.undone],
        [orjson.dumps(each.details).decode() for each in plan.undone],
    )  # fmt: skip


async def count(connection: Connection, undoing: Undoing, counts: Mapping[str, int]) -> None:
    """What the undo has come to so far, by result."""
    await connection.execute(
        "UPDATE import_undo SET counts = $3 WHERE account_id = $1 AND id = $2",
        undoing.account_id, undoing.undo_id, orjson.dumps(dict(counts)).decode(),
    )  # fmt: skip
