"""The run's state machine: queued, running, waiting for the service, and the ways to end.

Every change raises the row's `revision`, which watchers compare. A run's counts change in `ingest` only, together
with the records that they count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import database
from domain.database import Connection
from domain.enums import RunState, RunStop, RunTrigger
from domain.events import RunChanged
from domain.models import ImportRun

OPEN_STATES = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING_FOR_SERVICE, RunState.NEEDS_REVIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run failed: a stable code, and a sentence that says what to do."""

    code: str
    message: str


async def queue(connection: Connection, *, account_id: UUID, automatic_import_id: UUID, trigger: RunTrigger) -> UUID:
    """The import's open run, made where it has none, in the transaction that asks for it."""
    rows = await connection.fetch(
        """
        INSERT INTO import_run (account_id, id, automatic_import_id, trigger, state, revision, checks, found_something,
            read_count, created_count, updated_count, unchanged_count, skipped_count, waiting_count, failed_count,
            protected_count, silenced_autoresponders, silenced_webhooks, silenced_notifications, cancel_requested,
            created_at)
        VALUES ($1, $2, $3, $4, 'QUEUED', 1, 1, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, now())
        ON CONFLICT (account_id, automatic_import_id)
            WHERE state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE', 'NEEDS_REVIEW')
        DO UPDATE SET revision = import_run.revision
        RETURNING id
        """,
        account_id, uuid7(), automatic_import_id, trigger,
    )  # fmt: skip
    run_id: UUID = rows[0]["id"]
    return run_id


async def start(account_id: UUID, automatic_import_id: UUID) -> RunChanged | None:
    """Set the import's open run going: a queued one, or one that a worker left behind. None where it has none."""
    rows = await database.fetch(
        """
        UPDATE import_run SET state = 'RUNNING', waiting_until = NULL, revision = revision + 1,
            started_at = coalesce(started_at, now()), last_checked_at = now()
        WHERE account_id = $1 AND automatic_import_id = $2 AND state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE')
        RETURNING id, revision
        """,
        account_id, automatic_import_id,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, rows)


async def wait_for_service(account_id: UUID, automatic_import_id: UUID, *, until: datetime) -> RunChanged | None:
    """The service asked for patience: the run goes on at `until`."""
    rows = await database.fetch(
        """
        UPDATE import_run SET state = 'WAITING_FOR_SERVICE', waiting_until = $3, revision = revision + 1
        WHERE account_id = $1 AND automatic_import_id = $2 AND state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE')
        RETURNING id, revision
        """,
        account_id, automatic_import_id, until,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, rows)


async def finish(
    account_id: UUID,
    automatic_import_id: UUID,
    *,
    stopped_by: RunStop | None = None,
    error: RunError | None = None,
) -> RunChanged | None:
    """End the import's open run, if it has one."""
    state = RunState.FAILED if error else RunState.COMPLETED
    rows = await database.fetch(
        """
        UPDATE import_run SET state = $3, stopped_by = $4, error_code = $5, error_message = $6, waiting_until = NULL,
            started_at = coalesce(started_at, now()), finished_at = now(), last_checked_at = now(),
            revision = revision + 1
        WHERE account_id = $1 AND automatic_import_id = $2 AND state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE')
        RETURNING id, revision
        """,
        account_id, automatic_import_id, state, stopped_by,
        error.code if error else None, error.message if error else None,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, rows)


async def extend_last(account_id: UUID, automatic_import_id: UUID) -> RunChanged | None:
    """A cycle that found nothing: the last run was checked once more. None where the import never ran to its end."""
    rows = await database.fetch(
        """
        UPDATE import_run SET checks = checks + 1, last_checked_at = now(), revision = revision + 1
        WHERE account_id = $1 AND id = (
            SELECT id FROM import_run WHERE account_id = $1 AND automatic_import_id = $2 ORDER BY id DESC LIMIT 1
        ) AND state = 'COMPLETED' AND stopped_by IS NULL
        RETURNING id, revision
        """,
        account_id, automatic_import_id,
    )  # fmt: skip
    return _changed(account_id, automatic_import_id, rows)


async def cancel_open(account_id: UUID, automatic_import_ids: Sequence[UUID]) -> None:
    """End what these imports have under way, because a user paused, deleted or disconnected them."""
    await database.fetch(
        """
        UPDATE import_run SET state = 'CANCELLED', finished_at = now(), waiting_until = NULL, revision = revision + 1
        WHERE account_id = $1 AND automatic_import_id = ANY($2::uuid[])
            AND state IN ('QUEUED', 'RUNNING', 'WAITING_FOR_SERVICE', 'NEEDS_REVIEW')
        """,
        account_id, list(automatic_import_ids),
    )  # fmt: skip


async def get(account_id: UUID, run_id: UUID) -> ImportRun | None:
    """The run as it stands."""
    return await ImportRun.get_or_none(account_id=account_id, id=run_id)


async def latest(account_id: UUID, automatic_import_id: UUID) -> ImportRun | None:
    """The import's open run, else its last."""
    return await (
        ImportRun.filter(account_id=account_id, automatic_import_id=automatic_import_id).order_by("-id").first()
    )


def _changed(account_id: UUID, automatic_import_id: UUID, rows: Sequence[Mapping[str, Any]]) -> RunChanged | None:
    if not rows:
        return None
    return RunChanged(
        account_id=account_id,
        automatic_import_id=automatic_import_id,
        run_id=rows[0]["id"],
        revision=rows[0]["revision"],
    )
