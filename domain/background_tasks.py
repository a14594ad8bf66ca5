"""Work that must happen because of a commit: a row first, written in that transaction, a hint to the workers second.

A task is done in steps. Each step is one transaction, in which the task's progress is stored too: a worker that is
killed between two steps loses nothing and repeats nothing, another carries on from the last progress.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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
"""After so many attempts in a row that got no step done, failed or died of, a task is given up, if it may be."""
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(minutes=15)
NEVER_GIVEN_UP = frozenset(
    {
        TaskKind.APPLY_TARGETS,
        TaskKind.DELETE_LIST,
        TaskKind.DELETE_TAG,
        TaskKind.DRAIN_WAITING_ROOM,
        TaskKind.ERASE_CONTACT,
    }
)
"""What was promised, and nobody else would do: it is tried every `LONGEST_RETRY` until somebody has mended it."""


@dataclass(slots=True, kw_only=True)
class Task:
    """A task under our lease. `progress` is what the next step goes on from, and true only once a step is over.

    `attempts` counts those in a row that got no step done, with the present one until it does.
    """

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

    One that is already under way will not: it may have passed the point. Two wishes whose `arguments` differ need
    two subjects. After the commit, wake the queue.
    """
    # One that is queued is held until the commit: begun before, it would not see what it is wanted for.
    await connection.execute(
        "INSERT INTO background_task (account_id, id, kind, subject, arguments) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (account_id, kind, subject) WHERE state = 'QUEUED' DO UPDATE SET subject = excluded.subject",
        account_id, uuid7(), kind, subject, _json(arguments or {}),
    )  # fmt: skip


CLAIM_DUE = """
WITH queued AS (
    SELECT account_id, id, run_at AS since FROM background_task WHERE state = 'QUEUED' AND run_at <= now()
    ORDER BY run_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), begun AS (
    SELECT account_id, id, lease_expires_at AS since FROM background_task
    WHERE state = 'RUNNING' AND lease_expires_at <= now()
    ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    -- By the time since when they wait: long tasks, which come back again and again, do not keep others from beginning.
    SELECT * FROM queued UNION ALL SELECT * FROM begun ORDER BY since LIMIT $1
)
UPDATE background_task t SET state = 'RUNNING', lease_token = gen_random_uuid(), lease_expires_at = now() + $2
FROM due WHERE t.account_id = due.account_id AND t.id = due.id
RETURNING t.account_id, t.id, t.lease_token
"""


async def claim_due(limit: int) -> Sequence[tuple[UUID, UUID, UUID]]:
    """Up to `limit` tasks that are due, or whose worker gave no sign of life, as (account id, task id, lease token)."""
    rows = await database.fetch(CLAIM_DUE, limit, timedelta(seconds=settings().lease_seconds))
    return [(row["account_id"], row["id"], row["lease_token"]) for row in rows]


async def take(account_id: UUID, task_id: UUID, lease_token: UUID) -> Task:
    """Begin an attempt at the claimed task. Raises LeaseLost where another worker has taken over."""
    rows = await database.fetch(
        # Counted as it begins: whoever dies of it counts nothing afterwards.
        "UPDATE background_task SET lease_expires_at = now() + $4, attempts = attempts + 1"
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
    async with _holding(task) as connection:
        yield connection
        await connection.execute(
            "UPDATE background_task SET progress = $3, attempts = 0, lease_expires_at = now() + $4"
            " WHERE account_id = $1 AND id = $2",
            task.account_id, task.id, _json(task.progress), timedelta(seconds=settings().lease_seconds),
        )  # fmt: skip
    task.attempts = 0


@asynccontextmanager
async def _holding(task: Task) -> AsyncIterator[Connection]:
    async with database.transaction() as connection:
        held = await connection.fetchval(
            "SELECT lease_token FROM background_task WHERE account_id = $1 AND id = $2 AND state = 'RUNNING'"
            " FOR NO KEY UPDATE",
            task.account_id, task.id,
        )  # fmt: skip
        if held != task.lease_token:
            raise LeaseLost
        yield connection


async def begin_again(connection: Connection, account_id: UUID, kind: TaskKind) -> None:
    """Have the account's tasks of this kind begin from the start: what they kept of their progress is forgotten.

    A step under way is lost with its lease.
    """
    await connection.execute(
        "UPDATE background_task SET progress = '{}', lease_token = NULL,"
        " lease_expires_at = CASE WHEN lease_token IS NULL THEN lease_expires_at ELSE now() END,"
        " attempts = greatest(0, attempts - (lease_token IS NOT NULL)::integer)"
        " WHERE account_id = $1 AND kind = $2 AND state IN ('QUEUED', 'RUNNING')",
        account_id, kind,
    )  # fmt: skip


async def complete(task: Task) -> None:
    """The task is done. Raises LeaseLost where another worker has taken over."""
    async with _holding(task) as connection:
        await _end(connection, task, TaskState.COMPLETED, None)


async def hand_over(task: Task, *, after: timedelta = timedelta()) -> None:
    """Another worker, or this one, carries on in a moment, or `after` a while. That is no failed attempt."""
    await _give_back(task, after, attempts=max(0, task.attempts - 1))


async def retry(task: Task, message: str, *, tell: Callable[[Task], Awaitable[None]] | None = None) -> bool:
    """The task failed: it is tried again, farther apart each time, and given up after `MAX_ATTEMPTS` in a row.

    One that is `NEVER_GIVEN_UP` goes on for ever.

    Whoever waits for a task that is given up is told by `tell` in the same transaction; `message` is kept with it.
    Returns whether it is given up.
    """
    attempts = max(1, task.attempts)
    if attempts < MAX_ATTEMPTS:
        await _give_back(task, FIRST_RETRY * 2 ** (attempts - 1), attempts=attempts)
        return False
    if task.kind in NEVER_GIVEN_UP:
        # One attempt is left, also to those that workers die of.
        await _give_back(task, LONGEST_RETRY, attempts=MAX_ATTEMPTS - 1)
        return False
    async with _holding(task) as connection:
        if tell is not None:
            await tell(task)
        await _end(connection, task, TaskState.FAILED, message)
    return True


async def _end(connection: Connection, task: Task, state: TaskState, message: str | None) -> None:
    await connection.execute(
        "UPDATE background_task SET state = $3, error_message = $4, finished_at = now(), lease_token = NULL,"
        " lease_expires_at = NULL WHERE account_id = $1 AND id = $2",
        task.account_id, task.id, state, message,
    )  # fmt: skip


async def _give_back(task: Task, after: timedelta, *, attempts: int) -> None:
    # It stays RUNNING, without a worker: a task that has begun does not stand in for one that is asked for now.
    await database.fetch(
        "UPDATE background_task SET lease_token = NULL, lease_expires_at = now() + $4, attempts = $5"
        " WHERE account_id = $1 AND id = $2 AND lease_token = $3",
        task.account_id, task.id, task.lease_token, after, attempts,
    )  # fmt: skip


def _json(value: Mapping[str, Any]) -> str:
    # asyncpg has a UUID of its own, which orjson does not know.
    return orjson.dumps(dict(value), default=str).decode()
