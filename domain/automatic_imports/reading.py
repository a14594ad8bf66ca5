"""Reading automatic imports: what state they are in for their owner, when they run next, what is still to come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.cap import cap_usage, pace
from domain.enums import DeletionPolicy, OverwritePolicy
from domain.keyset import Select, Slice, Span
from domain.running import HAS_CYCLES, RUNS

# One statement tells all that is shown of an import: what stands in its own row, and in its external account's.
TABLE = f"""(
    SELECT i.account_id, i.id, i.external_account_id, e.service, i.name, i.criteria, i.state_reason, i.name_policy,
        i.phone_policy, i.deletion_policy, i.deletion_tag_id, i.backlog, i.source_remaining, i.next_attempt_at,
        i.created_at, e.health_reason, e.next_cycle_at, e.window_used, e.window_ends_at, i.served_window_ends_at,
        {RUNS} AND {HAS_CYCLES} AS runs,
        CASE WHEN {HAS_CYCLES} OR i.state = 'PAUSED' THEN i.state ELSE 'NEEDS_RECONNECT' END AS state
    FROM automatic_import i
    JOIN external_account e ON e.account_id = i.account_id AND e.id = i.external_account_id
    WHERE i.deleted_at IS NULL
) AS automatic_imports"""


class ShownState(StrEnum):
    """What an automatic import is doing, as its owner has to see it."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    NEEDS_RECONNECT = "NEEDS_RECONNECT"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    FAILING = "FAILING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow:
    """An automatic import as it is shown."""

    id: UUID
    external_account_id: UUID
    service: str
    name: str
    criteria: Mapping[str, Any]
    state: ShownState
    state_reason: str | None
    name_policy: OverwritePolicy
    phone_policy: OverwritePolicy
    deletion_policy: DeletionPolicy
    deletion_tag_id: UUID | None
    next_run_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What an import has still to read; None where the service does not tell how much there is."""

    remaining: int | None
    expected_finish_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFilter:
    """Which imports; all that is given counts."""

    state: ShownState | None = None
    service: str | None = None
    external_account_id: UUID | None = None


async def page(account_id: UUID, span: Span, wanted: ImportFilter) -> Slice[ImportRow]:
    """A slice of the account's automatic imports, oldest first."""
    select = Select("*", TABLE, account_id=account_id)
    if wanted.state is not None:
        select.where("state = {}", wanted.state)
    if wanted.service is not None:
        select.where("service = {}", wanted.service)
    if wanted.external_account_id is not None:
        select.where("external_account_id = {}", wanted.external_account_id)
    return await select.slice(span, _row)


async def by_ids(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, ImportRow]:
    """Those of the automatic imports that the account has."""
    rows = await database.fetch(
        f"SELECT * FROM {TABLE} WHERE account_id = $1 AND id = ANY($2::uuid[])", account_id, list(import_ids)
    )
    return {row["id"]: _row(row) for row in rows}


async def of_external_accounts(account_id: UUID, external_account_ids: Sequence[UUID]) -> dict[UUID, list[ImportRow]]:
    """Each external account's automatic imports, oldest first."""
    rows = await database.fetch(
        f"SELECT * FROM {TABLE} WHERE account_id = $1 AND external_account_id = ANY($2::uuid[]) ORDER BY id",
        account_id,
        list(external_account_ids),
    )
    found: dict[UUID, list[ImportRow]] = {external_account_id: [] for external_account_id in external_account_ids}
    for row in rows:
        found[row["external_account_id"]].append(_row(row))
    return found


async def counts_of_services(account_id: UUID, services: Sequence[str]) -> dict[str, int]:
    """How many automatic imports each service has: the number on its tile (R12)."""
    rows = await database.fetch(
        f"SELECT service, count(*) FROM {TABLE} WHERE account_id = $1 AND service = ANY($2::text[]) GROUP BY service",
        account_id,
        list(services),
    )
    return dict.fromkeys(services, 0) | {row["service"]: row["count"] for row in rows}


async def backlogs(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, Backlog]:
    """What those of the imports that are still behind have to read (R4)."""
    # The others take fair turns with an import until they, or it, are through; one whose service does not tell how
    # much it has counts as having as much. (`least` passes over null.)
    rows = await database.fetch(
        f"""
        SELECT *, (
            SELECT coalesce(sum(least(i.source_remaining, automatic_imports.source_remaining)), 0)
            FROM automatic_import i WHERE i.account_id = $1 AND i.id <> automatic_imports.id AND i.backlog
                AND i.external_account_id = automatic_imports.external_account_id AND {RUNS}) AS of_others
        FROM {TABLE} WHERE account_id = $1 AND id = ANY($2::uuid[]) AND backlog
        """,
        account_id, list(import_ids),
    )  # fmt: skip
    return {row["id"]: _backlog(row) for row in rows}


def _backlog(row: asyncpg.Record) -> Backlog:
    remaining = row["source_remaining"]
    if remaining is None or not row["runs"]:
        return Backlog(remaining=remaining, expected_finish_at=None)
    return Backlog(remaining=remaining, expected_finish_at=_expected_finish(row, remaining + row["of_others"]))


def _expected_finish(row: asyncpg.Record, records: int) -> datetime:
    """When so many records are in, if each costs one of the cap: the window in which the last comes begins then.

    Those that fit into the present window are in when it ends.
    """
    usage = cap_usage(row["window_used"], row["window_ends_at"])
    if usage.window_ends_at is None:
        turn = row["next_cycle_at"]
    else:
        # An import that had its turns in this window waits for the next.
        turn = usage.window_ends_at if row["served_window_ends_at"] == usage.window_ends_at else None
    begins_at = max(filter(None, (datetime.now(UTC), turn, row["next_attempt_at"])))
    finish = pace(records, usage, begins_at=begins_at).expected_finish_at
    return max(finish, usage.window_ends_at or finish)


def _row(row: asyncpg.Record) -> ImportRow:
    state = ShownState(row["state"])
    return ImportRow(
        id=row["id"],
        external_account_id=row["external_account_id"],
        service=row["service"],
        name=row["name"],
        criteria=orjson.loads(row["criteria"]),
        state=state,
        state_reason=row["health_reason"] if state is ShownState.NEEDS_RECONNECT else row["state_reason"],
        name_policy=OverwritePolicy(row["name_policy"]),
        phone_policy=OverwritePolicy(row["phone_policy"]),
        deletion_policy=DeletionPolicy(row["deletion_policy"]),
        deletion_tag_id=row["deletion_tag_id"],
        next_run_at=_next_run_at(row) if row["runs"] else None,
        created_at=row["created_at"],
    )


def _next_run_at(row: asyncpg.Record) -> datetime | None:
    """The next cycle, or the one from which on a failing import is tried again."""
    moments = [moment for moment in (row["next_cycle_at"], row["next_attempt_at"]) if moment is not None]
    return max(moments) if row["next_cycle_at"] else None
