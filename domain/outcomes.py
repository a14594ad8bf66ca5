"""Reading outcomes: what became of the records of a run (R17)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from domain.enums import Outcome, OutcomeCode, OutcomeNote
from domain.keyset import Select, Slice, Span

COLUMNS = "id, run_id, external_id, contact_id, outcome, code, notes, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What became of one record in one run."""

    id: UUID
    external_id: str
    contact_id: UUID | None
    outcome: Outcome
    code: OutcomeCode | None
    notes: Sequence[OutcomeNote]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeFilter:
    """Which outcomes; all that is given counts."""

    outcome: Outcome | None = None
    code: OutcomeCode | None = None


async def of_runs(
    account_id: UUID, run_ids: Sequence[UUID], span: Span, wanted: OutcomeFilter
) -> dict[UUID, Slice[OutcomeRow]]:
    """A slice of each run's outcomes, in the order in which they came about."""
    select = Select(COLUMNS, "outcome", account_id=account_id)
    if wanted.outcome is not None:
        select.where("outcome = {}", wanted.outcome)
    if wanted.code is not None:
        select.where("code = {}", wanted.code)
    return await select.slices(span, _row, parent="run_id", parent_ids=run_ids)


def _row(row: asyncpg.Record) -> OutcomeRow:
    return OutcomeRow(
        id=row["id"],
        external_id=row["external_id"],
        contact_id=row["contact_id"],
        outcome=Outcome(row["outcome"]),
        code=OutcomeCode(row["code"]) if row["code"] else None,
        notes=[OutcomeNote(note) for note in orjson.loads(row["notes"])],
        created_at=row["created_at"],
    )
