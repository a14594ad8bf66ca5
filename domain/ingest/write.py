"""Write a page's decisions: a few statements over arrays, however many records."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg
import orjson

from domain import consent, contact_limit, suppressions
from domain.database import Connection, new_id
from domain.effects import ContactChange
from domain.enums import ContactStatus, Outcome, OutcomeCode
from domain.ingest.changed import contact_changes, mailed_lists
from domain.ingest.decisions import CREATED, Decision, Plan
from domain.ingest.known import Draft, Known
from domain.records import SourceConsent
from domain.turns import Turn


class ContactAppeared(Exception):
    """Someone created a contact with one of the page's addresses meanwhile: decide again."""


async def write(connection: Connection, turn: Turn, run_id: UUID, plan: Plan, known: Known) -> Sequence[ContactChange]:
    """Contacts, their targets, suppressions, ledger rows and outcomes, in an order that no unique key minds.

    Returns what happened to contacts.
    """
    new = [decision for decision in plan.decisions if not decision.repeated]
    changed = [decision for decision in new if decision.change.columns or decision.change.values]
    await _release(connection, turn, known)
    await _keep_consent(connection, turn.account_id, new)
    await _move_addresses(connection, turn.account_id, changed)
    await _store_records(connection, turn, run_id, new)
    await _update_contacts(connection, turn.account_id, changed)
    mailed = await mailed_lists(connection, turn.account_id, changed)
    await _decline(connection, turn.account_id, new)
    await _confirm(connection, turn.account_id, changed, known)
    await _add_targets(connection, turn.account_id, new)
    await _suppress(connection, turn.account_id, new)
    await name_successors(connection, turn, known.released.values())
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


async def _release(connection: Connection, turn: Turn, known: Known) -> None:
    """Addresses are let go before others take them, whatever order the upsert visits the rows in."""
    if known.released:
        await connection.execute(
            "UPDATE ledger SET state = 'SKIPPED' WHERE account_id = $1 AND external_account_id = $2"
            " AND automatic_import_id = $3 AND external_id = ANY($4::text[])",
            turn.account_id, turn.external_account_id, turn.automatic_import_id, list(known.released),
        )  # fmt: skip


async def _keep_consent(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """What an address declined stays with it: when its contact moves on, and when its contact was deleted here."""
    moved = [d.contact.id for d in decisions if d.contact and "email_key" in d.change.columns]
    if moved:
        await suppressions.suppress_contacts(connection, account_id, moved)
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
    try:
        await connection.executemany(
            "UPDATE contact SET email = $3, email_key = $4 WHERE account_id = $1 AND id = $2", moves
        )
    except asyncpg.UniqueViolationError as error:
        raise ContactAppeared from error


STORE = """
WITH page AS (
    SELECT * FROM unnest($6::decided_record[])
), contacts AS (
    INSERT INTO contact (account_id, id, email, email_key, first_name, last_name, phone, status, field_values,
        created_by_run_id)
    SELECT $1, contact_id, email, email_key, first_name, last_name, phone, status, field_values, $5
    FROM page WHERE outcome = 'CREATED'
    ON CONFLICT (account_id, email_key) DO NOTHING RETURNING id
), records AS (
    INSERT INTO ledger (account_id, external_account_id, automatic_import_id, revision, run_id,
        external_id, contact_id, email_key, record, digest, applied, state, code)
    SELECT $1, $2, $3, $4, $5, external_id, contact_id, email_key, record, digest, applied, state, code FROM page
    ON CONFLICT (account_id, external_account_id, external_id, automatic_import_id) DO UPDATE SET
        contact_id = excluded.contact_id, email_key = excluded.email_key, record = excluded.record,
        digest = excluded.digest, applied = excluded.applied, state = excluded.state, code = excluded.code,
        revision = excluded.revision, run_id = excluded.run_id, due = false, updated_at = now(),
        -- Whoever joins the waiting room joins it at its end, and then keeps the place.
        position = CASE WHEN excluded.code = 'CONTACT_LIMIT' AND ledger.code IS DISTINCT FROM 'CONTACT_LIMIT'
            THEN excluded.position ELSE ledger.position END
), outcomes AS (
    INSERT INTO outcome (account_id, day, run_id, automatic_import_id,
        id, external_id, contact_id, outcome, code, notes, before, after)
    SELECT $1, (now() AT TIME ZONE 'UTC')::date, $5, $3,
        outcome_id, external_id, contact_id, outcome, code, notes, before, after
    FROM page WHERE outcome_id IS NOT NULL
)
SELECT count(*) FROM contacts
"""
"""New contacts, the ledger's rows and the outcomes. Returns how many contacts there were to make."""


async def _store_records(connection: Connection, turn: Turn, run_id: UUID, decisions: Sequence[Decision]) -> None:
    inserted = await connection.fetchval(
        STORE, turn.account_id, turn.external_account_id, turn.automatic_import_id, turn.revision, run_id,
        [_decided(decision) for decision in decisions],
    )  # fmt: skip
    if inserted != sum(decision.outcome is CREATED for decision in decisions):
        raise ContactAppeared


def _decided(decision: Decision) -> tuple[object, ...]:
    """The decision as the type `decided_record`."""
    item, change, contact, outcome = decision.item, decision.change, decision.contact, decision.outcome
    created = contact if outcome is CREATED else None
    return (
        item.external_id, decision.contact_id, decision.email_key, item.json, item.digest,
        orjson.dumps(decision.applied).decode() if decision.applied is not None else None,
        decision.state, decision.code,
        *(NOT_CREATED if created is None else _new_contact(created)),
        new_id() if decision.is_news else None, outcome,
        orjson.dumps(change.notes).decode() if change.notes else "[]",
        orjson.dumps(change.before).decode() if change.before else None,
        # A contact that was created is undone as a whole; what became of an updated one has to be compared.
        orjson.dumps(change.after, default=str).decode() if outcome is UPDATED else None,
    )  # fmt: skip


def _new_contact(contact: Draft) -> tuple[object, ...]:
    return (
        contact.email, contact.first_name, contact.last_name, contact.phone, contact.status, _field_values(contact)
    )  # fmt: skip


UPDATED = Outcome.UPDATED
NOT_CREATED = (None,) * 6


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
            [_field_values(contact) for contact in changed.values()],
        )


def _field_values(contact: Draft) -> str:
    return orjson.dumps({key: value for key, value in contact.field_values.items() if value is not None}).decode()


async def _decline(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """What an address declined list by list counts for whoever comes to it, also where it was left in this page."""
    if not any("email_key" in d.change.columns for d in decisions):
        return
    came = {
        d.contact.email_key: d
        for d in decisions
        if d.contact and (d.outcome is CREATED or "email_key" in d.change.columns)
    }
    low = await suppressions.load(connection, account_id, came)
    for decision in came.values():
        if decision.change.lists:
            lists = [
                (list_id, consent.lower(status, low.get((decision.email_key or "", list_id))))
                for list_id, status in decision.change.lists
            ]
            decision.change = replace(decision.change, lists=lists)
    declined = [(came[key].contact_id, list_id, status.value) for (key, list_id), status in low.items() if list_id]
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
