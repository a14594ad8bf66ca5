"""From one state of a run to the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from domain.database import Connection
from domain.enums import RunState, RunStop, RunTrigger
from domain.events import RunChanged
from domain.import_runs.opening import CHECKS, OF_REPEATS, OPEN, changed, insert, open_for_news, open_for_repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run failed: a stable code, and a sentence that says what to do."""

    code: str
    message: str


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
    return changed(account_id, automatic_import_id, row) if row else None


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
    return changed(account_id, automatic_import_id, row), row["cancel_requested"]


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
        await insert(connection, account_id, automatic_import_id, RunTrigger.SCHEDULE, RunState.RUNNING)
        return await finish(connection, account_id, automatic_import_id, stopped_by=stopped_by, error=error)
    return changed(account_id, automatic_import_id, row)


async def review(
    connection: Connection, account_id: UUID, automatic_import_id: UUID, found: Mapping[str, Any]
) -> RunChanged:
    """The run waits for somebody to judge what it found."""
    row = await connection.fetchrow(
        "UPDATE import_run SET state = 'NEEDS_REVIEW', stopped_by = 'REVIEW', review = $3, found_something = true,"
        " revision = revision + 1, last_checked_at = now() WHERE account_id = $1 AND id = $2 RETURNING id, revision",
        account_id, await open_for_news(connection, account_id, automatic_import_id), orjson.dumps(found).decode(),
    )  # fmt: skip
    return changed(account_id, automatic_import_id, row)


async def go_on(connection: Connection, account_id: UUID, run_id: UUID) -> None:
    """The run was judged: it is queued again. The figures stay, the examples were for the judge."""
    await connection.execute(
        "UPDATE import_run SET state = 'QUEUED', stopped_by = NULL, review = review - 'examples',"
        " cancel_requested = false, revision = revision + 1 WHERE account_id = $1 AND id = $2",
        account_id, run_id,
    )  # fmt: skip
