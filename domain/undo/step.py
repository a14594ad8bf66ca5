"""The task that undoes runs: up to 500 outcomes a step, each step one transaction."""

from collections import Counter
from uuid import UUID

import asyncpg
import orjson

from domain import background_tasks, contact_limit, database
from domain.background_tasks import Task
from domain.database import Connection
from domain.enums import Outcome
from domain.events import RunChanged
from domain.undo import begin
from domain.undo.known import Undoing, load, load_outcomes
from domain.undo.plan import may_change_active, plan
from domain.undo.write import count, write

MAX_OUTCOMES = 500
"""Per transaction, so that nobody waits long behind it."""
ATTEMPTS = 5
EXPIRED = "Some of what these runs did was not kept long enough to be undone: correct that by hand. The rest is undone."


async def step(task: Task) -> tuple[bool, RunChanged | None]:
    """Undo the next outcomes, newest run first. Returns whether there is more to do, and the run that is now undone.

    `task.progress` is `{"run": how many runs are done, "outcome": the last one undone of the next, "found": how many
    records of that one, created or updated, were seen}`.
    """
    if not task.progress:
        return await _start(task), None
    for _ in range(ATTEMPTS):
        progress = dict(task.progress)
        try:
            async with background_tasks.step(task) as connection:
                return await _undo(connection, task)
        except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
            # Somebody took an address that was free when we looked, or edits the same contacts: decide again.
            task.progress = progress
    raise asyncpg.DeadlockDetectedError(f"could not undo in {ATTEMPTS} attempts: too many concurrent changes")


async def give_up(task: Task) -> None:
    """The undo failed for good. What it undid stays undone, and the rest can be asked for again."""
    message = "Something went wrong on our side. What is not undone yet can be undone again."
    await database.fetch(
        "UPDATE import_undo SET state = 'FAILED', error_message = $3, finished_at = now()"
        " WHERE account_id = $1 AND id = $2",
        task.account_id, task.subject, message,
    )  # fmt: skip


async def _start(task: Task) -> bool:
    """Count what there is to do. The runs are over, so that it does not grow."""
    async with background_tasks.step(task) as connection:
        await connection.execute(
            """
            UPDATE import_undo u SET state = 'RUNNING', total = (
                SELECT count(*) FROM outcome o WHERE o.account_id = u.account_id
                    AND o.run_id IN (SELECT jsonb_array_elements_text(u.run_ids)::uuid))
            WHERE u.account_id = $1 AND u.id = $2
            """,
            task.account_id, task.subject,
        )  # fmt: skip
        task.progress = {"run": 0, "outcome": None, "found": 0}
    return True


async def _undo(connection: Connection, task: Task) -> tuple[bool, RunChanged | None]:
    row = await connection.fetchrow(
        "SELECT automatic_import_id, run_ids::text, counts::text FROM import_undo WHERE account_id = $1 AND id = $2",
        task.account_id, task.subject,
    )  # fmt: skip
    run_ids = [UUID(run_id) for run_id in orjson.loads(row["run_ids"])]
    index, last, found = task.progress["run"], task.progress["outcome"], task.progress["found"]
    if index == len(run_ids):
        await _finish(connection, task)
        return False, None
    undoing = Undoing(
        account_id=task.account_id,
        external_account_id=await begin.hold(connection, task.account_id, row["automatic_import_id"]),
        automatic_import_id=row["automatic_import_id"],
        undo_id=task.subject,
        run_id=run_ids[index],
        run_ids=run_ids,
    )
    outcomes = await load_outcomes(connection, undoing, before=UUID(last) if last else None, limit=MAX_OUTCOMES)
    if outcomes:
        if may_change_active(outcomes):
            await contact_limit.hold(connection, task.account_id)
        known = await load(connection, undoing, outcomes)
        planned = plan(outcomes, known)
        await write(connection, undoing, planned, known)
        counts = Counter(orjson.loads(row["counts"])) + Counter(each.result.value for each in planned.undone)
        await count(connection, undoing, counts)
        await contact_limit.count_active(connection, task.account_id, planned.active_delta)
    found += sum(each.outcome in (Outcome.CREATED, Outcome.UPDATED) for each in outcomes)
    if len(outcomes) == MAX_OUTCOMES:
        task.progress = {"run": index, "outcome": str(outcomes[-1].id), "found": found}
        return True, None
    task.progress = {"run": index + 1, "outcome": None, "found": 0}
    return True, await _mark_undone(connection, undoing, found)


async def _mark_undone(connection: Connection, undoing: Undoing, found: int) -> RunChanged | None:
    """Nothing of the run is left to undo, unless some of its outcomes were dropped before their turn came."""
    revision = await connection.fetchval(
        "UPDATE import_run SET state = 'UNDONE', revision = revision + 1 WHERE account_id = $1 AND id = $2"
        " AND created_count + updated_count <= $3 RETURNING revision",
        undoing.account_id, undoing.run_id, found,
    )  # fmt: skip
    if revision is None:
        await connection.execute(
            "UPDATE import_undo SET error_message = $3 WHERE account_id = $1 AND id = $2",
            undoing.account_id, undoing.undo_id, EXPIRED,
        )  # fmt: skip
        return None
    return RunChanged(
        account_id=undoing.account_id,
        automatic_import_id=undoing.automatic_import_id,
        run_id=undoing.run_id,
        revision=revision,
    )


async def _finish(connection: Connection, task: Task) -> None:
    await connection.execute(
        "UPDATE import_undo SET state = CASE WHEN error_message IS NULL THEN 'COMPLETED' ELSE 'FAILED' END,"
        " finished_at = now() WHERE account_id = $1 AND id = $2",
        task.account_id, task.subject,
    )  # fmt: skip
