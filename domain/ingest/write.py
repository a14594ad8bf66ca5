"""Write a page's decisions: a few statements over arrays, however many records."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
import orjson
from uuid_utils.compat import uuid7

from domain import contact_limit, suppressions, waiting_room
from domain.database import Connection
from domain.effects import ContactChange
from domain.enums import ContactStatus, Outcome, OutcomeCode
from domain.ingest.changed import contact_changes
from domain.ingest.decisions import Decision, Plan
from domain.ingest.known import Draft, Known
from domain.turns import Turn


class ContactAppeared(Exception):
    """Someone created a contact with one of the page's addresses meanwhile: decide again."""


async def write(connection: Connection, turn: Turn, run_id: UUID, plan: Plan, known: Known) -> Sequence[ContactChange]:
    """Contacts, their targets, suppressions, ledger rows and outcomes, in an order that no unique key minds.

    Returns what happened to contacts.
    """
    new = [decision for decision in plan.decisions if not decision.repeated]
    await _release(connection, turn, known)
    await _move_addresses(connection, turn.account_id, new)
    await _insert_contacts(connection, turn.account_id, run_id, new)
    await _update_contacts(connection, turn.account_id, new)
    await _keep_subscriptions(connection, turn.account_id, new, known)
    await _add_targets(connection, turn.account_id, new)
    await _suppress(connection, turn.account_id, new)
    await _upsert_ledger(connection, turn, run_id, new)
    await _insert_outcomes(connection, turn, run_id, [decision for decision in new if decision.is_news])
    await name_successors(connection, turn, known.released.values())
    await contact_limit.count_active(connection, turn.account_id, plan.active_delta)
    if known.queued or plan.held_back:
        await _tell_waiting(connection, turn.account_id, new)
    return await contact_changes(connection, turn.account_id, new)


async def _tell_waiting(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """Whoever waits under an address that now has a contact becomes that contact at once (R11)."""
    taken = [
        decision.contact.email_key
        for decision in decisions
        if decision.contact is not None
        and (decision.outcome is Outcome.CREATED or "email_key" in decision.change.columns)
    ]
    if taken and await waiting_room.mark_due(connection, account_id, taken):
        await contact_limit.ask_for_draining(connection, account_id)


async def _release(connection: Connection, turn: Turn, known: Known) -> None:
    """Addresses are let go before others take them, whatever order the upsert visits the rows in."""
    if known.released:
        await connection.execute(
            "UPDATE ledger SET state = 'SKIPPED' WHERE account_id = $1 AND external_account_id = $2"
            " AND automatic_import_id = $3 AND external_id = ANY($4::text[])",
            turn.account_id, turn.external_account_id, turn.automatic_import_id, list(known.released),
        )  # fmt: skip


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


async def _insert_contacts(
    connection: Connection, account_id: UUID, run_id: UUID, decisions: Sequence[Decision]
) -> None:
    created = [d.contact for d in decisions if d.outcome is Outcome.CREATED and d.contact is not None]
    if not created:
        return
    inserted = await connection.execute(
        """
        INSERT INTO contact (account_id, id, email, email_key, first_name, last_name, phone, status, field_values,
            created_by_run_id)
        SELECT $1, u.*, $2 FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::jsonb[]) u
        ON CONFLICT (account_id, email_key) DO NOTHING
        """,
        account_id, run_id, *_columns(created),
    )  # fmt: skip
    if _affected(inserted) != len(created):
        raise ContactAppeared


async def _update_contacts(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> None:
    """Each contact once, as it ends up: two records of a page may have changed the same one."""
    changed = {
        decision.contact.id: decision.contact
        for decision in decisions
        if decision.contact is not None
        and decision.outcome is not Outcome.CREATED
        and (decision.change.columns or decision.change.values)
    }
    if changed:
        await connection.execute(
            """
            UPDATE contact c SET first_name = u.first_name, last_name = u.last_name, phone = u.phone,
                status = u.status, field_values = u.field_values, updated_at = now()
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::jsonb[]) u (id, email, email_key, first_name, last_name, phone, status, field_values)
            WHERE c.account_id = $1 AND c.id = u.id
            """,
            account_id, *_columns(list(changed.values())),
        )  # fmt: skip


def _columns(contacts: Sequence[Draft]) -> list[list[object]]:
    return [
        [contact.id for contact in contacts],
        [contact.email for contact in contacts],
        [contact.email_key for contact in contacts],
        [contact.first_name for contact in contacts],
        [contact.last_name for contact in contacts],
        [contact.phone for contact in contacts],
        [contact.status.value for contact in contacts],
        [
            orjson.dumps({key: value for key, value in contact.field_values.items() if value is not None}).decode()
            for contact in contacts
        ],
    ]


async def _keep_subscriptions(
    connection: Connection, account_id: UUID, decisions: Sequence[Decision], known: Known
) -> None:
    """What an address declined list by list counts for whoever moves to it; a confirmation counts for the lists too.

    Only for the lists of the import: what others wait for is not confirmed by this source.
    """
    moved = {d.contact.email_key: d.contact.id for d in decisions if d.contact and "email_key" in d.change.columns}
    declined = [
        (moved[key], list_id, status.value)
        for (key, list_id), status in known.suppressed.items()
        if key in moved and list_id is not None
    ]
    if declined:
        await connection.execute(
            "UPDATE subscription s SET status = u.status, updated_at = now()"
            " FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u (contact_id, list_id, status)"
            " WHERE s.account_id = $1 AND s.contact_id = u.contact_id AND s.list_id = u.list_id"
            " AND s.status IN ('ACTIVE', 'UNCONFIRMED')",
            account_id, *zip(*declined, strict=True),
        )  # fmt: skip
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


def _sparse(column: list[str | None]) -> list[str | None]:
    """The column, or nothing where it holds nothing: `unnest` fills it up, and asyncpg looks at each element twice."""
    return column if any(value is not None for value in column) else []


async def _upsert_ledger(connection: Connection, turn: Turn, run_id: UUID, decisions: Sequence[Decision]) -> None:
    await connection.execute(
        """
        INSERT INTO ledger (account_id, external_account_id, automatic_import_id, revision, run_id,
            external_id, contact_id, email_key, record, digest, applied, state, code)
        SELECT $1, $2, $3, $4, $5, u.* FROM unnest($6::text[], $7::uuid[], $8::text[], $9::jsonb[], $10::bytea[],
            $11::jsonb[], $12::text[], $13::text[]) u
        ON CONFLICT (account_id, external_account_id, external_id, automatic_import_id) DO UPDATE SET
            contact_id = excluded.contact_id, email_key = excluded.email_key, record = excluded.record,
            digest = excluded.digest, applied = excluded.applied, state = excluded.state, code = excluded.code,
            revision = excluded.revision, run_id = excluded.run_id, due = false, updated_at = now(),
            -- Whoever joins the waiting room joins it at its end, and then keeps the place.
            position = CASE WHEN excluded.code = 'CONTACT_LIMIT' AND ledger.code IS DISTINCT FROM 'CONTACT_LIMIT'
                THEN excluded.position ELSE ledger.position END
        """,
        turn.account_id, turn.external_account_id, turn.automatic_import_id, turn.revision, run_id,
        [d.item.external_id for d in decisions],
        [d.contact_id for d in decisions],
        [d.email_key for d in decisions],
        [d.item.json for d in decisions],
        [d.item.digest for d in decisions],
        _sparse([orjson.dumps(d.applied).decode() if d.applied is not None else None for d in decisions]),
        [d.state.value for d in decisions],
        _sparse([d.code for d in decisions]),
    )  # fmt: skip


async def _insert_outcomes(connection: Connection, turn: Turn, run_id: UUID, decisions: Sequence[Decision]) -> None:
    await connection.execute(
        """
        INSERT INTO outcome (account_id, day, run_id, automatic_import_id,
            id, external_id, contact_id, outcome, code, notes, before, after)
        SELECT $1, (now() AT TIME ZONE 'UTC')::date, $2, $3, u.* FROM unnest($4::uuid[], $5::text[], $6::uuid[],
            $7::text[], $8::text[], $9::jsonb[], $10::jsonb[], $11::jsonb[]) u
        """,
        turn.account_id, run_id, turn.automatic_import_id,
        [uuid7() for _ in decisions],
        [d.item.external_id for d in decisions],
        [d.contact_id for d in decisions],
        [d.outcome.value for d in decisions],
        _sparse([d.code for d in decisions]),
        [orjson.dumps(d.change.notes).decode() if d.change.notes else "[]" for d in decisions],
        _sparse([orjson.dumps(d.change.before).decode() if d.change.before else None for d in decisions]),
        # A contact that was created is undone as a whole; what became of an updated one has to be compared.
        _sparse([
            orjson.dumps(d.change.after, default=str).decode() if d.outcome is Outcome.UPDATED else None
            for d in decisions
        ]),
    )  # fmt: skip


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


def _affected(status: str) -> int:
    return int(status.rpartition(" ")[2])


REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What PostgreSQL says when it does not take a record's values."""
