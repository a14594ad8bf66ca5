"""Pausing imports: a user pauses one, drops what it waits to be judged for, or disconnects its external account."""

from collections.abc import Sequence
from uuid import UUID

from domain import import_runs, sweeps
from domain.database import Connection


async def pause(
    connection: Connection, account_id: UUID, import_ids: Sequence[UUID], *, reason: str | None = None
) -> None:
    """Pause the imports, which are held: what they have under way ends, and a page under way is dropped (R14).

    `reason` is for their owner, where that is not who paused them.
    Nothing stays approved, and nothing waits for review any more: when they are resumed, it is judged anew.
    """
    for import_id in import_ids:
        await sweeps.discard(connection, account_id, import_id)
    await connection.execute(
        "UPDATE automatic_import SET state = 'PAUSED', state_reason = $3, revision = revision + 1, guard = '{}'"
        " WHERE account_id = $1 AND id = ANY($2::uuid[])",
        account_id, import_ids, reason,
    )  # fmt: skip
    await import_runs.cancel_open(account_id, import_ids)
