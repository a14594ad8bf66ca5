"""A user ends runs."""

from collections.abc import Sequence
from uuid import UUID

from domain import database
from domain.enums import RunState
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.import_runs.opening import OPEN
from domain.models import ImportRun


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
