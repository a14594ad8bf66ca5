"""One transaction that stores for a turn: its locks, its decisions, its counts; refused records are isolated."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self
from uuid import UUID

import asyncpg

from domain import contact_limit, database, import_runs
from domain.cap import left_of_cap
from domain.database import Connection
from domain.effects import Effects, Origin, announce
from domain.enums import Outcome, OutcomeNote
from domain.events import RunChanged
from domain.fields import KnownField
from domain.ingest.decisions import Plan
from domain.ingest.guard import Guard
from domain.ingest.items import Item
from domain.ingest.known import Known, load, load_entries
from domain.ingest.plan import is_repeated, plan, plan_rejected
from domain.ingest.rules import Rules, load_rules
from domain.ingest.write import REFUSALS, ContactAppeared, write
from domain.settings import settings
from domain.turns import Turn

MAX_RECORDS = 500
"""Per transaction, so that nobody waits long behind it."""
ATTEMPTS = 5


@dataclass(slots=True, kw_only=True)
class Stored:
    """How far a page was stored. `consumed` < its records: the rest waits for the next turn, or the next window.

    `in_review`: the import was stopped for somebody to judge (R16, and the guard against accidents). `is_due`: ledger
    rows come before the next page.
    """

    consumed: int = 0
    cost: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    protected: int = 0
    silenced: Effects = field(default_factory=Effects)
    new_ids: list[str] = field(default_factory=list)
    run: RunChanged | None = None
    cancelled: bool = False
    in_review: bool = False
    is_due: bool = False
    cap_left: int = 0

    @classmethod
    def of(cls, plan: Plan, known: Known) -> Self:
        """What a plan comes to, once it is written."""
        outcomes = [decision.outcome for decision in plan.decisions]
        noted = [decision.change.notes for decision in plan.decisions if decision.change.notes]
        return cls(
            consumed=len(plan.decisions),
            cost=plan.cost,
            counts=Counter({outcome: number for outcome in Outcome if (number := outcomes.count(outcome))}),
            protected=sum(OutcomeNote.PROTECTED in notes for notes in noted),
            new_ids=[d.item.external_id for d in plan.decisions if d.item.external_id not in known.entries],
        )

    def __iadd__(self, other: Self) -> Self:
        self.consumed += other.consumed
        self.cost += other.cost
        self.counts += other.counts
        self.protected += other.protected
        self.silenced += other.silenced
        self.new_ids += other.new_ids
        return self


class AccountNotLocked(Exception):
    """The page changes the number of ACTIVE contacts after all: lock the account's row first, and decide again."""


@dataclass(slots=True, kw_only=True)
class Storing:
    """One transaction that stores for a turn; `run_id` is known as soon as something needs it.

    `run_is_given`: it was not opened for this page. `draining`: the records are those at the head of the waiting
    room, for whom the room is. `meanwhile` is called when PostgreSQL gets busy for long.
    """

    connection: Connection
    turn: Turn
    rules: Rules
    fields: Mapping[str, KnownField]
    lock_account: bool
    guard: Guard | None = None
    run_id: UUID | None = None
    run_is_given: bool = False
    draining: bool = False
    meanwhile: Callable[[], None] | None = None


async def in_transaction(
    turn: Turn,
    known_fields: Mapping[str, KnownField],
    work: Callable[[Storing], Awaitable[Stored]],
    *,
    lock_account: bool = False,
) -> Stored:
    """Do `work` in one transaction that holds the turn; again where it met a change of somebody else's."""
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


def allowance_of(rules: Rules, of_turn: int | None) -> int:
    """How many records may cost something: what is left of the cap, and of the turn's share."""
    left = left_of_cap(rules.window_used)
    return left if of_turn is None else min(left, of_turn)


async def store(storing: Storing, items: Sequence[Item], allowance: int) -> Stored:
    """Store as many of `items` as `allowance` reaches. What the database refuses is isolated by halving (R15)."""
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
    entries, siblings = await load_entries(connection, turn, [item.external_id for item in items])
    changed = [item for item in items if not is_repeated(item, entries.get(item.external_id))]
    # Only a new record is likely to change the number of ACTIVE contacts; where another does, we come back.
    lock_account = storing.lock_account or any(item.external_id not in entries for item in changed)

    async def decide() -> tuple[Plan, Known]:
        known = await load(
            connection, turn, storing.rules, changed, entries=dict(entries), siblings=siblings, fields=storing.fields,
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
    stored = Stored.of(decided, known)
    stored.silenced = await _write(storing, decided, known)
    return stored


async def _store_rejected(storing: Storing, item: Item) -> Stored:
    entries, siblings = await load_entries(storing.connection, storing.turn, [item.external_id])
    known = Known(rules=storing.rules, entries=entries, siblings=siblings)
    decided = plan_rejected(item, known)
    stored = Stored.of(decided, known)
    stored.silenced = await _write(storing, decided, known)
    return stored


async def _write(storing: Storing, decided: Plan, known: Known) -> Effects:
    if all(decision.repeated for decision in decided.decisions):
        return Effects()
    storing.run_id = storing.run_id or await import_runs.open_for_news(
        storing.connection, storing.turn.account_id, storing.turn.automatic_import_id
    )
    if storing.meanwhile is not None:
        storing.meanwhile()
    return announce(
        Origin.AUTOMATIC_IMPORT, await write(storing.connection, storing.turn, storing.run_id, decided, known)
    )


async def count(storing: Storing, stored: Stored) -> Stored:
    """Add to the run's counts and to the window, and show a sign of life."""
    connection, turn = storing.connection, storing.turn
    await connection.execute(
        "UPDATE external_account SET window_used = $3,"
        " lease_expires_at = CASE WHEN lease_token = $5 THEN now() + $4 ELSE lease_expires_at END"
        " WHERE account_id = $1 AND id = $2",
        turn.account_id, turn.external_account_id, storing.rules.window_used + stored.cost,
        timedelta(seconds=settings().lease_seconds), turn.lease_token,
    )  # fmt: skip
    if stored.consumed:
        stored.run, stored.cancelled = await import_runs.count(
            connection,
            account_id=turn.account_id,
            automatic_import_id=turn.automatic_import_id,
            run_id=storing.run_id,
            counts=stored.counts,
            protected=stored.protected,
            silenced=stored.silenced,
        )
    stored.cap_left = left_of_cap(storing.rules.window_used + stored.cost)
    return stored
