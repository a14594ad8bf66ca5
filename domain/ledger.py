"""Reading the ledger: the present truth about every record, and where a contact's values come from (R17)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from domain import database
from domain.emails import email_key
from domain.enums import LedgerState, OutcomeCode
from domain.keyset import Select, Slice, Span

COLUMNS = (
    "automatic_import_id, external_id, contact_id, record->>'email' AS email, state, code, position, first_seen_at,"
    " updated_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """What became of one record of one automatic import. `email` is the address as the service last gave it.

    `position` orders the waiting room; it says nothing by itself.
    """

    automatic_import_id: UUID
    external_id: str
    contact_id: UUID | None
    email: str | None
    state: LedgerState
    code: OutcomeCode | None
    position: int
    first_seen_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which ledger rows; all that is given counts. An `email` is compared as contacts are, and as it was given."""

    state: LedgerState | None = None
    code: OutcomeCode | None = None
    email: str | None = None
    external_id: str | None = None


async def of_imports(
    account_id: UUID, import_ids: Sequence[UUID], span: Span, wanted: RecordFilter
) -> dict[UUID, Slice[LedgerRow]]:
    """A slice of each import's records, ordered by external id."""
    select = Select(COLUMNS, "ledger", account_id=account_id, key="external_id")
    if wanted.state is not None:
        select.where("state = {}", wanted.state)
    if wanted.code is not None:
        select.where("code = {}", wanted.code)
    if wanted.external_id is not None:
        select.where("external_id = {}", wanted.external_id)
    if wanted.email is not None:
        # Each half has an index of its own: whoever holds an address, and the few that are not simply linked.
        select.where(
            "((state = 'LINKED' AND email_key = {0})"
            " OR (state <> 'LINKED' AND (email_key = {0} OR record->>'email' = {1})))",
            email_key(wanted.email.strip()),
            wanted.email,
        )
    # The primary key leads by external account, which an import never changes: naming it makes the key usable.
    parent = (
        "external_account_id = (SELECT external_account_id FROM automatic_import"
        " WHERE account_id = $1 AND id = parents.parent_id) AND automatic_import_id"
    )
    return await select.slices(span, _row, parent=parent, parent_ids=import_ids)


async def of_contacts(account_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, list[LedgerRow]]:
    """The records that are linked to each of the contacts, oldest link first."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM ledger WHERE account_id = $1 AND contact_id = ANY($2::uuid[]) AND state = 'LINKED'"
        " ORDER BY first_seen_at, automatic_import_id, external_id",
        account_id,
        list(contact_ids),
    )
    found: dict[UUID, list[LedgerRow]] = {contact_id: [] for contact_id in contact_ids}
    for row in rows:
        found[row["contact_id"]].append(_row(row))
    return found


async def linked_counts(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many records of each import are linked to a contact."""
    rows = await database.fetch(
        "SELECT automatic_import_id, count(*) FROM ledger"
        " WHERE account_id = $1 AND automatic_import_id = ANY($2::uuid[]) AND state = 'LINKED'"
        " GROUP BY automatic_import_id",
        account_id,
        list(import_ids),
    )
    return dict.fromkeys(import_ids, 0) | {row["automatic_import_id"]: row["count"] for row in rows}


def _row(row: asyncpg.Record) -> LedgerRow:
    return LedgerRow(
        automatic_import_id=row["automatic_import_id"],
        external_id=row["external_id"],
        contact_id=row["contact_id"],
        email=row["email"],
        state=LedgerState(row["state"]),
        code=OutcomeCode(row["code"]) if row["code"] else None,
        position=row["position"],
        first_seen_at=row["first_seen_at"],
        updated_at=row["updated_at"],
    )
