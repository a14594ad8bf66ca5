"""Let in who waits for room in the contact limit, as far as room and caps reach (R11)."""

import time
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import background_tasks, cycle, ingest, waiting_room
from domain.background_tasks import Task
from domain.cycle import Claim
from domain.errors import TurnSuperseded
from domain.ingest import Stored
from jobs.reactions import Context, publish


async def drain_waiting_room(ctx: Context, task: Task) -> bool:
    """One step of the task that is asked for wherever room appears: up to 500 of one import, whoever came first.

    `task.progress` has the run of each import that this draining is counted in.
    """
    for import_id in await waiting_room.imports_in_line(task.account_id):
        async with background_tasks.step(task):
            run_id = UUID(task.progress.setdefault(str(import_id), str(uuid7())))
            stored = await _let_in(ctx, task.account_id, import_id, run_id)
        if stored is not None:
            await publish(ctx, stored.run)
            return True
    return False


async def drain(ctx: Context, claim: Claim, *, deadline: float) -> bool:
    """Before a cycle reads anything new: with a new window the cap is whole again, also for imports not due in it.

    `deadline` is of `time.monotonic`. Returns whether it was met: who is not let in by then wants a cycle at once.
    """
    for import_id in await waiting_room.imports_in_line(claim.account_id, claim.external_account_id):
        run_id = uuid7()
        while time.monotonic() < deadline:
            await cycle.renew(claim)
            stored = await _let_in(ctx, claim.account_id, import_id, run_id)
            if stored is None:
                break
            await publish(ctx, stored.run)
        else:
            return False
    return True


async def _let_in(ctx: Context, account_id: UUID, import_id: UUID, run_id: UUID) -> Stored | None:
    unstable = {key for key, service in ctx["services"].items() if service.unstable_ids}
    try:
        return await ingest.let_in(account_id, import_id, run_id=run_id, unstable_services=unstable)
    except TurnSuperseded:
        # Edited at this moment: whoever still waits is let in as the edit says.
        return await _let_in(ctx, account_id, import_id, run_id)
