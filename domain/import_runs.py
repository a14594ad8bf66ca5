"""The run's state machine: queued, running, waiting for the service, and the ways to end.

Every change raises the row's `revision`, which watchers compare. A run's counts change in `ingest` only, together
with the records that they count.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import database
from domain.database import Connection
from domain.effects import Effects
from domain.enums import Outcome, RunState, RunStop, RunTrigger
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.events import RunChanged
from domain.models import ImportRun

OPEN = "('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE', 'NEEDS_REVIEW')"
"""The states of a run that has not ended, for SQL. An import has one such run at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run failed: a stable code, and a sentence that says what to do."""

    code: str
    message: str


async def queue(connection: Connection, *, account_id: UUID, automatic_import_id: UUID, trigger: RunTrigger) -> UUID:
    """The import's open run, made where it has none, in the transaction that asks for it."""
    found = await _open_run(connection, account_id, automatic_import_id)
    if found is not None:
        return UUID(str(found["id"]))
    return await _insert(connection, account_id, automatic_import_id, trigger, RunState.QUEUED)


async def open_for_news(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> UUID:
    """The run that a page with news belongs to. A row that only counts idle checks is closed, and a new one begins."""
    found = await _open_run(connection, account_id, automatic_import_id)
    if found is not None and (found["found_something"] or found["checks"] == 1):
        await connection.execute(
            "UPDATE import_run SET found_something = true WHERE account_id = $1 AND id = $2", account_id, found["id"]
        )
        return UUID(str(found["id"]))
    if found is not None:
        await connection.execute(
            "UPDATE import_run SET state = 'COMPLETED', finished_at = now(), revision = revision + 1"
            " WHERE account_id = $1 AND id = $2",
            account_id, found["id"],
        )  # fmt: skip
    return await _insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING, news=True)


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
    return run_id or await _insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING)


async def count(
    connection: Connection,
    *,
    account_id: UUID,
    automatic_import_id: UUID,
    run_id: UUID | None,
    counts: Counter[Outcome],
    protected: int,
    silenced: Effects,
) -> tuple[RunChanged, bool]:
    """Add to the run's counts, and tell whether a user asked to cancel it.

    Without a run, nothing was news, and it is that of `open_for_repeats`. What is read is the sum of the outcomes,
    always (R17).
    """
    changes, which = ("", "account_id = $1 AND id = $2") if run_id else (f", {REOPENED}", OF_REPEATS)
    rows = await connection.fetch(
        f"""
        UPDATE import_run SET read_count = read_count + $3, created_count = created_count + $4,
            updated_count = updated_count + $5, unchanged_count = unchanged_count + $6,
            skipped_count = skipped_count + $7, waiting_count = waiting_count + $8, failed_count = failed_count + $9,
            protected_count = protected_count + $10, silenced_autoresponders = silenced_autoresponders + $11,
            silenced_webhooks = silenced_webhooks + $12, silenced_notifications = silenced_notifications + $13,
            revision = revision + 1, last_checked_at = now(){changes}
        WHERE {which} RETURNING id, revision, cancel_requested
        """,
        account_id, run_id or automatic_import_id, sum(counts.values()), *(counts[outcome] for outcome in Outcome),
        protected, silenced.autoresponders, silenced.webhooks, silenced.notifications,
    )  # fmt: skip
    if not rows:
        made = await open_for_repeats(connection, account_id, automatic_import_id)
        return await count(
            connection, account_id=account_id, automatic_import_id=automatic_import_id, run_id=made, counts=counts,
            protected=protected, silenced=silenced,
        )  # fmt: skip
    return _changed(account_id, automatic_import_id, rows[0]), rows[0]["cancel_requested"]


async def count_deleted(
    connection: Connection, account_id: UUID, automatic_import_id: UUID, run_id: UUID, deleted: int, silenced: Effects
) -> RunChanged:
    """Add to the number of records that the service deleted; they are not read."""
    row = await connection.fetchrow(
        "UPDATE import_run SET deleted_count = deleted_count + $3,"
        " silenced_webhooks = silenced_webhooks + $4, silenced_notifications = silenced_notifications + $5,"
        " revision = revision + 1, last_checked_at = now() WHERE account_id = $1 AND id = $2 RETURNING id, revision",
        account_id, run_id, deleted, silenced.webhooks, silenced.notifications,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, row)


async def start(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> RunChanged | None:
    """Set the import's open run going. None where it has none."""
    row = await connection.fetchrow(
        f"""
        UPDATE import_run SET state = 'RUNNING', waiting_until = NULL, revision = revision + 1,
            error_code = NULL, error_message = NULL,
            started_at = coalesce(started_at, now()), last_checked_at = now()
        WHERE account_id = $1 AND automatic_import_id = $2 AND state IN {OPEN} RETURNING id, revision
        """,
        account_id, automatic_import_id,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, row) if row else None


async def wait_for_service(
    connection: Connection, account_id: UUID, automatic_import_id: UUID, *, until: datetime, reason: str | None
) -> tuple[RunChanged, bool]:
    """The run goes on at `until`; one that a user asked to cancel ends instead, which is told too."""
    row = await connection.fetchrow(
        """
        UPDATE import_run SET revision = revision + 1,
            state = CASE WHEN cancel_requested THEN 'CANCELLED' ELSE 'WAITING_FOR_SERVICE' END,
            finished_at = CASE WHEN cancel_requested THEN now() END,
            waiting_until = CASE WHEN NOT cancel_requested THEN $3::timestamptz END,
            error_code = CASE WHEN $4::text IS NOT NULL THEN 'SERVICE_UNAVAILABLE' END, error_message = $4
        WHERE account_id = $1 AND id = $2 RETURNING id, revision, cancel_requested
        """,
        account_id, await open_for_repeats(connection, account_id, automatic_import_id), until, reason,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, row), row["cancel_requested"]


async def finish(
    connection: Connection,
    account_id: UUID,
    automatic_import_id: UUID,
    *,
    stopped_by: RunStop | None = None,
    error: RunError | None = None,
) -> RunChanged:
    """End the import's open run. Where it has none, the cycle found nothing: that is counted as one more check.

    With an error it FAILED, unless something stopped it that the next window may find gone.
    """
    row = await connection.fetchrow(
        f"""
        UPDATE import_run SET state = CASE WHEN cancel_requested THEN 'CANCELLED' ELSE $3 END, stopped_by = $4,
            error_code = $5, error_message = $6, waiting_until = NULL, started_at = coalesce(started_at, now()),
            finished_at = now(), last_checked_at = now(), revision = revision + 1, {CHECKS}
        WHERE {OF_REPEATS} RETURNING id, revision
        """,
        account_id, automatic_import_id, RunState.FAILED if error and stopped_by is None else RunState.COMPLETED,
        stopped_by, error.code if error else None, error.message if error else None,
    )  # fmt: skip
    if row is None:
        await _insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING)
        return await finish(connection, account_id, automatic_import_id, stopped_by=stopped_by, error=error)
    return _changed(account_id, automatic_import_id, row)


async def review(
    connection: Connection, account_id: UUID, automatic_import_id: UUID, found: Mapping[str, Any]
) -> RunChanged:
    """The run waits for somebody to judge what it found."""
    row = await connection.fetchrow(
        "UPDATE import_run SET state = 'NEEDS_REVIEW', stopped_by = 'REVIEW', review = $3, found_something = true,"
        " revision = revision + 1, last_checked_at = now() WHERE account_id = $1 AND id = $2 RETURNING id, revision",
        account_id, await open_for_news(connection, account_id, automatic_import_id), orjson.dumps(found).decode(),
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, row)


async def go_on(connection: Connection, account_id: UUID, run_id: UUID) -> None:
    """The run was judged: it is queued again. The figures stay, the examples were for the judge."""
    await connection.execute(
        "UPDATE import_run SET state = 'QUEUED', stopped_by = NULL, review = review - 'examples',"
        " cancel_requested = false, revision = revision + 1 WHERE account_id = $1 AND id = $2",
        account_id, run_id,
    )  # fmt: skip


async def cancel_open(account_id: UUID, automatic_import_ids: Sequence[UUID]) -> None:
    """End what these imports have under way, because a user paused, deleted or disconnected them."""
    await database.fetch(
        f"""
        UPDATE import_run SET state = 'CANCELLED', finished_at = now(), waiting_until = NULL,
            review = review - 'examples', revision = revision + 1
        WHERE account_id = $1 AND automatic_import_id = ANY($2::uuid[]) AND state IN {OPEN}
        """,
        account_id, list(automatic_import_ids),
    )  # fmt: skip


async def cancel(account_id: UUID, run_id: UUID) -> UUID:
    """Stop a run. What no worker is busy with ends at once, a running one after the page under way; others stay.

    The import goes on in the next window. Refused where the run waits for review, which is ended by judging.
    """
    await database.fetch(
        "UPDATE automatic_import i SET served_window_ends_at = e.window_ends_at FROM import_run r, external_account e"
        " WHERE r.account_id = $1 AND r.id = $2 AND r.state IN ('QUEUED', 'WAITING_FOR_SERVICE') AND i.account_id = $1"
        " AND i.id = r.automatic_import_id AND e.account_id = $1 AND e.id = i.external_account_id",
        account_id, run_id,
    )  # fmt: skip
    rows = await database.fetch(
        f"""
        UPDATE import_run SET cancel_requested = true, revision = revision + 1, waiting_until = NULL,
            finished_at = CASE WHEN state IN ('QUEUED', 'WAITING_FOR_SERVICE') THEN now() END,
            state = CASE WHEN state IN ('QUEUED', 'WAITING_FOR_SERVICE') THEN 'CANCELLED' ELSE state END
        WHERE account_id = $1 AND id = $2 AND state IN {OPEN} AND state <> 'NEEDS_REVIEW' RETURNING id
        """,
        account_id, run_id,
    )  # fmt: skip
    run = None if rows else await ImportRun.get_or_none(account_id=account_id, id=run_id)
    if not rows and run is None:
        raise not_found("import run", "id")
    if run is not None and run.state == RunState.NEEDS_REVIEW:
        message = "This run waits for your judgement. Approve it, or drop it."
        raise Refused(Problem(ErrorCode.NEEDS_REVIEW, message, ("id",)))
    return run_id


async def _open_run(connection: Connection, account_id: UUID, automatic_import_id: UUID) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] | None = await connection.fetchrow(
        "SELECT id, checks, found_something FROM import_run WHERE account_id = $1 AND automatic_import_id = $2"
        f" AND state IN {OPEN} FOR UPDATE",
        account_id, automatic_import_id,
    )  # fmt: skip
    return row


async def _insert(
    connection: Connection,
    account_id: UUID,
    automatic_import_id: UUID,
    trigger: RunTrigger,
    state: RunState,
    *,
    news: bool = False,
) -> UUID:
    run_id = uuid7()
    await connection.execute(
        "INSERT INTO import_run (account_id, id, automatic_import_id, trigger, state, found_something, started_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $5::varchar = 'RUNNING' THEN now() END)",
        account_id, run_id, automatic_import_id, trigger, state, news,
    )  # fmt: skip
    return run_id


def _changed(account_id: UUID, automatic_import_id: UUID, row: Mapping[str, Any]) -> RunChanged:
    return RunChanged(
        account_id=account_id, automatic_import_id=automatic_import_id, run_id=row["id"], revision=row["revision"]
    )
