"""The preview's row, as the background task fills it in. Nothing else is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import background_tasks, database
from domain.background_tasks import Task
from domain.cap import cap_usage, pace
from domain.credentials import key_ring
from domain.database import Connection
from domain.enums import DeletionPolicy, OverwritePolicy, TaskState
from domain.errors import LeaseLost
from domain.settings import settings

GIVEN_UP = "The preview failed again and again on our side. Ask for a new one later; the server's log has the details."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be read, and under which rules.

    `automatic_import_id` is a new one unless an import is to be edited; `starts_over`: with new criteria.
    `credentials` is None where the external account is disconnected.
    """

    account_id: UUID
    external_account_id: UUID
    automatic_import_id: UUID
    service: str
    criteria: Mapping[str, Any]
    list_ids: Sequence[UUID]
    tag_ids: Sequence[UUID]
    name_policy: OverwritePolicy
    phone_policy: OverwritePolicy
    deletion_policy: DeletionPolicy
    deletion_tag_id: UUID | None
    starts_over: bool
    credentials: Mapping[str, Any] | None = field(repr=False)
    not_before: datetime | None


async def open_source(task: Task) -> Source | None:
    """What the task's preview is about; None where it, or its external account, is gone."""
    rows = await database.fetch(
        "UPDATE import_preview p SET state = 'RUNNING' FROM external_account e"
        " WHERE p.account_id = $1 AND p.id = $2 AND p.state IN ('QUEUED', 'RUNNING')"
        " AND e.account_id = p.account_id AND e.id = p.external_account_id"
        " RETURNING p.automatic_import_id, p.input::text, e.id, e.service, e.credentials, e.not_before",
        task.account_id, task.subject,
    )  # fmt: skip
    if not rows:
        return None
    row, wanted = rows[0], orjson.loads(rows[0]["input"])
    sealed = row["credentials"]
    return Source(
        account_id=task.account_id,
        external_account_id=row["id"],
        automatic_import_id=row["automatic_import_id"] or uuid7(),
        service=row["service"],
        criteria=wanted["criteria"],
        list_ids=[UUID(list_id) for list_id in wanted["list_ids"]],
        tag_ids=[UUID(tag_id) for tag_id in wanted["tag_ids"]],
        name_policy=OverwritePolicy(wanted["name_policy"]),
        phone_policy=OverwritePolicy(wanted["phone_policy"]),
        deletion_policy=DeletionPolicy(wanted.get("deletion_policy", DeletionPolicy.KEEP)),
        deletion_tag_id=UUID(tag_id) if (tag_id := wanted.get("deletion_tag_id")) else None,
        starts_over=wanted["starts_over"],
        credentials=orjson.loads(key_ring().unseal(sealed, row=row["id"])) if sealed is not None else None,
        not_before=row["not_before"],
    )


async def tell(task: Task, result: Mapping[str, Any]) -> None:
    """What is known so far, and a sign of life. Raises LeaseLost where another worker has taken over."""
    rows = await database.fetch(
        "WITH held AS (UPDATE background_task SET lease_expires_at = now() + $4"
        " WHERE account_id = $1 AND id = $2 AND lease_token = $3 AND state = 'RUNNING' RETURNING subject)"
        " UPDATE import_preview p SET result = $5 FROM held WHERE p.account_id = $1 AND p.id = held.subject"
        " RETURNING p.id",
        task.account_id, task.id, task.lease_token, timedelta(seconds=settings().lease_seconds), _json(result),
    )  # fmt: skip
    if not rows:
        raise LeaseLost


async def keep(task: Task, progress: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """One step is done: the next goes on from `progress`."""
    async with background_tasks.step(task) as connection:
        await connection.execute(
            "UPDATE import_preview SET result = result || $3::jsonb WHERE account_id = $1 AND id = $2",
            task.account_id, task.subject, _json({"waiting_until": None} | dict(result)),
        )  # fmt: skip
        task.progress = dict(progress)


async def complete(task: Task, result: Mapping[str, Any]) -> None:
    """All is known: how long it will take follows from what is left of the cap."""
    async with background_tasks.step(task) as connection:
        external_account = await connection.fetchrow(
            "SELECT e.window_used, e.window_ends_at FROM import_preview p JOIN external_account e"
            " ON e.account_id = p.account_id AND e.id = p.external_account_id WHERE p.account_id = $1 AND p.id = $2",
            task.account_id, task.subject,
        )  # fmt: skip
        cap = cap_usage(external_account["window_used"], external_account["window_ends_at"])
        expected = pace(result["cost"], cap, begins_at=datetime.now(UTC))
        whole = dict(result) | {"cycles": expected.cycles, "expected_finish_at": expected.expected_finish_at}
        await _end(connection, task, TaskState.COMPLETED, result=whole)


async def fail(task: Task, code: str, message: str) -> None:
    """It cannot be known: `message` says why, and what to do. What was found out so far stays."""
    async with background_tasks.step(task) as connection:
        await _end(connection, task, TaskState.FAILED, code=code, message=message)


async def fail_given_up(task: Task) -> None:
    """The task failed for good."""
    async with database.transaction() as connection:
        await _end(connection, task, TaskState.FAILED, code="INTERNAL", message=GIVEN_UP)
        await connection.execute(
            "UPDATE background_task SET progress = '{}' WHERE account_id = $1 AND id = $2", task.account_id, task.id
        )


async def _end(
    connection: Connection,
    task: Task,
    state: TaskState,
    *,
    result: Mapping[str, Any] | None = None,
    code: str | None = None,
    message: str | None = None,
) -> None:
    changes = {"waiting_until": None} | dict(result or {}) | ({"error_code": code} if code else {})
    await connection.execute(
        "UPDATE import_preview SET state = $3, result = result || $4::jsonb, error_message = $5, finished_at = now()"
        " WHERE account_id = $1 AND id = $2",
        task.account_id, task.subject, state, _json(changes), message,
    )  # fmt: skip
    # The records that were kept for going on are nobody's any more.
    task.progress = {}


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()
