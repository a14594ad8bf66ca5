"""Write a page's decisions: a few statements over arrays, however many records."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from domain import consent, contact_limit, suppressions
from domain.database import Connection
from domain.effects import ContactChange
from domain.enums import ContactStatus, Outcome, OutcomeCode
from domain.ingest.changed import contact_changes, mailed_lists
from domain.ingest.decisions import CREATED, Decision, Plan
from domain.ingest.known import Known
from domain.ingest.rows import ContactAppeared, field_values, store_rows
from domain.records import SourceConsent
from domain.turns import Turn


async def write(connection: Connection, turn: Turn, run_id: UUID, plan: Plan, known: Known) -> Sequence[ContactChange]:
    """Contacts, their targets, suppressions, ledger rows and outcomes, in an order that no unique key minds.

    Returns what happened to contacts.
    """
    new = [decision for decision in plan.decisions if not decision.repeated]
    changed = [decision for decision in new if decision.change.columns or decision.change.values]
    await _release(connection, turn, plan.released)
    await _keep_consent(connection, turn.account_id, new)
    await _move_addresses(connection, turn.account_id, changed)
    await store_rows(connection, turn, run_id, new)
    await _update_contacts(connection, turn.account_id, changed)
    mailed = await mailed_lists(connection, turn.account_id, changed)
    await _decline(connection, turn.account_id, new)
    await _confirm(connection, turn.account_id, changed, known)
    await _add_targets(connection, turn.account_id, new)
    await _suppress(connection, turn.account_id, new)
    await name_successors(connection, turn, plan.released.values())
    await contact_limit.count_active(connection, turn.account_id, plan.active_delta)
    if known.queued or plan.held_back:
        await _tell_waiting(connection, turn.account_id, new)
    return await contact_changes(connection, turn.account_id, new, mailed)


async def _tell_waiting(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """Whoever waits under an address that now has a contact becomes that contact at once (R11)."""
    taken = [
        decision.contact.email_key
        for decision in decisions
        if decision.contact is not None
        and (decision.outcome is Outcome.CREATED or "email_key" in decision.change.columns)
    ]
    await contact_limit.tell_waiting(connection, account_id, taken)


async def _release(connection: Connection, turn: Turn, released: Collection[str]) -> None:
    """Addresses are let go before others take them, in whatever order the rows are written."""
    if released:
        await connection.execute(
            "UPDATE ledger SET state = 'SKIPPED' WHERE account_id = $1 AND external_account_id = $2"
            " AND automatic_import_id = $3 AND external_id = ANY($4::text[])",
            turn.account_id, turn.external_account_id, turn.automatic_import_id, list(released),
        )  # fmt: skip


async def _keep_consent(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """What an address declined stays with it: when its contact moves on, and when its contact was deleted here."""
    moved = [d for d in decisions if d.contact and "email_key" in d.change.columns]
    if moved:
        await suppressions.suppress_contacts(connection, account_id, [d.contact_id for d in moved if d.contact_id])
        # Another record of the page may have opted the contact out just before it moved on.
        left = [(d.change.before["email_key"], d.change.before.get("status", d.status)) for d in moved]
        low = {key: status for key, status in left if status in consent.LOW}
        await suppressions.suppress(connection, account_id, {(key, None): status for key, status in low.items()})
    gone = [(d.gone_key, d.item.snapshot["consent"]) for d in decisions if d.gone_key is not None]
    if gone:
        await suppressions.bury(connection, account_id, [key for key, _ in gone])
        # One record's word is enough, whatever another one of that address says.
        denied = [key for key, word in gone if word == SourceConsent.DENIED]
        await suppressions.suppress(connection, account_id, {(key, None): ContactStatus.UNSUBSCRIBED for key in denied})


async def _move_addresses(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """One by one, in the order decided: only so is each address free when the next contact takes it."""
    moves = [
        (account_id, decision.contact_id, decision.change.columns["email"], decision.change.columns["email_key"])
        for decision in decisions
        if "email_key" in decision.change.columns
    ]
    if not moves:
        return
    try:
        await connection.executemany(
            "UPDATE contact SET email = $3, email_key = $4 WHERE account_id = $1 AND id = $2", moves
        )
    except asyncpg.UniqueViolationError as error:
        raise ContactAppeared from error


async def _update_contacts(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """Each contact once, as it ends up: two records of a page may have changed the same one."""
    changed = {decision.contact.id: decision.contact for decision in decisions if decision.contact is not None}
    if changed:
        await connection.execute(
            """
            UPDATE contact c SET first_name = u.first_name, last_name = u.last_name, phone = u.phone,
                status = u.status, field_values = u.field_values, updated_at = now()
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
                u (id, first_name, last_name, phone, status, field_values)
            WHERE c.account_id = $1 AND c.id = u.id
            """,
            account_id,
            list(changed),
            [contact.first_name for contact in changed.values()],
            [contact.last_name for contact in changed.values()],
            [contact.phone for contact in changed.values()],
            [contact.status for contact in changed.values()],
            [field_values(contact) for contact in changed.values()],
        )


async def _decline(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """What an address declined list by list counts for whoever comes to it, also where it was left in this page."""
    if not any("email_key" in d.change.columns for d in decisions):
        return
    # By the address that each contact ends up with: what joins lists may be another record than what moves it.
    came = {
        d.contact.email_key: d.contact.id
        for d in decisions
        if d.contact and (d.outcome is CREATED or "email_key" in d.change.columns)
    }
    low = await suppressions.load(connection, account_id, came)
    for decision in decisions:
        contact = decision.contact
        if decision.change.lists and contact is not None and contact.email_key in came:
            lists = [
                (list_id, consent.lower(status, low.get((contact.email_key, list_id))))
                for list_id, status in decision.change.lists
            ]
            decision.change = replace(decision.change, lists=lists)
    declined = [(came[key], list_id, status.value) for (key, list_id), status in low.items() if list_id]
    if declined:
        await connection.execute(
            "UPDATE subscription s SET status = u.status, updated_at = now()"
            " FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u (contact_id, list_id, status)"
            " WHERE s.account_id = $1 AND s.contact_id = u.contact_id AND s.list_id = u.list_id"
            " AND s.status IN ('ACTIVE', 'UNCONFIRMED')",
            account_id, *zip(*declined, strict=True),
        )  # fmt: skip


async def _confirm(connection: Connection, account_id: UUID, decisions: Sequence[Decision], known: Known) -> None:
    """A confirmation counts for the import's lists too, not for what others wait for."""
    confirmed = [
        d.contact_id
        for d in decisions
        if d.change.before.get("status") == ContactStatus.UNCONFIRMED and d.change.columns["status"] == "ACTIVE"
    ]
    if confirmed and known.rules.list_ids:
        await connection.execute(
            "UPDATE subscription SET status = 'ACTIVE', updated_at = now() WHERE account_id = $1"
            " AND contact_id = ANY($2::uuid[]) AND list_id = ANY($3::uuid[]) AND status = 'UNCONFIRMED'",
            account_id, confirmed, known.rules.list_ids,
        )  # fmt: skip


async def _add_targets(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    lists = [(d.contact_id, list_id, status.value) for d in decisions for list_id, status in d.change.lists]
    if lists:
        await connection.execute(
            "INSERT INTO subscription (account_id, contact_id, list_id, status)"
            " SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u ON CONFLICT DO NOTHING",
            account_id, *zip(*lists, strict=True),
        )  # fmt: skip
    tags = [(d.contact_id, tag_id) for d in decisions for tag_id in d.change.tags]
    if tags:
        await connection.execute(
            "INSERT INTO contact_tag (account_id, contact_id, tag_id)"
            " SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[]) u ON CONFLICT DO NOTHING",
            account_id, *zip(*tags, strict=True),
        )  # fmt: skip


async def _suppress(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """An opt-out belongs to the address, and outlives the contact (R9)."""
    low: dict[tuple[str, UUID | None], ContactStatus] = {
        (decision.contact.email_key, None): decision.contact.status
        for decision in decisions
        if decision.contact is not None and decision.opts_out
    }
    if low:
        await suppressions.suppress(connection, account_id, low)


async def name_successors(connection: Connection, turn: Turn, released: Collection[str]) -> None:
    """An address that nobody holds any more goes to the next record in line, before anything new is read (R6)."""
    if released:
        await connection.execute(
            """
            UPDATE ledger l SET due = true FROM (
                SELECT DISTINCT ON (email_key) external_id FROM ledger d
                WHERE account_id = $1 AND automatic_import_id = $2 AND code = $4 AND email_key = ANY($3::text[])
                    AND NOT EXISTS (SELECT FROM ledger h WHERE h.account_id = d.account_id
                        AND h.automatic_import_id = d.automatic_import_id AND h.email_key = d.email_key
                        AND h.state = 'LINKED')
                ORDER BY email_key, position
            ) next
            WHERE l.account_id = $1 AND l.external_account_id = $5 AND l.external_id = next.external_id
                AND l.automatic_import_id = $2
            """,
            turn.account_id, turn.automatic_import_id, list(released), OutcomeCode.DUPLICATE_EMAIL,
            turn.external_account_id,
        )  # fmt: skip


REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What PostgreSQL says when it does not take a record's values."""
