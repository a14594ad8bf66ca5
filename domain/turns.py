"""An import's turns in a cycle: what may be written under its lease and revision, and the ways they end (R14, R15).

Each function is one transaction that holds the external account, compares the lease, then holds the import and
compares its revision. LeaseLost: another worker took over. TurnSuperseded: an edit, pause, deletion or undo wins.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import database, import_runs
from domain.database import Connection
from domain.enums import RunStop
from domain.errors import LeaseLost, TurnSuperseded
from domain.events import RunChanged
from domain.import_runs import RunError
from domain.running import HAS_CYCLES, RUNS
from domain.settings import settings

MAX_FAILURE_DOUBLINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One import's right to be written for, as long as the lease and the revision hold.

    Without a lease nothing may be read from the service; what the ledger has is nobody's to read alone.
    """

    account_id: UUID
    external_account_id: UUID
    lease_token: UUID | None
    automatic_import_id: UUID
    revision: int
    service: str
    unstable_ids: bool


IS_DUE = """
EXISTS (SELECT FROM ledger WHERE account_id = i.account_id AND automatic_import_id = i.id AND due)
"""
"""Whether ledger rows of the import `i` are to be ingested again, before anything new."""


async def hold(connection: Connection, turn: Turn, *, reading: str = "") -> Mapping[str, Any]:
    """Lock the external account, then the import.

    Returns `window_used`, and what `reading` names beyond that of the external account `e` and the import `i`. What an
    edit sets may be read here: one that came in while we waited has raised the revision.
    """
    row: Mapping[str, Any] | None = await connection.fetchrow(
        f"""
        WITH e AS (
            SELECT account_id, id, lease_token, window_used, window_ends_at FROM external_account
            WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE
        ), i AS (
            SELECT i.* FROM e JOIN automatic_import i ON i.account_id = e.account_id AND i.id = $3
            WHERE i.deleted_at IS NULL FOR NO KEY UPDATE OF i
        )
        SELECT e.lease_token, i.revision, e.window_used{reading} FROM e LEFT JOIN i ON true
        """,
        turn.account_id, turn.external_account_id, turn.automatic_import_id,
    )  # fmt: skip
    if row is None or (turn.lease_token is not None and row["lease_token"] != turn.lease_token):
        raise LeaseLost
    if row["revision"] != turn.revision:
        raise TurnSuperseded
    return row


async def of_ledger(account_id: UUID, automatic_import_id: UUID, unstable_services: Collection[str]) -> Turn | None:
    """A turn without a lease, for work on the ledger alone. None where the import does not run."""
    rows = await database.fetch(
        f"{WITHOUT_LEASE} AND {RUNS} AND {HAS_CYCLES}",
        account_id,
        automatic_import_id,
    )
    return _without_lease(rows[0], unstable_services) if rows else None


async def hold_for_review(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> Turn | None:
    """A turn without a lease, held, of an import that waits for review; None where it does not."""
    row = await connection.fetchrow(f"{WITHOUT_LEASE} AND i.state = 'NEEDS_REVIEW'", account_id, automatic_import_id)
    if row is None:
        return None
    turn = _without_lease(row, ())
    try:
        await hold(connection, turn)
    except TurnSuperseded:
        return None
    return turn


WITHOUT_LEASE = """
SELECT i.account_id, i.id, i.external_account_id, i.revision, e.service FROM automatic_import i
JOIN external_account e ON e.account_id = i.account_id AND e.id = i.external_account_id
WHERE i.account_id = $1 AND i.id = $2 AND i.deleted_at IS NULL
"""


def _without_lease(row: Mapping[str, Any], unstable_services: Collection[str]) -> Turn:
    return Turn(
        account_id=row["account_id"],
        external_account_id=row["external_account_id"],
        lease_token=None,
        automatic_import_id=row["id"],
        revision=row["revision"],
        service=row["service"],
        unstable_ids=row["service"] in unstable_services,
    )


@asynccontextmanager
async def holding(turn: Turn) -> AsyncIterator[Connection]:
    """A transaction in which the turn is held."""
    async with database.transaction() as connection:
        await hold(connection, turn)
        yield connection


async def begin(turn: Turn) -> RunChanged | None:
    """Set the import's open run going, if it has one: a queued one, or one that a worker left behind."""
    async with holding(turn) as connection:
        return await import_runs.start(connection, turn.account_id, turn.automatic_import_id)


async def complete(turn: Turn, *, stopped_by: RunStop | None = None) -> RunChanged | None:
    """The import is served in this window, and its service answers; None where first something is due from the ledger.

    `stopped_by` is what ended it before its backlog did, be it due or not.
    """
    async with database.transaction() as connection:
        held = await hold(connection, turn, reading=f", e.window_ends_at, {IS_DUE} AS is_due")
        if held["is_due"] and stopped_by is None:
            return None
        await connection.execute(
            # The guard counts until the pass is complete, and approval lasts as long.
            """
            WITH answered AS (
                UPDATE external_account SET transient_failures = 0, not_before = NULL WHERE account_id = $1 AND id = $3
            )
            UPDATE automatic_import SET served_window_ends_at = $4, state = 'ACTIVE', state_reason = NULL,
                consecutive_failures = 0, next_attempt_at = NULL, backlog = $5,
                source_remaining = CASE WHEN $5 THEN source_remaining END, guard = CASE WHEN $5 THEN guard ELSE '{}' END
            WHERE account_id = $1 AND id = $2
            """,
            turn.account_id, turn.automatic_import_id, turn.external_account_id, held["window_ends_at"],
            stopped_by is not None,
        )  # fmt: skip
        return await import_runs.finish(connection, turn.account_id, turn.automatic_import_id, stopped_by=stopped_by)


async def postpone(turn: Turn, *, reason: str) -> RunChanged:
    """The service asked for more patience than the window has: the run ends, and nothing is held against the import."""
    async with holding(turn) as connection:
        await _serve(connection, turn)
        error = RunError(code="SERVICE_UNAVAILABLE", message=reason)
        return await import_runs.finish(
            connection, turn.account_id, turn.automatic_import_id, stopped_by=RunStop.SERVICE, error=error
        )


async def wait(turn: Turn, *, until: datetime, reason: str | None) -> RunChanged:
    """The service asked for patience: the run goes on at `until`, and says why; not where a user cancelled it."""
    async with holding(turn) as connection:
        changed, is_cancelled = await import_runs.wait_for_service(
            connection, turn.account_id, turn.automatic_import_id, until=until, reason=reason
        )
        if is_cancelled:
            await _serve(connection, turn)
        return changed


async def fail(turn: Turn, error: RunError) -> RunChanged:
    """The run failed: the import is tried again in the next window, then farther apart each time."""
    async with holding(turn) as connection:
        await _serve(connection, turn)
        await connection.execute(
            """
            UPDATE automatic_import SET state = 'FAILING', state_reason = $3,
                consecutive_failures = consecutive_failures + 1,
                next_attempt_at = served_window_ends_at
                    + $4::float8 * (2 ^ least(consecutive_failures, $5) - 1) * interval '1 second'
            WHERE account_id = $1 AND id = $2
            """,
            turn.account_id, turn.automatic_import_id, error.message, settings().cycle_seconds, MAX_FAILURE_DOUBLINGS,
        )  # fmt: skip
        return await import_runs.finish(connection, turn.account_id, turn.automatic_import_id, error=error)


async def stop(turn: Turn, error: RunError) -> RunChanged:
    """The run failed through no fault of the import's: nothing is held against it."""
    async with holding(turn) as connection:
        return await import_runs.finish(connection, turn.account_id, turn.automatic_import_id, error=error)


async def cancel(turn: Turn) -> RunChanged:
    """A user cancelled the run: what is stored stays, and the import goes on in the next window."""
    async with holding(turn) as connection:
        await _serve(connection, turn)
        return await import_runs.finish(connection, turn.account_id, turn.automatic_import_id)


async def _serve(connection: Connection, turn: Turn) -> None:
    """The import had its turns in this window."""
    await connection.execute(
        "UPDATE automatic_import i SET served_window_ends_at = e.window_ends_at FROM external_account e"
        " WHERE i.account_id = $1 AND i.id = $2 AND e.account_id = $1 AND e.id = $3",
        turn.account_id, turn.automatic_import_id, turn.external_account_id,
    )  # fmt: skip
