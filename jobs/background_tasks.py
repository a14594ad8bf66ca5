"""Background tasks: claimed by the tick, done step by step, handed over before a job lasts too long."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

import structlog

from domain import background_tasks, contacts, database, import_targets, lists, previews
from domain.background_tasks import Task
from domain.enums import TaskKind
from domain.errors import LeaseLost
from domain.logs import trace
from domain.undo.step import give_up
from jobs.draining import drain_waiting_room
from jobs.preview import preview
from jobs.reactions import Context
from jobs.undoing import undo_runs

log = structlog.get_logger()

BUDGET = timedelta(seconds=12)
"""After this long a task is handed over to the next job, like a cycle."""
STEP_TIMEOUT = timedelta(seconds=30)
"""For one step. With the budget it stays below arq's timeout, which would begin the step again for ever."""
GIVEN_UP = "It failed again and again. The server's log has the details."

Step = Callable[[Context, Task], Awaitable[bool | timedelta]]
"""Does one step of a task, in one transaction (`background_tasks.step`). Returns whether there is more to do.

Or after how long: a service may want to be left alone.
"""


class StepTooLong(Exception):
    """A step took longer than `STEP_TIMEOUT`. Not a TimeoutError, which may be the database's."""


def _of_domain(step: Callable[[Task], Awaitable[bool]]) -> Step:
    """A step that needs nothing of the worker."""

    async def run(_: Context, task: Task) -> bool:
        return await step(task)

    return run


STEPS: Mapping[TaskKind, Step] = {
    TaskKind.APPLY_TARGETS: _of_domain(import_targets.give_step),
    TaskKind.DELETE_LIST: _of_domain(lists.forget_step),
    TaskKind.DELETE_TAG: _of_domain(lists.forget_step),
    TaskKind.DRAIN_WAITING_ROOM: drain_waiting_room,
    TaskKind.PREVIEW: preview,
    TaskKind.ERASE_CONTACT: _of_domain(contacts.erase_step),
    TaskKind.UNDO: undo_runs,
}
GIVE_UP: Mapping[TaskKind, Callable[[Task], Awaitable[None]]] = {
    TaskKind.PREVIEW: previews.fail_given_up,
    TaskKind.UNDO: give_up,
}
"""What tells whoever waits for a task that it failed for good, in the transaction that gives it up."""


async def run_background_task(ctx: Context, account_id: str, task_id: str, lease_token: str) -> None:
    """Go on with a task from its last progress."""
    with structlog.contextvars.bound_contextvars(account=account_id, task=task_id):
        try:
            task = await background_tasks.take(UUID(account_id), UUID(task_id), UUID(lease_token))
            await _work(ctx, task)
        except LeaseLost:
            log.info("task.lease_lost")
        except database.UNAVAILABLE as error:
            # The lease runs out by itself, and whoever claims it then carries on.
            log.warning("task.database_unavailable", error=type(error).__name__)


async def _work(ctx: Context, task: Task) -> None:
    deadline = time.monotonic() + BUDGET.total_seconds()
    try:
        if task.attempts > background_tasks.MAX_ATTEMPTS:
            # Every worker that tried it died: the next would, too.
            await _retry(task)
            return
        while (more := await _step(ctx, task)) is not False:
            if isinstance(more, timedelta):
                await background_tasks.hand_over(task, after=more)
                return
            if time.monotonic() > deadline:
                await background_tasks.hand_over(task)
                await ctx["queue"].wake()
                return
        await background_tasks.complete(task)
    except asyncio.CancelledError:
        await asyncio.shield(background_tasks.hand_over(task))
        raise
    except (LeaseLost, *database.UNAVAILABLE):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it is tried again, and given up at last
        log.error("task.failed", kind=task.kind, **trace(error))
        await _retry(task)


async def _step(ctx: Context, task: Task) -> bool | timedelta:
    try:
        async with asyncio.timeout(STEP_TIMEOUT.total_seconds()) as limit:
            return await STEPS[task.kind](ctx, task)
    except TimeoutError:
        if limit.expired():
            raise StepTooLong from None
        raise


async def _retry(task: Task) -> None:
    if await background_tasks.retry(task, GIVEN_UP, tell=GIVE_UP.get(task.kind)):
        log.error("task.given_up", kind=task.kind)
