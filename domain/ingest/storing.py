"""Decide and write, within the transaction; records that the database refuses are isolated (R15)."""

from collections.abc import Sequence

from domain import contact_limit, fields, import_runs
from domain.effects import Origin, announce
from domain.ingest.decisions import Plan
from domain.ingest.items import Item
from domain.ingest.known import Known, load, load_entries
from domain.ingest.plan import is_repeated, plan, plan_rejected
from domain.ingest.transaction import AccountNotLocked, RecordRefused, Stored, Storing
from domain.ingest.write import REFUSALS, write


async def store(storing: Storing, items: Sequence[Item], allowance: int) -> Stored:
    """Store as many of `items` as `allowance` reaches. What the database refuses is isolated by halving (R15).

    Hardly ever does it refuse one: savepoints are set when it has.
    """
    if not storing.carefully:
        try:
            return await _store_together(storing, items, allowance)
        except REFUSALS as refusal:
            raise RecordRefused from refusal
    figures = storing.guard.figures if storing.guard else None
    try:
        async with storing.connection.transaction():
            return await _store_together(storing, items, allowance)
    except REFUSALS:
        if storing.guard and figures:
            storing.guard.figures = figures  # the halves are counted again
        if not storing.run_is_given:
            storing.run_id = None  # it may have been made just now, and be gone with the savepoint
        if len(items) == 1:
            return await _store_rejected(storing, items[0])
    half = len(items) // 2
    stored = await store(storing, items[:half], allowance)
    if stored.consumed == half:
        stored += await store(storing, items[half:], allowance - stored.cost)
    return stored


async def _store_together(storing: Storing, items: Sequence[Item], allowance: int) -> Stored:
    connection, turn = storing.connection, storing.turn
    known_fields = storing.fields
    if known_fields is None:
        known_fields = await fields.load(turn.account_id, turn.service)
    entries, siblings = await load_entries(connection, turn, [item.external_id for item in items])
    changed = [item for item in items if not is_repeated(item, entries.get(item.external_id))]
    # Only a new record is likely to change the number of ACTIVE contacts; where another does, we come back.
    lock_account = storing.lock_account or any(item.external_id not in entries for item in changed)

    async def decide() -> tuple[Plan, Known]:
        known = await load(
            connection, turn, storing.rules, changed, entries=dict(entries), siblings=siblings, fields=known_fields,
            lock_account=lock_account, draining=storing.draining,
        )  # fmt: skip
        return plan(items, known, allowance=allowance), known

    decided, known = await decide()
    if (decided.active_delta or decided.held_back) and not lock_account:
        raise AccountNotLocked
    while decided.lacks_room and await contact_limit.climb(connection, turn.account_id):
        decided, known = await decide()
    if storing.guard is not None:
        storing.guard.check(decided, known)
    return await _write(storing, decided, known)


async def _store_rejected(storing: Storing, item: Item) -> Stored:
    entries, siblings = await load_entries(storing.connection, storing.turn, [item.external_id])
    # Its contact is not held any more: that went with the savepoint.
    known = await load(
        storing.connection, storing.turn, storing.rules, [item], entries=entries, siblings=siblings, fields={},
        lock_account=False,
    )  # fmt: skip
    return await _write(storing, plan_rejected(item, known), known)


async def _write(storing: Storing, decided: Plan, known: Known) -> Stored:
    stored = Stored.of(decided)
    if not all(decision.repeated for decision in decided.decisions):
        storing.run_id = storing.run_id or await import_runs.open_for_news(
            storing.connection, storing.turn.account_id, storing.turn.automatic_import_id
        )
        if storing.meanwhile is not None:
            storing.meanwhile()
        changes = await write(storing.connection, storing.turn, storing.run_id, decided, known)
        stored.silenced = announce(Origin.AUTOMATIC_IMPORT, changes)
    return stored
