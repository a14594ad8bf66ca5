"""Reading outcomes: what became of the records of a run, page by page or all in one stream (R17, R18)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.enums import Outcome, OutcomeCode, OutcomeNote
from domain.keyset import Select, Slice, Span

COLUMNS = "id, run_id, external_id, contact_id, outcome, code, notes, before, after, created_at"
CONTACT_COLUMNS = ("email", "first_name", "last_name", "phone", "status")
STREAMED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """A value of a contact before and after: of a column, or of a custom field."""

    column: str | None
    field_id: UUID | None
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What became of one record in one run. `changes`, `list_ids` and `tag_ids`: what an UPDATED contact got."""

    id: UUID
    external_id: str
    contact_id: UUID | None
    outcome: Outcome
    code: OutcomeCode | None
    notes: Sequence[OutcomeNote]
    changes: Sequence[ValueChange]
    list_ids: Sequence[UUID]
    tag_ids: Sequence[UUID]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedOutcome:
    """An outcome, and the address that the service last gave for its record."""

    row: OutcomeRow
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeFilter:
    """Which outcomes; all that is given counts."""

    outcome: Outcome | None = None
    code: OutcomeCode | None = None
    external_id: str | None = None


async def of_runs(
    account_id: UUID, run_ids: Sequence[UUID], span: Span, wanted: OutcomeFilter
) -> dict[UUID, Slice[OutcomeRow]]:
    """A slice of each run's outcomes, in the order in which they came about."""
    select = Select(COLUMNS, "outcome", account_id=account_id)
    if wanted.outcome is not None:
        select.where("outcome = {}", wanted.outcome)
    if wanted.code is not None:
        select.where("code = {}", wanted.code)
    if wanted.external_id is not None:
        select.where("external_id = {}", wanted.external_id)
    return await select.slices(span, _row, parent="run_id", parent_ids=run_ids)


async def stream_of_run(account_id: UUID, run_id: UUID) -> AsyncIterator[Sequence[StreamedOutcome]]:
    """All outcomes of a run in their order, up to 1000 at a time: however many there are, memory stays flat.

    No connection is held between two portions, however slowly they are taken.
    """
    after = UUID(int=0)
    while True:
        rows = await database.fetch(
            f"""
            SELECT {COLUMNS}, (
                SELECT l.record->>'email' FROM ledger l JOIN automatic_import i
                    ON i.account_id = l.account_id AND i.external_account_id = l.external_account_id
                WHERE i.account_id = o.account_id AND i.id = o.automatic_import_id
                    AND l.automatic_import_id = o.automatic_import_id AND l.external_id = o.external_id) AS email
            FROM outcome o WHERE account_id = $1 AND run_id = $2 AND id > $3 ORDER BY id LIMIT {STREAMED_AT_ONCE}
            """,
            account_id, run_id, after,
        )  # fmt: skip
        if rows:
            yield [StreamedOutcome(row=_row(row), email=row["email"]) for row in rows]
        if len(rows) < STREAMED_AT_ONCE:
            return
        after = rows[-1]["id"]


async def names_in_changes(account_id: UUID) -> Mapping[UUID, str]:
    """What the fields, lists and tags of the account are called, those fields that a user deleted too."""
    rows = await database.fetch(
        "SELECT id, title AS name FROM field WHERE account_id = $1"
        " UNION ALL SELECT id, name FROM contact_list WHERE account_id = $1"
        " UNION ALL SELECT id, name FROM tag WHERE account_id = $1",
        account_id,
    )
    return {row["id"]: row["name"] for row in rows}


def _row(row: asyncpg.Record) -> OutcomeRow:
    after = orjson.loads(row["after"]) if row["after"] else {}
    return OutcomeRow(
        id=row["id"],
        external_id=row["external_id"],
        contact_id=row["contact_id"],
        outcome=Outcome(row["outcome"]),
        code=OutcomeCode(row["code"]) if row["code"] else None,
        notes=[OutcomeNote(note) for note in orjson.loads(row["notes"])],
        changes=_changes(orjson.loads(row["before"]) if row["before"] else {}, after),
        list_ids=[UUID(list_id) for list_id in after.get("lists", ())],
        tag_ids=[UUID(tag_id) for tag_id in after.get("tags", ())],
        created_at=row["created_at"],
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ValueChange]:
    columns = [
        ValueChange(column=name, field_id=None, before=before.get(name), after=after[name])
        for name in CONTACT_COLUMNS
        if name in after
    ]
    values_before = before.get("field_values", {})
    values = [
        ValueChange(column=None, field_id=UUID(field_id), before=values_before.get(field_id), after=value)
        for field_id, value in after.get("field_values", {}).items()
    ]
    return columns + values
