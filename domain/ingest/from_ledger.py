"""Ingest records from their ledger rows, without asking the service: what is due, and who waits for room."""

from collections.abc import Collection
from uuid import UUID

from domain import contact_limit, database, import_runs, turns, waiting_room
from domain.ingest.items import item_of_ledger
from domain.ingest.storing import store
from domain.ingest.transaction import MAX_RECORDS, Stored, Storing, allowance_of, count, in_transaction
from domain.turns import Turn


async def store_due(turn: Turn, *, allowance: int | None = None) -> Stored | None:
    """Ingest up to 500 of the import's ledger rows that are due (succession, a field made late, retries).

    None where none is. They cost of the cap like any record, and are counted as read.
    """
    rows = await database.fetch(
        "SELECT external_id, record::text, digest FROM ledger"
        " WHERE account_id = $1 AND automatic_import_id = $2 AND due"
        " ORDER BY position LIMIT $3",
        turn.account_id, turn.automatic_import_id, MAX_RECORDS,
    )  # fmt: skip
    if not rows:
        return None
    items = [item_of_ledger(row["external_id"], row["record"], row["digest"]) for row in rows]

    async def work(storing: Storing) -> Stored:
        return await count(storing, await store(storing, items, allowance_of(storing.rules, allowance)))

    return await in_transaction(turn, work)


async def let_in(
    account_id: UUID, automatic_import_id: UUID, *, run_id: UUID, unstable_services: Collection[str]
) -> Stored | None:
    """Ingest up to 500 of the import's records whose turn it is in the account's waiting room (R11).

    `run_id` is the run of its own that this is counted in (trigger ROOM); it is made with the first record. None
    where nobody's turn has come, the cap is used up, or the import is paused. Needs no lease: nothing is read from
    the service.
    """
    turn = await turns.of_ledger(account_id, automatic_import_id, unstable_services)
    if turn is None:
        return None

    async def work(storing: Storing) -> Stored:
        connection = storing.connection
        allowance = allowance_of(storing.rules, None)
        room = await contact_limit.hold(connection, account_id)
        rows = await waiting_room.head(connection, account_id, automatic_import_id, room=room, limit=MAX_RECORDS)
        while not rows and allowance and await waiting_room.is_used(connection, account_id, automatic_import_id):
            if not await contact_limit.climb(connection, account_id):
                break
            room = await contact_limit.room(connection, account_id)
            rows = await waiting_room.head(connection, account_id, automatic_import_id, room=room, limit=MAX_RECORDS)
        if not rows or not allowance:
            return Stored()
        storing.run_id = await import_runs.open_for_room(connection, account_id, automatic_import_id, run_id)
        storing.run_is_given = storing.draining = True
        items = [item_of_ledger(row["external_id"], row["record"], row["digest"]) for row in rows]
        return await count(storing, await store(storing, items, allowance))

    stored = await in_transaction(turn, work, lock_account=True)
    return stored if stored.consumed else None
