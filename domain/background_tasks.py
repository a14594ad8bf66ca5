"""Work that must happen because of a commit: a row first, written in that transaction, a hint to the workers second.

A task is done in steps. Each step is one transaction, in which the task's progress is stored too: a worker that is
killed between two steps loses nothing and repeats nothing, another carries on from the last progress.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import database
from domain.database import Connection
from domain.enums import TaskKind, TaskState
from domain.errors import LeaseLost
from domain.settings import settings

MAX_ATTEMPTS = 6
FIRST_RETRY = timedelta(seconds=5)


@dataclass(slots=True, kw_only=True)
class Task:
    """A task under our lease. `progress` is what the next step goes on from; `attempts` counts failures in a row."""

    account_id: UUID
    id: UUID
    lease_token: UUID
    kind: TaskKind
    subject: UUID
    arguments: Mapping[str, Any]
    progress: dict[str, Any]
    attempts: int


async def enqueue(
    connection: Connection,
    account_id: UUID,
    kind: TaskKind,
    *,
    subject: UUID,
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Ask for a task, in the transaction that makes it necessary. One that is queued for the same subject will do.

    One that is already under way will not: it may have passed the point. After the commit, wake the queue.
    """
    await connection.execute(
        "INSERT INTO background_task (account_id, id, kind, subject, arguments) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (account_id, kind, subject) WHERE state = 'QUEUED' DO NOTHING",
        account_id, uuid7(), kind, subject, orjson.dumps(dict(arguments or {})).decode(),
    )  # fmt: skip


async def claim_due(limit: int) -> Sequence[tuple[UUID, UUID, UUID]]:
    """Up to `limit` tasks that are due, or whose worker gave no sign of life, as (account id, task id, lease token)."""
    rows = await database.fetch(
        """
        WITH queued AS (
            SELECT account_id, id FROM background_task WHERE state = 'QUEUED' AND run_at <= now()
            ORDER BY run_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        ), abandoned AS (
            SELECT account_id, id FROM background_task WHERE state = 'RUNNING' AND lease_expires_at <= now()
            ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        ), due AS (
            SELECT * FROM abandoned UNION ALL SELECT * FROM queued LIMIT $1
        )
        UPDATE background_task t SET state = 'RUNNING', lease_token = gen_random_uuid(), lease_expires_at = now() + $2
        FROM due WHERE t.account_id = due.account_id AND t.id = due.id
        RETURNING t.account_id, t.id, t.lease_token
        """,
        limit, timedelta(seconds=settings().lease_seconds),
    )  # fmt: skip
    return [(row["account_id"], row["id"], row["lease_token"]) for row in rows]


async def take(account_id: UUID, task_id: UUID, lease_token: UUID) -> Task:
    """The claimed task. Raises LeaseLost where another worker has taken over."""
    rows = await database.fetch(
        "UPDATE background_task SET lease_expires_at = now() + $4"
        " WHERE account_id = $1 AND id = $2 AND lease_token = $3 AND state = 'RUNNING'"
        " RETURNING kind, subject, arguments::text, progress::text, attempts",
        account_id, task_id, lease_token, timedelta(seconds=settings().lease_seconds),
    )  # fmt: skip
    if not rows:
        raise LeaseLost
    return Task(
        account_id=account_id,
        id=task_id,
        lease_token=lease_token,
        kind=TaskKind(rows[0]["kind"]),
        subject=rows[0]["subject"],
        arguments=orjson.loads(rows[0]["arguments"]),
        progress=orjson.loads(rows[0]["progress"]),
        attempts=rows[0]["attempts"],
    )


@asynccontextmanager
async def step(task: Task) -> AsyncIterator[Connection]:
    """One step: a transaction that ends with `task.progress` stored, and shows a sign of life.

    The task's row is held from its beginning, before any other lock. Raises LeaseLost where another worker has
    taken over; nothing of the step is then stored.
    """
    async with database.transaction() as connection:
        held = await connection.fetchval(
            "SELECT lease_token FROM background_task WHERE account_id = $1 AND id = $2 AND state = 'RUNNING'"
            " FOR NO KEY UPDATE",
            task.account_id, task.id,
        )  # fmt: skip
        if held != task.lease_token:
            raise LeaseLost
        yield connection
        await connection.execute(
            "UPDATE background_task SET progress = $3, attempts = 0, lease_expires_at = now() + $4"
            " WHERE account_id = $1 AND id = $2",
            task.account_id, task.id, orjson.dumps(task.progress).decode(),
            timedelta(seconds=settings().lease_seconds),
        )  # fmt: skip
    task.attempts = 0


async def complete(task: Task) -> None:
    """The task is done."""
    await _end(task, TaskState.COMPLETED)


async def hand_over(task: Task, *, after: timedelta = timedelta()) -> None:
    """Another worker, or this one, carries on in a moment, or `after` a while."""
    await _give_back(task, after, attempts=task.attempts)


async def retry(task: Task, message: str) -> bool:
    """The task failed: it is tried again, farther apart each time, and given up after `MAX_ATTEMPTS` in a row.

    Returns whether it is given up. `message` is kept with it.
    """
    if task.attempts + 1 >= MAX_ATTEMPTS:
        await _end(task, TaskState.FAILED, message)
        return True
    await _give_back(task, FIRST_RETRY * 2**task.attempts, attempts=task.attempts + 1)
    return False


async def _end(task: Task, state: TaskState, message: str | None = None) -> None:
    await database.fetch(
        "UPDATE background_task SET state = $4, error_message = $5, finished_at = now(), lease_token = NULL,"
        " lease_expires_at = NULL WHERE account_id = $1 AND id = $2 AND lease_token = $3",
        task.account_id, task.id, task.lease_token, state, message,
    )  # fmt: skip


async def _give_back(task: Task, after: timedelta, *, attempts: int) -> None:
    # It stays RUNNING, without a worker: a task that has begun does not stand in for one that is asked for now.
    await database.fetch(
        "UPDATE background_task SET lease_token = NULL, lease_expires_at = now() + $4, attempts = $5"
        " WHERE account_id = $1 AND id = $2 AND lease_token = $3",
        task.account_id, task.id, task.lease_token, after, attempts,
    )  # fmt: skip
