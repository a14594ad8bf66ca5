"""Reading undos: how far they are, and what they came to for every record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.enums import TaskState, UndoCode, UndoneValueKind, UndoResult
from domain.keyset import Select, Slice, Span
from domain.undo.plan import Detail

COLUMNS = (
    "id, automatic_import_id, jsonb_array_length(run_ids) AS runs, state, total, counts::text, error_message,"
    " created_at, finished_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRow:
    """An undo as it is shown. `total` is None until it has begun."""

    id: UUID
    automatic_import_id: UUID
    run_count: int
    state: TaskState
    total: int | None
    counts: Mapping[UndoResult, int]
    error_message: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneRow:
    """What undoing came to for one record of one run."""

    id: UUID
    run_id: UUID
    external_id: str
    contact_id: UUID | None
    result: UndoResult
    code: UndoCode | None
    details: Sequence[Detail]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFilter:
    """Which undos; all that is given counts."""

    automatic_import_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneFilter:
    """Which records; all that is given counts."""

    result: UndoResult | None = None
    code: UndoCode | None = None


async def page(account_id: UUID, span: Span, wanted: UndoFilter) -> Slice[UndoRow]:
    """A slice of the account's undos, newest first."""
    select = Select(COLUMNS, "import_undo", account_id=account_id, descending=True)
    if wanted.automatic_import_id is not None:
        select.where("automatic_import_id = {}", wanted.automatic_import_id)
    return await select.slice(span, _undo)


async def by_ids(account_id: UUID, undo_ids: Sequence[UUID]) -> dict[UUID, UndoRow]:
    """Those of the undos that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM import_undo WHERE account_id = $1 AND id = ANY($2::uuid[])", account_id, list(undo_ids)
    )
    return {row["id"]: _undo(row) for row in rows}


async def records_of_undos(
    account_id: UUID, undo_ids: Sequence[UUID], span: Span, wanted: UndoneFilter
) -> dict[UUID, Slice[UndoneRow]]:
    """A slice of what each undo came to, in the order in which it was undone."""
    columns = "id, run_id, external_id, contact_id, result, code, details::text"
    select = Select(columns, "undone_record", account_id=account_id)
    if wanted.result is not None:
        select.where("result = {}", wanted.result)
    if wanted.code is not None:
        select.where("code = {}", wanted.code)
    return await select.slices(span, _undone, parent="undo_id", parent_ids=undo_ids)


def _undo(row: asyncpg.Record) -> UndoRow:
    return UndoRow(
        id=row["id"],
        automatic_import_id=row["automatic_import_id"],
        run_count=row["runs"],
        state=TaskState(row["state"]),
        total=row["total"],
        counts={UndoResult(result): count for result, count in orjson.loads(row["counts"]).items()},
        error_message=row["error_message"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _undone(row: asyncpg.Record) -> UndoneRow:
    return UndoneRow(
        id=row["id"],
        run_id=row["run_id"],
        external_id=row["external_id"],
        contact_id=row["contact_id"],
        result=UndoResult(row["result"]),
        code=UndoCode(row["code"]) if row["code"] else None,
        details=[
            Detail(
                kind=UndoneValueKind(detail["kind"]),
                id=UUID(detail["id"]) if detail["id"] else None,
                code=UndoCode(detail["code"]) if detail["code"] else None,
            )
            for detail in orjson.loads(row["details"])
        ],
    )
