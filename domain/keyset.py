"""Reading rows in slices by key: right while rows come and go, and as fast at the end as at the front."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg

from domain import database
from domain.errors import ErrorCode, Problem, Refused

Row = TypeVar("Row")

NO_NUL = "Remove the NUL character: no text here contains one."
"""PostgreSQL stores none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which slice is wanted: at most `limit` rows between two keys, from the front or from the back."""

    limit: int
    after: UUID | str | None = None
    before: UUID | str | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[Row]):
    """Rows in order, and whether there are more on either side."""

    rows: Sequence[Row]
    has_next: bool
    has_previous: bool


class Select:
    """A SELECT on one table of an account, ordered by one unique column. Texts are ours, values are always bound."""

    def __init__(
        self, columns: str, table: str, *, account_id: UUID, key: str = "id", descending: bool = False
    ) -> None:
        self._columns = columns
        self._table = table
        self._key = key
        self._descending = descending
        self._conditions = ["account_id = $1"]
        self._arguments: list[object] = [account_id]

    def where(self, condition: str, *values: object) -> None:
        """Add a condition. `{}` stands for the next value, `{0}` for the first, as in `str.format`."""
        self._conditions.append(condition.format(*[self._bind(value) for value in values]))

    async def slice(self, span: Span, make: Callable[[asyncpg.Record], Row]) -> Slice[Row]:
        """The rows of `span`."""
        rows = await database.fetch(self._statement(span), *self._arguments)
        return _cut([make(row) for row in rows], span)

    async def slices(
        self, span: Span, make: Callable[[asyncpg.Record], Row], *, parent: str, parent_ids: Sequence[UUID]
    ) -> dict[UUID, Slice[Row]]:
        """The rows of `span` for each of several parents, in one statement; `parent` is the column that names it."""
        parents = self._bind(list(parent_ids))
        rows = await database.fetch(
            f"SELECT parents.parent_id, rows.* FROM unnest({parents}::uuid[]) AS parents (parent_id) CROSS JOIN LATERAL"
            f" ({self._statement(span, f'{parent} = parents.parent_id')}) AS rows"
            f" ORDER BY rows.{self._key} {self._direction(span)}",
            *self._arguments,
        )
        found: dict[UUID, list[Row]] = {parent_id: [] for parent_id in parent_ids}
        for row in rows:
            found[row["parent_id"]].append(make(row))
        return {parent_id: _cut(children, span) for parent_id, children in found.items()}

    def _statement(self, span: Span, *more: str) -> str:
        conditions = [*self._conditions, *more]
        if span.after is not None:
            conditions.append(f"{self._key} {'<' if self._descending else '>'} {self._bind(span.after)}")
        if span.before is not None:
            conditions.append(f"{self._key} {'>' if self._descending else '<'} {self._bind(span.before)}")
        # One row more than asked for tells whether there is a next slice. The number stands in the text, because the
        # planner has to know how few rows are wanted.
        return (
            f"SELECT {self._columns} FROM {self._table} WHERE {' AND '.join(conditions)}"
            f" ORDER BY {self._key} {self._direction(span)} LIMIT {span.limit + 1:d}"
        )

    def _direction(self, span: Span) -> str:
        return "DESC" if self._descending != span.backward else "ASC"

    def _bind(self, value: object) -> str:
        if isinstance(value, str) and "\0" in value:
            raise Refused(Problem(ErrorCode.INVALID, NO_NUL))
        self._arguments.append(value)
        return f"${len(self._arguments)}"


def _cut(rows: list[Row], span: Span) -> Slice[Row]:
    more = len(rows) > span.limit
    kept: list[Any] = rows[: span.limit]
    if span.backward:
        kept.reverse()
        return Slice(rows=kept, has_next=span.before is not None, has_previous=more)
    return Slice(rows=kept, has_next=more, has_previous=span.after is not None)
