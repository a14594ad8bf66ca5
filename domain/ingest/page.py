"""Store a page: its records, their outcomes, the counts and the checkpoint in one transaction, or nothing (R14)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

import asyncpg
import orjson

from domain import database, fields, import_runs
from domain.cap import left_of_cap
from domain.database import Connection
from domain.enums import Outcome, OutcomeNote
from domain.events import RunChanged
from domain.fields import KnownField
from domain.ingest.items import Item, item_of, item_of_ledger, seen_values, storable_id
from domain.ingest.known import Known, Rules, load, load_entries, load_rules
from domain.ingest.plan import Plan, is_repeated, plan, plan_rejected
from domain.ingest.write import REFUSALS, ContactAppeared, mark_deleted, write
from domain.records import FieldSpec, Record
from domain.settings import settings
from domain.turns import Turn

MAX_RECORDS = 500
"""Per transaction, so that nobody waits long behind it."""
ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A page as a connector read it. The checkpoint is true once all of it is stored.

    `remaining` is how many records the pass still has after this page, where the service tells.
    """

    records: Sequence[Record]
    checkpoint: Mapping[str, Any]
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    deleted_ids: Sequence[str] = ()
    remaining: int | None = None


@dataclass(slots=True, kw_only=True)
class Stored:
    """How far a page was stored. `consumed` < its records: the rest waits for the next turn, or the next window."""

    consumed: int = 0
    cost: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    protected: int = 0
    run: RunChanged | None = None
    cancelled: bool = False
    cap_left: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """What a plan comes to, once it is written."""
        return cls(
            consumed=len(plan.decisions),
            cost=plan.cost,
            counts=Counter(decision.outcome for decision in plan.decisions),
            protected=sum(OutcomeNote.PROTECTED in decision.change.notes for decision in plan.decisions),
        )

    def __iadd__(self, other: Self) -> Self:
        self.consumed += other.consumed
        self.cost += other.cost
        self.counts += other.counts
        self.protected += other.protected
        return self


class AccountNotLocked(Exception):
    """The page changes the number of ACTIVE contacts after all: lock the account's row first, and decide again."""


@dataclass(slots=True, kw_only=True)
class Storing:
    """One transaction that stores for a turn; `run_id` is known as soon as something needs it."""

    connection: Connection
    turn: Turn
    rules: Rules
    fields: Mapping[str, KnownField]
    lock_account: bool
    run_id: UUID | None = None


async def store_page(turn: Turn, page: Incoming, *, start: int = 0, allowance: int | None = None) -> Stored:
    """Store the page's records from `start` on, as far as the cap, the turn's `allowance` and 500 reach.

    The checkpoint moves when the last record is stored. Storing a page again changes nothing, so a retried one is
    harmless. Raises LeaseLost or TurnSuperseded where the page must be dropped.
    """
    items = _distinct([item_of(record) for record in page.records[start : start + MAX_RECORDS]])
    reaches_end = start + len(items) == len(page.records)

    async def work(storing: Storing) -> Stored:
        stored = await _store(storing, items, _allowance(storing.rules, allowance))
        if reaches_end and stored.consumed == len(items):
            await _complete(storing, page)
        if page.remaining is not None:
            await _estimate(storing, page.remaining + len(page.records) - start - stored.consumed)
        return await _count(storing, stored)

    return await _in_transaction(turn, await _ensure_fields(turn, items, page.fields), work)


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
        return await _count(storing, await _store(storing, items, _allowance(storing.rules, allowance)))

    return await _in_transaction(turn, await fields.load(turn.account_id, turn.service), work)


def _distinct(items: Sequence[Item]) -> Sequence[Item]:
    """The items before the first whose id came already: a statement may not touch a row twice."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.external_id in seen:
            return items[:index]
        seen.add(item.external_id)
    return items


async def _ensure_fields(turn: Turn, items: Sequence[Item], specs: Mapping[str, FieldSpec]) -> Mapping[str, KnownField]:
    """The fields that the page's changed records need, made before the page's transaction."""
    digests = {
        row["external_id"]: row["digest"]
        for row in await database.fetch(
            "SELECT external_id, digest FROM ledger WHERE account_id = $1 AND external_account_id = $2"
            " AND automatic_import_id = $3 AND external_id = ANY($4::text[])",
            turn.account_id, turn.external_account_id, turn.automatic_import_id, [item.external_id for item in items],
        )
    }  # fmt: skip
    changed = [item for item in items if digests.get(item.external_id) != item.digest]
    if not changed:
        return {}
    return await fields.ensure(
        account_id=turn.account_id,
        external_account_id=turn.external_account_id,
        service=turn.service,
        specs=specs,
        seen=seen_values(changed),
    )


async def _in_transaction(
    turn: Turn, known_fields: Mapping[str, KnownField], work: Callable[[Storing], Awaitable[Stored]]
) -> Stored:
    lock_account = False
    for _ in range(ATTEMPTS):
        try:
            async with database.transaction() as connection:
                rules = await load_rules(connection, turn)
                return await work(
                    Storing(
                        connection=connection, turn=turn, rules=rules, fields=known_fields, lock_account=lock_account
                    )
                )
        except AccountNotLocked:
            lock_account = True
        except (ContactAppeared, asyncpg.DeadlockDetectedError):
            continue
    message = f"could not store a page in {ATTEMPTS} attempts: too many concurrent changes of the same contacts"
    raise asyncpg.DeadlockDetectedError(message)


def _allowance(rules: Rules, of_turn: int | None) -> int:
    left = left_of_cap(rules.window_used)
    return left if of_turn is None else min(left, of_turn)


async def _store(storing: Storing, items: Sequence[Item], allowance: int) -> Stored:
    """Store as many of `items` as `allowance` reaches. What the database refuses is isolated by halving (R15)."""
    try:
        async with storing.connection.transaction():
            return await _store_together(storing, items, allowance)
    except REFUSALS:
        storing.run_id = None  # it may have been made just now, and be gone with the savepoint
        if len(items) == 1:
            return await _store_rejected(storing, items[0])
    half = len(items) // 2
    stored = await _store(storing, items[:half], allowance)
    if stored.consumed == half:
        stored += await _store(storing, items[half:], allowance - stored.cost)
    return stored


async def _store_together(storing: Storing, items: Sequence[Item], allowance: int) -> Stored:
    connection, turn = storing.connection, storing.turn
    entries, siblings = await load_entries(connection, turn, [item.external_id for item in items])
    changed = [item for item in items if not is_repeated(item, entries.get(item.external_id))]
    # Only a new record is likely to change the number of ACTIVE contacts; where another does, we come back.
    lock_account = storing.lock_account or any(item.external_id not in entries for item in changed)
    known = await load(
        connection,
        turn,
        storing.rules,
        changed,
        entries=entries,
        siblings=siblings,
        fields=storing.fields,
        lock_account=lock_account,
    )
    decided = plan(items, known, allowance=allowance)
    if decided.active_delta and not lock_account:
        raise AccountNotLocked
    await _write(storing, decided, known)
    return Stored.of(decided)


async def _store_rejected(storing: Storing, item: Item) -> Stored:
    entries, siblings = await load_entries(storing.connection, storing.turn, [item.external_id])
    known = Known(rules=storing.rules, entries=entries, siblings=siblings)
    decided = plan_rejected(item, known)
    await _write(storing, decided, known)
    return Stored.of(decided)


async def _write(storing: Storing, decided: Plan, known: Known) -> None:
    if any(not decision.repeated for decision in decided.decisions):
        storing.run_id = storing.run_id or await import_runs.open_for_news(
            storing.connection, storing.turn.account_id, storing.turn.automatic_import_id
        )
        await write(storing.connection, storing.turn, storing.run_id, decided, known)


async def _complete(storing: Storing, page: Incoming) -> None:
    """All of the page is stored: its tombstones count, and its checkpoint is true."""
    if page.deleted_ids:
        await mark_deleted(storing.connection, storing.turn, [storable_id(gone) for gone in page.deleted_ids])
    await storing.connection.execute(
        "UPDATE automatic_import SET checkpoint = $3 WHERE account_id = $1 AND id = $2",
        storing.turn.account_id, storing.turn.automatic_import_id, orjson.dumps(page.checkpoint).decode(),
    )  # fmt: skip


async def _estimate(storing: Storing, remaining: int) -> None:
    """What the service tells of the records still to come, for whoever wants to know when it will be done (R4)."""
    await storing.connection.execute(
        "UPDATE automatic_import SET source_remaining = $3 WHERE account_id = $1 AND id = $2",
        storing.turn.account_id, storing.turn.automatic_import_id, remaining,
    )  # fmt: skip


async def _count(storing: Storing, stored: Stored) -> Stored:
    """Add to the run's counts and to the window, and show a sign of life."""
    connection, turn = storing.connection, storing.turn
    await connection.execute(
        "UPDATE external_account SET window_used = $3, lease_expires_at = now() + $4 WHERE account_id = $1 AND id = $2",
        turn.account_id, turn.external_account_id, storing.rules.window_used + stored.cost,
        timedelta(seconds=settings().lease_seconds),
    )  # fmt: skip
    if stored.consumed:
        run_id = storing.run_id or await import_runs.open_for_repeats(
            connection, turn.account_id, turn.automatic_import_id
        )
        stored.run, stored.cancelled = await import_runs.count(
            connection,
            account_id=turn.account_id,
            automatic_import_id=turn.automatic_import_id,
            run_id=run_id,
            counts=stored.counts,
            protected=stored.protected,
        )
    stored.cap_left = left_of_cap(storing.rules.window_used + stored.cost)
    return stored
