"""The run that something belongs to; it is made where there is none."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.database import Connection
from domain.enums import RunState, RunTrigger
from domain.events import RunChanged

OPEN = "('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE', 'NEEDS_REVIEW')"
"""The states of a run that has not ended, for SQL. An import has one such run at the most."""


async def queue(connection: Connection, *, account_id: UUID, automatic_import_id: UUID, trigger: RunTrigger) -> UUID:
    """The import's open run, made where it has none, in the transaction that asks for it."""
    found = await _open_run(connection, account_id, automatic_import_id)
    if found is not None:
        return UUID(str(found["id"]))
    return await insert(connection, account_id, automatic_import_id, trigger, RunState.QUEUED)


async def open_for_news(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> UUID:
    """The run that a page with news belongs to. A row that only counts idle checks is closed, and a new one begins."""
    found = await _open_run(connection, account_id, automatic_import_id)
    if found is not None and (found["found_something"] or found["checks"] == 1):
        if not found["found_something"]:
            await _update(connection, account_id, found["id"], "found_something = true")
        return UUID(str(found["id"]))
    if found is not None:
        end = "state = 'COMPLETED', finished_at = now(), revision = revision + 1"
        await _update(connection, account_id, found["id"], end)
    return await insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING, news=True)


async def open_for_room(connection: Connection, account_id: UUID, automatic_import_id: UUID, run_id: UUID) -> UUID:
    """The run that those who are let in from the waiting room are counted in: a row of its own (R11).

    It is never open, since the import may have another run under way; what is let in is complete at once. Where
    `run_id` was undone meanwhile, it is another one.
    """
    rows = await connection.fetch(
        "INSERT INTO import_run (account_id, id, automatic_import_id, trigger, state, found_something, started_at,"
        " finished_at) VALUES ($1, $2, $3, 'ROOM', 'COMPLETED', true, now(), now())"
        " ON CONFLICT (account_id, id) DO UPDATE SET finished_at = now() WHERE import_run.state = 'COMPLETED'"
        " RETURNING id",
        account_id, run_id, automatic_import_id,
    )  # fmt: skip
    return run_id if rows else await open_for_room(connection, account_id, automatic_import_id, uuid7())


OF_REPEATS = f"""
account_id = $1 AND id = coalesce(
    (SELECT id FROM import_run WHERE account_id = $1 AND automatic_import_id = $2 AND state IN {OPEN}),
    (SELECT id FROM import_run WHERE account_id = $1 AND automatic_import_id = $2 ORDER BY id DESC LIMIT 1)
) AND (state IN {OPEN} OR state = 'COMPLETED' AND NOT found_something AND stopped_by IS NULL)
"""
"""The import's open run, else the last one, if that only counts idle checks."""

CHECKS = "checks = checks + (state = 'COMPLETED')::integer"

REOPENED = f"{CHECKS}, finished_at = NULL, state = CASE WHEN state = 'COMPLETED' THEN 'RUNNING' ELSE state END"


async def open_for_repeats(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> UUID:
    """The run that a page without news belongs to: sweeps that find nothing share one row."""
    run_id: UUID | None = await connection.fetchval(
        f"UPDATE import_run SET {REOPENED} WHERE {OF_REPEATS} RETURNING id", account_id, automatic_import_id
    )
    return run_id or await insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING)


async def _open_run(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] | None = await connection.fetchrow(
        "SELECT id, checks, found_something FROM import_run WHERE account_id = $1 AND automatic_import_id = $2"
        f" AND state IN {OPEN} FOR UPDATE",
        account_id, automatic_import_id,
    )  # fmt: skip
    return row


async def _update(connection: Connection, account_id: UUID, run_id: UUID, assignments: str) -> None:
    await connection.execute(
        f"UPDATE import_run SET {assignments} WHERE account_id = $1 AND id = $2", account_id, run_id
    )


async def insert(
    connection: Connection,
    account_id: UUID,
    automatic_import_id: UUID,
    trigger: RunTrigger,
    state: RunState,
    *,
    news: bool = False,
) -> UUID:
    """A new run; `news`: it has found something."""
    run_id = uuid7()
    await connection.execute(
        "INSERT INTO import_run (account_id, id, automatic_import_id, trigger, state, found_something, started_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $5::varchar = 'RUNNING' THEN now() END)",
        account_id, run_id, automatic_import_id, trigger, state, news,
    )  # fmt: skip
    return run_id


def changed(account_id: UUID, automatic_import_id: UUID, row: Mapping[str, Any]) -> RunChanged:
    """What watchers are told of a run: `row` has its id and its new revision."""
    return RunChanged(
        account_id=account_id, automatic_import_id=automatic_import_id, run_id=row["id"], revision=row["revision"]
    )
