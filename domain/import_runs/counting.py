"""What became of a run's records."""

from collections import Counter
from uuid import UUID

from domain.database import Connection
from domain.effects import Effects
from domain.enums import Outcome
from domain.events import RunChanged
from domain.import_runs.opening import OF_REPEATS, REOPENED, changed, open_for_repeats


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
    return changed(account_id, automatic_import_id, rows[0]), rows[0]["cancel_requested"]


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
    return changed(account_id, automatic_import_id, row)
