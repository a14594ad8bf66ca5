"""Reading custom fields: those that exist for a user, which is neither candidates nor deleted ones (R7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.keyset import Select, Slice, Span
from domain.records import FieldType

COLUMNS = "id, service, title, type, personalization_tag, options, sortable"
SHOWN = "personalization_tag IS NOT NULL AND deleted_at IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownField:
    """A custom field as it is shown."""

    id: UUID
    service: str
    title: str
    type: FieldType
    personalization_tag: str
    options: Sequence[str]
    sortable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFilter:
    """Which fields; all that is given counts."""

    service: str | None = None
    type: FieldType | None = None


async def page(account_id: UUID, span: Span, wanted: FieldFilter) -> Slice[ShownField]:
    """A slice of the account's fields, oldest first."""
    select = Select(COLUMNS, "field", account_id=account_id)
    select.where(SHOWN)
    if wanted.service is not None:
        select.where("service = {}", wanted.service)
    if wanted.type is not None:
        select.where("type = {}", wanted.type)
    return await select.slice(span, _row)


async def all_of(account_id: UUID) -> list[ShownField]:
    """Every field of the account, oldest first."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM field WHERE account_id = $1 AND {SHOWN} ORDER BY id", account_id
    )
    return [_row(row) for row in rows]


async def by_ids(account_id: UUID, field_ids: Sequence[UUID]) -> dict[UUID, ShownField]:
    """Those of the fields that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM field WHERE account_id = $1 AND id = ANY($2::uuid[]) AND {SHOWN}",
        account_id,
        list(field_ids),
    )
    return {row["id"]: _row(row) for row in rows}


def _row(row: asyncpg.Record) -> ShownField:
    return ShownField(
        id=row["id"],
        service=row["service"],
        title=row["title"],
        type=FieldType(row["type"]),
        personalization_tag=row["personalization_tag"],
        options=orjson.loads(row["options"]),
        sortable=row["sortable"],
    )
