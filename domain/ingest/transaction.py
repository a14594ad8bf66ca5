"""One transaction that stores for a turn: its locks, what it comes to, its counts; begun again where need be."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self
from uuid import UUID

import asyncpg

from domain import database, import_runs
from domain.cap import left_of_cap
from domain.database import Connection
from domain.effects import Effects
from domain.enums import Outcome, OutcomeNote
from domain.events import RunChanged
from domain.fields import KnownField
from domain.ingest.decisions import Plan
from domain.ingest.guard import Guard
from domain.ingest.rows import ContactAppeared
from domain.ingest.rules import Rules, load_rules
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
    def of(cls, plan: Plan) -> Self:
        """What a plan comes to, once it is written."""
        outcomes = [decision.outcome for decision in plan.decisions]
        noted = [decision.change.notes for decision in plan.decisions if decision.change.notes]
        return cls(
            consumed=len(plan.decisions),
            cost=plan.cost,
            counts=Counter({outcome: number for outcome in Outcome if (number := outcomes.count(outcome))}),
            protected=sum(OutcomeNote.PROTECTED in notes for notes in noted),
            new_ids=plan.new_ids,
        )

    def __iadd__(self, other: Self) -> Self:
        self.consumed += other.consumed
        self.cost += other.cost
        self.counts += other.counts
        self.protected += other.protected
        self.silenced += other.silenced
        self.new_ids += other.new_ids
        return self


class RecordRefused(Exception):
    """The database refused one of the records: store them again, and find out which."""


class AccountNotLocked(Exception):
    """The page changes the number of ACTIVE contacts after all: lock the account's row first, and decide again."""


@dataclass(slots=True, kw_only=True)
class Storing:
    """One transaction that stores for a turn; `run_id` is known as soon as something needs it.

    `carefully`: the database refused one of the records in the attempt before. `fields` are the service's, once read.
    `run_is_given`: it was not opened for this page. `draining`: the records are those at the head of the waiting
    room, for whom the room is. `meanwhile` is called when PostgreSQL gets busy for long.
    """

    connection: Connection
    turn: Turn
    rules: Rules
    lock_account: bool
    carefully: bool
    guard: Guard | None = None
    fields: Mapping[str, KnownField] | None = None
    run_id: UUID | None = None
    run_is_given: bool = False
    draining: bool = False
    meanwhile: Callable[[], None] | None = None


async def in_transaction(
    turn: Turn, work: Callable[[Storing], Awaitable[Stored]], *, lock_account: bool = False
) -> Stored:
    """Do `work` in one transaction that holds the turn; again where it met a change of somebody else's."""
    carefully = False
    for _ in range(ATTEMPTS):
        try:
            async with database.transaction() as connection:
                rules = await load_rules(connection, turn)
                return await work(
                    Storing(
                        connection=connection, turn=turn, rules=rules, lock_account=lock_account, carefully=carefully
                    )
                )
        except AccountNotLocked:
            lock_account = True
        except RecordRefused:
            carefully = True
        except (ContactAppeared, asyncpg.DeadlockDetectedError):
            continue
    message = f"could not store a page in {ATTEMPTS} attempts: too many concurrent changes of the same contacts"
    raise asyncpg.DeadlockDetectedError(message)


def allowance_of(rules: Rules, of_turn: int | None) -> int:
    """How many records may cost something: what is left of the cap, and of the turn's share."""
    left = left_of_cap(rules.window_used)
    return left if of_turn is None else min(left, of_turn)


USE_CAP = """
UPDATE external_account SET window_used = $3,
    lease_expires_at = CASE WHEN lease_token = $5 THEN now() + $4 ELSE lease_expires_at END
WHERE account_id = $1 AND id = $2
"""


def use_of_cap(storing: Storing, stored: Stored) -> tuple[object, ...]:
    """What `USE_CAP` asks for."""
    turn = storing.turn
    return (
        turn.account_id, turn.external_account_id, storing.rules.window_used + stored.cost,
        timedelta(seconds=settings().lease_seconds), turn.lease_token,
    )  # fmt: skip


async def count(storing: Storing, stored: Stored) -> Stored:
    """Add to the run's counts and to the window, and show a sign of life."""
    await storing.connection.execute(USE_CAP, *use_of_cap(storing, stored))
    return await count_in_run(storing, stored)


async def count_in_run(storing: Storing, stored: Stored) -> Stored:
    """Add to the run's counts."""
    connection, turn = storing.connection, storing.turn
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
