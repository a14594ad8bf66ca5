"""How far a shop's customers have been read: the checkpoint.

A cursor is kept only while a listing is under way. Between listings there are times and ids, which never expire.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from connectors.shopify.customers import Customer, Definition

OVERLAP = timedelta(minutes=15)
"""The search index is minutes behind, and not in order."""
INDEX_TAKES = 2 * OVERLAP
"""At the most, by our clock: what changes is found by then."""
SWEEP_EVERY = timedelta(days=1)
MOST_REMEMBERED = 500
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Sweep(BaseModel):
    """A reading of everything that is under way: of `total` customers `done` are read.

    `began_at`: when, by our clock. `covers`: the last change before a first reading, which brings all up to then by
    itself; what the index learned of them late is listed once it is complete. `last`: up to which id it is read.
    `operation`: the bulk operation that was started. `offset`: the byte of its file up to which it is stored.
    """

    model_config = ConfigDict(frozen=True)

    by_bulk: bool
    total: int
    began_at: AwareDatetime
    covers: AwareDatetime = LONG_AGO
    done: int = 0
    last: int = 0
    operation: str | None = None
    offset: int = 0

    def having(self, **changed: Any) -> Self:
        """The sweep with some of it changed."""
        return self.model_copy(update=changed)


class Told(BaseModel):
    """Of a customer who was told: when they changed, and the digest of what was told."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    digest: str


class State(BaseModel):
    """The checkpoint.

    `since`: every change up to this time has been read. `heard_at`: when, by our clock, that was found. `floor`: the
    index has had its time to learn of what changed up to then, which is not asked for again. `bound`, `cursor`,
    `newest`, `passed`: the listing of changes that is under way, what it began from, how far it is, the last change
    seen, and how many. `seen`: whom the overlap would bring again, by id; whoever else it brings is UNCHANGED.
    `per_page`: for how many customers a question may ask.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    since: AwareDatetime
    heard_at: AwareDatetime
    floor: AwareDatetime = LONG_AGO
    bound: AwareDatetime | None = None
    cursor: str | None = None
    newest: AwareDatetime | None = None
    passed: int = 0
    seen: dict[str, Told] = {}
    definitions: tuple[Definition, ...]
    per_page: int
    sweep: Sweep | None = None
    swept_at: AwareDatetime = LONG_AGO

    def having(self, **changed: Any) -> Self:
        """The state with some of it changed."""
        return self.model_copy(update=changed)

    def asks_from(self) -> datetime:
        """From when on the next listing of changes asks."""
        told_up_to = max(self.floor, self.sweep.covers if self.sweep else LONG_AGO)
        # Shopify makes no difference between > and >=, and counts in seconds.
        return max(self.since - OVERLAP, told_up_to + timedelta(seconds=1))

    def is_news(self, customer: Customer) -> bool:
        """Whether a listing of changes brings somebody who was not told, or is changed since."""
        told = self.seen.get(customer.number)
        # The filter may bring whole days.
        is_asked_for = customer.updated_at >= self.asks_from()
        return is_asked_for and (told is None or told.digest != customer.digest)

    def remembering(self, told: Iterable[Customer]) -> Self:
        """The state once these are told, whom the next listing's overlap may bring again."""
        known = {**self.seen, **{each.number: Told(at=each.updated_at, digest=each.digest) for each in told}}
        again = [each for each in known.items() if each[1].at > self.floor and each[1].at >= self.since - OVERLAP]
        return self.having(seen=dict(sorted(again, key=lambda each: each[1].at)[-MOST_REMEMBERED:]))

    def passed_through(self, newest: datetime, *, now: datetime) -> Self:
        """The state when a listing of changes is at its end."""
        ended = self.having(bound=None, cursor=None, newest=None, passed=0)
        if newest > self.since:
            ended = ended.having(since=newest, heard_at=now)
        elif now - self.heard_at >= INDEX_TAKES:
            ended = ended.having(floor=self.since)
        return ended.remembering(())

    def swept(self, *, now: datetime) -> Self:
        """The state when everybody has been read."""
        ended = self.having(sweep=None, swept_at=now)
        if self.sweep is None or self.sweep.covers == LONG_AGO:
            return ended
        return ended.having(since=self.sweep.covers, bound=None, cursor=None, newest=None, passed=0)

    def is_sweep_due(self, now: datetime) -> bool:
        """Whether everything has to be read again: nothing else tells who was deleted, or what a listing missed."""
        return self.sweep is None and now - self.swept_at >= SWEEP_EVERY
