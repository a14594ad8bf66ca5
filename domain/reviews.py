"""Imports that stopped for somebody to judge: what a page or a sweep would do is more than an accident might (R16).

The run keeps the figures and examples. Approved, the import goes on to the end of its pass. Dropped, it is paused: when
it is resumed it reads the same page again, or the next sweep is compared with the one before. Nothing is lost either
way.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from domain import cycle, database, import_runs, pausing, sweeps, turns
from domain.account import Viewer
from domain.audit import record_audit
from domain.database import Connection
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.events import RunChanged
from domain.queue import Queue
from domain.turns import Turn

CHANGES = "CHANGES"
REASONS = {
    CHANGES: "Many known records would lose a value, their address or consent. Approve the run, or drop it.",
    sweeps.MISSING: "Many known records are missing at the service. Approve the run, or drop it.",
}


async def stop(turn: Turn, review: Mapping[str, Any]) -> RunChanged:
    """Stop the turn's import for review, in a transaction of its own."""
    async with turns.holding(turn) as connection:
        return await stop_in(connection, turn, review)


async def stop_in(connection: Connection, turn: Turn, review: Mapping[str, Any]) -> RunChanged:
    """Stop the turn's import for review: it is not read until somebody has judged."""
    await connection.execute(
        "UPDATE automatic_import SET state = 'NEEDS_REVIEW', state_reason = $3 WHERE account_id = $1 AND id = $2",
        turn.account_id, turn.automatic_import_id, REASONS[review["kind"]],
    )  # fmt: skip
    return await import_runs.review(connection, turn.account_id, turn.automatic_import_id, review)


async def approve(viewer: Viewer, run_id: UUID, *, queue: Queue) -> None:
    """Let the run go on: its pass is not stopped again for what somebody has judged."""
    async with _judging(viewer, run_id, "IMPORT_RUN_APPROVED") as (connection, turn, review):
        if review["kind"] == sweeps.MISSING:
            await sweeps.conclude(connection, turn, approved=True)
        await connection.execute(
            "UPDATE automatic_import SET state = 'ACTIVE', state_reason = NULL, revision = revision + 1,"
            " guard = CASE WHEN $3 THEN guard || '{\"approved\": true}' ELSE guard END"
            " WHERE account_id = $1 AND id = $2",
            turn.account_id, turn.automatic_import_id, review["kind"] == CHANGES,
        )  # fmt: skip
        await import_runs.go_on(connection, turn.account_id, run_id)
        await cycle.ask_for(connection, turn.account_id, turn.external_account_id)
    await queue.wake()


async def drop(viewer: Viewer, run_id: UUID) -> None:
    """End the run without what it stopped before, and pause the import."""
    async with _judging(viewer, run_id, "IMPORT_RUN_DROPPED") as (connection, turn, _):
        await pausing.pause(connection, turn.account_id, [turn.automatic_import_id])


@asynccontextmanager
async def _judging(
    viewer: Viewer, run_id: UUID, action: str
) -> AsyncIterator[tuple[Connection, Turn, Mapping[str, Any]]]:
    """A transaction that holds the run's import, in lock order, while its review is decided; audited."""
    rows = await database.fetch(
        "SELECT automatic_import_id FROM import_run WHERE account_id = $1 AND id = $2", viewer.account_id, run_id
    )
    if not rows:
        raise not_found("import run", "id")
    async with database.transaction() as connection:
        turn = await turns.hold_for_review(connection, viewer.account_id, rows[0]["automatic_import_id"])
        review = await connection.fetchval(
            "SELECT review::text FROM import_run WHERE account_id = $1 AND id = $2 AND state = 'NEEDS_REVIEW'"
            " FOR UPDATE",
            viewer.account_id, run_id,
        )  # fmt: skip
        if turn is None or review is None:
            message = "This run does not wait for review."
            raise Refused(Problem(ErrorCode.INVALID, message, ("id",)))
        yield connection, turn, orjson.loads(review)
        await record_audit(viewer, action, run_id)
