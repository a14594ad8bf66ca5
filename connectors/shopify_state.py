"""How far a shop's customers have been read: the checkpoint.

A cursor is kept only while a listing is under way. Between listings there are times and ids, which never expire.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from connectors.base import Checkpoint, CheckpointExpiredError
from connectors.shopify_customers import Customer, Definition

OVERLAP = timedelta(minutes=15)
"""The search index is minutes behind, and not in order."""
SWEEP_EVERY = timedelta(days=1)
MOST_REMEMBERED = 500
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Sweep(BaseModel):
    """A reading of everything that is under way: of `total` customers `done` are read.

    `began`: the last change before the first such reading, which brings all up to then by itself; else long ago.
    `operation`: the bulk operation that was started. `offset`: the byte of its file up to which it is stored.
    """

    model_config = ConfigDict(frozen=True)

    by_bulk: bool
    total: int
    done: int = 0
    began: AwareDatetime = LONG_AGO
    cursor: str | None = None
    operation: str | None = None
    offset: int = 0

    def having(self, **changed: Any) -> Self:
        """The sweep with some of it changed."""
        return self.model_copy(update=changed)


class State(BaseModel):
    """The checkpoint.

    `since`: every change up to this time has been read. `bound`, `cursor`, `newest`, `passed`: the listing of changes
    that is under way, what it began from, how far it is, the last change seen, and how many. `seen`: whom the overlap
    would bring again, with their time of change. `floor`: so many changed up to then that they cannot be remembered,
    so they are not asked for again. `per_page`: for how many customers a question may ask.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    since: AwareDatetime
    bound: AwareDatetime | None = None
    cursor: str | None = None
    newest: AwareDatetime | None = None
    passed: int = 0
    floor: AwareDatetime = LONG_AGO
    seen: dict[str, AwareDatetime] = {}
    definitions: tuple[Definition, ...]
    per_page: int
    sweep: Sweep | None = None
    swept_at: AwareDatetime = LONG_AGO

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Read a checkpoint; what another version of this connector left has expired."""
        try:
            return cls.model_validate(checkpoint)
        except ValidationError:
            raise CheckpointExpiredError("the checkpoint is from another version") from None

    def having(self, **changed: Any) -> Self:
        """The state with some of it changed."""
        return self.model_copy(update=changed)

    def asks_from(self) -> datetime:
        """From when on the next listing of changes asks."""
        began = self.sweep.began if self.sweep else LONG_AGO
        # Shopify makes no difference between > and >=, and counts in seconds.
        return max(self.since - OVERLAP, max(self.floor, began) + timedelta(seconds=1))

    def is_news(self, customer: Customer) -> bool:
        """Whether a listing of changes brings somebody who was not told, or is changed since."""
        began = self.sweep.began if self.sweep else LONG_AGO
        told = self.seen.get(customer.number) == customer.updated_at
        return not told and self._may_come_again(customer.updated_at) and customer.updated_at > began

    def remembering(self, told: Iterable[Customer], *, read_up_to: datetime) -> Self:
        """The state once these are told, whom the next listing's overlap may bring again."""
        times = {**self.seen, **{each.number: each.updated_at for each in told}}
        seen = {number: time for number, time in times.items() if self._may_come_again(time)}
        if len(seen) <= MOST_REMEMBERED:
            return self.having(seen=seen)
        floor = max(self.floor, read_up_to)
        later = sorted((time, number) for number, time in seen.items() if time > floor)
        return self.having(floor=floor, seen={number: time for time, number in later[-MOST_REMEMBERED:]})

    def passed_through(self, newest: datetime) -> Self:
        """The state when a listing of changes is at its end."""
        ended = self.having(since=max(self.since, newest), bound=None, cursor=None, newest=None, passed=0)
        return ended.having(seen={number: time for number, time in self.seen.items() if ended._may_come_again(time)})

    def is_sweep_due(self, now: datetime) -> bool:
        """Whether everything has to be read again: nothing else tells who was deleted, or what a listing missed."""
        return self.sweep is None and now - self.swept_at >= SWEEP_EVERY

    def _may_come_again(self, time: datetime) -> bool:
        return time >= self.since - OVERLAP and time > self.floor
