"""Background tasks: claimed by the tick, done step by step, handed over before a job lasts too long."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

import structlog

from domain import background_tasks, database
from domain.background_tasks import Task
from domain.enums import TaskKind
from domain.errors import LeaseLost
from domain.logs import trace
from jobs.reactions import Context

log = structlog.get_logger()

BUDGET = timedelta(seconds=12)
"""After this long a task is handed over to the next job, like a cycle."""
GIVEN_UP = "It failed again and again. The server's log has the details."

Step = Callable[[Context, Task], Awaitable[bool]]
"""Does one step of a task, in one transaction (`background_tasks.step`). Returns whether there is more to do."""

STEPS: Mapping[TaskKind, Step] = {}
GIVE_UP: Mapping[TaskKind, Callable[[Task], Awaitable[None]]] = {}
"""What tells whoever waits for a task that it failed for good."""


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
        while await STEPS[task.kind](ctx, task):
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
        if await background_tasks.retry(task, GIVEN_UP) and task.kind in GIVE_UP:
            await GIVE_UP[task.kind](task)
