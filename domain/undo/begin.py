"""An undo begins: its row, and the background task that does it, in the transaction of whoever wants it."""

from collections.abc import Sequence
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import background_tasks, database
from domain.account import Viewer
from domain.audit import record_audit
from domain.database import Connection
from domain.enums import TaskKind
from domain.errors import ErrorCode, Problem, Refused
from domain.settings import settings

# Outcomes are dropped by day: a run that began on a day that is kept has all of its own.
KEPT = (
    "(coalesce(started_at, created_at) AT TIME ZONE 'UTC')::date >= (now() AT TIME ZONE 'UTC')::date - {days}::integer"
)


async def hold(connection: Connection, account_id: UUID, import_id: UUID) -> UUID:
    """Hold the import's external account, then the import, deleted or not. Returns the external account's id."""
    external_account_id: UUID = await connection.fetchval(
        "SELECT e.id FROM external_account e JOIN automatic_import i ON i.account_id = e.account_id"
        " AND i.external_account_id = e.id WHERE i.account_id = $1 AND i.id = $2 FOR NO KEY UPDATE OF e",
        account_id, import_id,
    )  # fmt: skip
    await connection.execute(
        "SELECT FROM automatic_import WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE", account_id, import_id
    )
    return external_account_id


async def require_no_undo(connection: Connection, account_id: UUID, import_id: UUID) -> None:
    """Refused while runs of the import are being undone; the import is held."""
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM import_undo WHERE account_id = $1 AND automatic_import_id = $2"
        " AND state IN ('QUEUED', 'RUNNING'))",
        account_id, import_id,
    ):  # fmt: skip
        message = "Runs of this import are being undone. Wait until that is done."
        raise Refused(Problem(ErrorCode.UNDO_UNDER_WAY, message, ("id",)))


async def runs_that_can_be_undone(
    connection: Connection, account_id: UUID, import_id: UUID, *, since: UUID | None = None
) -> list[UUID]:
    """The import's runs, newest first, of which all outcomes are kept and that are not undone; from `since` on."""
    rows = await connection.fetch(
        "SELECT id FROM import_run WHERE account_id = $1 AND automatic_import_id = $2 AND state <> 'UNDONE'"
        f" AND ($3::uuid IS NULL OR id >= $3) AND {KEPT.format(days='$4')} ORDER BY id DESC",
        account_id, import_id, since, settings().outcome_days,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def begin(connection: Connection, viewer: Viewer, import_id: UUID, run_ids: Sequence[UUID]) -> UUID:
    """Have these runs undone, newest first as they are given. After the commit, wake the queue.

    The import is held, and nothing of it is under way any more. Returns the undo's id.
    """
    undo_id = uuid7()
    await connection.execute(
        "INSERT INTO import_undo (account_id, id, automatic_import_id, run_ids, state, counts, created_at)"
        " VALUES ($1, $2, $3, $4, 'QUEUED', '{}', now())",
        viewer.account_id, undo_id, import_id, orjson.dumps([str(run_id) for run_id in run_ids]).decode(),
    )  # fmt: skip
    await background_tasks.enqueue(connection, viewer.account_id, TaskKind.UNDO, subject=undo_id)
    await record_audit(viewer, "IMPORT_RUNS_UNDONE", import_id, undo=str(undo_id), runs=len(run_ids))
    return undo_id


async def undo_all_runs(viewer: Viewer, import_id: UUID) -> UUID:
    """Have all of the import's runs undone that can be, in the transaction that holds it. Returns the undo's id."""
    async with database.transaction() as connection:
        await require_no_undo(connection, viewer.account_id, import_id)
        run_ids = await runs_that_can_be_undone(connection, viewer.account_id, import_id)
        return await begin(connection, viewer, import_id, run_ids)
