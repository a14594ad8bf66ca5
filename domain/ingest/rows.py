"""The rows of a page: its new contacts, the ledger, the outcomes. New rows are copied, which is quicker than INSERT."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import orjson

from domain.database import Connection, new_id
from domain.enums import Outcome, OutcomeCode
from domain.ingest.decisions import CREATED, Decision
from domain.ingest.known import Draft
from domain.turns import Turn

CONTACT = (
    "account_id", "created_by_run_id", "id", "email", "email_key", "first_name", "last_name", "phone", "status",
    "field_values",
)  # fmt: skip
LEDGER = (
    "account_id", "external_account_id", "automatic_import_id", "revision", "run_id",
    "external_id", "contact_id", "email_key", "record", "digest", "applied", "state", "code",
)  # fmt: skip
OUTCOME = (
    "account_id", "run_id", "automatic_import_id",
    "id", "external_id", "contact_id", "outcome", "code", "notes", "before", "after",
)  # fmt: skip
UPDATED, WAITS = Outcome.UPDATED, OutcomeCode.CONTACT_LIMIT

Row = tuple[object, ...]


class ContactAppeared(Exception):
    """Someone created a contact with one of the page's addresses meanwhile: decide again."""


async def store_rows(connection: Connection, turn: Turn, run_id: UUID, decisions: Sequence[Decision]) -> None:
    """Make the new contacts, and write each record's ledger row, and its outcome where that is news."""
    created = [decision.contact for decision in decisions if decision.outcome is CREATED and decision.contact]
    made = (turn.account_id, run_id)
    try:
        await _copy(connection, "contact", CONTACT, [made + _contact(contact) for contact in created])
    except asyncpg.UniqueViolationError as error:
        raise ContactAppeared from error
    seen = (turn.account_id, turn.external_account_id, turn.automatic_import_id, turn.revision, run_id)
    # Where somebody begins to wait, all get their places in the order of the page.
    in_order = any(each.code is WAITS for each in decisions)
    copied = [] if in_order else [each for each in decisions if each.entry is None]
    others = [_ledger(each) for each in decisions if in_order or each.entry is not None]
    if others:
        await connection.execute(SEEN_AGAIN, *seen, *zip(*others, strict=True))
    await _copy(connection, "ledger", LEDGER, [seen + _ledger(each) for each in copied])
    became = (turn.account_id, run_id, turn.automatic_import_id)
    await _copy(connection, "outcome", OUTCOME, [became + _outcome(each) for each in decisions if each.is_news])


SEEN_AGAIN = """
INSERT INTO ledger (account_id, external_account_id, automatic_import_id, revision, run_id,
    external_id, contact_id, email_key, record, digest, applied, state, code)
SELECT $1, $2, $3, $4, $5, u.* FROM unnest($6::text[], $7::uuid[], $8::text[], $9::jsonb[], $10::bytea[], $11::jsonb[],
    $12::text[], $13::text[]) u
ON CONFLICT (account_id, external_account_id, external_id, automatic_import_id) DO UPDATE SET
    contact_id = excluded.contact_id, email_key = excluded.email_key, record = excluded.record,
    digest = excluded.digest, applied = excluded.applied, state = excluded.state, code = excluded.code,
    revision = excluded.revision, run_id = excluded.run_id, due = false, updated_at = now(),
    -- Whoever joins the waiting room joins it at its end, and then keeps the place.
    position = CASE WHEN excluded.code = 'CONTACT_LIMIT' AND ledger.code IS DISTINCT FROM 'CONTACT_LIMIT'
        THEN excluded.position ELSE ledger.position END
"""
"""Ledger rows that are there: an UPDATE would not always find them by their key. New ones beside whoever waits, too."""


async def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        return
    try:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
    except (TypeError, ValueError, OverflowError) as error:
        # What the driver says of a statement's argument; of a row it says what Python said.
        raise asyncpg.DataError("a value is not of its column's type") from error


def _contact(contact: Draft) -> Row:
    return (
        contact.id, contact.email, contact.email_key, contact.first_name, contact.last_name, contact.phone,
        contact.status, field_values(contact),
    )  # fmt: skip


def _ledger(decision: Decision) -> Row:
    item, applied = decision.item, decision.applied
    return (
        item.external_id, decision.contact_id, decision.email_key, item.json, item.digest,
        None if applied is None else orjson.dumps(applied).decode(), decision.state, decision.code,
    )  # fmt: skip


def _outcome(decision: Decision) -> Row:
    change, outcome = decision.change, decision.outcome
    return (
        new_id(), decision.item.external_id, decision.contact_id, outcome, decision.code,
        orjson.dumps(change.notes).decode() if change.notes else "[]",
        orjson.dumps(change.before).decode() if change.before else None,
        # A contact that was created is undone as a whole; what became of an updated one has to be compared.
        orjson.dumps(change.after, default=str).decode() if outcome is UPDATED else None,
    )  # fmt: skip


def field_values(contact: Draft) -> str:
    """The contact's field values as JSON; an empty one has no key."""
    return orjson.dumps({key: value for key, value in contact.field_values.items() if value is not None}).decode()
