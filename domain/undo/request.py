"""What users ask to be undone."""

from uuid import UUID

from domain import automatic_imports, database
from domain.account import Viewer
from domain.enums import RunState
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.models import AutomaticImport, ImportRun
from domain.queue import Queue
from domain.undo import begin

PAUSED = "Paused, because runs were undone. Resumed, it leaves what is undone alone until that changes at the service."


async def undo_run(viewer: Viewer, run_id: UUID, *, and_later: bool, queue: Queue) -> UUID:
    """Have a run undone, or it and all later ones of its import, in the background. Returns the undo's id.

    The import is paused in the same transaction, which wins over a page under way (R14).
    """
    account_id = viewer.account_id
    run = await ImportRun.get_or_none(account_id=account_id, id=run_id)
    if run is None:
        raise not_found("import run", "id")
    import_id = run.automatic_import_id
    async with database.transaction() as connection:
        await begin.hold(connection, account_id, import_id)
        await begin.require_no_undo(connection, account_id, import_id)
        run_ids = await begin.runs_that_can_be_undone(connection, account_id, import_id, since=run_id)
        if run_id not in run_ids:
            raise await _refusal(account_id, run_id)
        # Runs of a deleted import can be undone too; there is nothing left to pause then.
        if await AutomaticImport.exists(account_id=account_id, id=import_id, deleted_at=None):
            await automatic_imports.pause(viewer, import_id, reason=PAUSED)
        undo_id = await begin.begin(connection, viewer, import_id, run_ids if and_later else [run_id])
    await queue.wake()
    return undo_id


async def _refusal(account_id: UUID, run_id: UUID) -> Refused:
    """Why a run cannot be undone."""
    if await ImportRun.exists(account_id=account_id, id=run_id, state=RunState.UNDONE):
        return Refused(Problem(ErrorCode.ALREADY_UNDONE, "This run is undone already.", ("id",)))
    message = "What this run did is not kept any more, so it cannot be undone."
    return Refused(Problem(ErrorCode.UNDO_EXPIRED, message, ("id",)))
