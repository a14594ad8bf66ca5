"""What a cycle does when reading fails: four reactions, one per kind of failure (R15)."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict

import httpx
import structlog

from connectors.base import (
    AccessRevokedError,
    Checkpoint,
    CheckpointExpiredError,
    Connector,
    ConnectorError,
    Page,
    Service,
    TransientError,
)
from domain import cycle, database, sweeps, turns
from domain.cycle import Claim, CycleWork
from domain.errors import TurnSuperseded
from domain.events import Events, RunChanged
from domain.import_runs import RunError
from domain.ingest import Incoming
from domain.logs import trace
from domain.queue import Queue
from domain.turns import Turn

log = structlog.get_logger()

SHORTEST_WAIT = timedelta(seconds=1)
"""Some services answer Retry-After: 0."""
LONGEST_WAIT = timedelta(days=1)
"""Some answer a moment where seconds are due: what asks for longer is looked at again after a day."""
RECONNECT = "Reconnect the external account."
OUR_FAULT = "Something went wrong on our side. It is tried again by itself; the server's log has the details."


class Context(TypedDict):
    """What the worker puts into arq's context."""

    services: Mapping[str, Service]
    open_client: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
    events: Events
    queue: Queue


Read = tuple[Page, Incoming] | None
"""A page as it was read, and as it is stored; None: there is no more."""


class Unread:
    """Nothing was read ahead: what came before was the last page, failed, or is one to wait behind."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """One import under way: its connector's pages, the checkpoint stored last, and the page not wholly stored yet,
    as it was read and as it is stored.

    `settled`: nothing that the ledger knows has to be dealt with before anything new is read. `ahead`: the pages after
    it, which are being read meanwhile.
    """

    turn: Turn
    connector: Connector
    pages: AsyncGenerator[Page, None]
    checkpoint: Checkpoint | None
    is_backfill: bool
    page: Read = None
    start: int = 0
    settled: bool = False
    ahead: deque[asyncio.Task[Read | Unread]] = field(default_factory=deque)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """How a turn ended; by default, that the import's turns in this window are over.

    `goes_on`: it has another in the next round. `again_at`: when to come back, if not in the next window.
    `cap_left`: None where the turn wrote nothing.
    """

    goes_on: bool = False
    again_at: datetime | None = None
    ends_cycle: bool = False
    cap_left: int | None = None


async def react(
    ctx: Context, claim: Claim, work: CycleWork, reading: Reading, others: Iterable[Reading], error: Exception
) -> Turned:
    """Deal with what `reading` ran into. Busy services and revoked access concern the `others` too."""
    match error:
        case TransientError():
            until = await _leave_alone(claim, error)
            for each in (reading, *others):
                await _wait(ctx, work, each.turn, until, str(error))
            return Turned(ends_cycle=True, again_at=until)
        case AccessRevokedError():
            reason = error.with_advice(RECONNECT)
            await cycle.needs_reconnect(claim, reason=reason)
            for each in (reading, *others):
                await _publish_unless_superseded(
                    ctx, turns.stop(each.turn, RunError(code="ACCESS_REVOKED", message=reason))
                )
            return Turned(ends_cycle=True)
        case CheckpointExpiredError() if not reading.is_backfill:
            await sweeps.start_over(reading.turn)
            await reading.pages.aclose()
            reading.pages, reading.page = reading.connector.pages(None), None
            reading.checkpoint, reading.is_backfill = None, True
            return Turned(goes_on=True)
        case TurnSuperseded():
            # The edit wins. A run that is still open goes on under the import's new revision.
            return Turned(again_at=cycle.AT_ONCE)
        case ConnectorError():
            await publish(ctx, await turns.fail(reading.turn, RunError(code="UNEXPECTED_RESPONSE", message=str(error))))
        case _:
            # Its type and place, not its text: that can quote values.
            log.error("cycle.import_failed", automatic_import=str(reading.turn.automatic_import_id), **trace(error))
            await publish(ctx, await turns.fail(reading.turn, RunError(code="INTERNAL", message=OUR_FAULT)))
    return Turned()


async def _leave_alone(claim: Claim, error: TransientError) -> datetime:
    """As long as the service asks, else backing off."""
    asked = error.retry_after if error.retry_after is not None else await cycle.back_off(claim)
    until = await database.now() + bounded(asked)
    await cycle.respect(claim, until=until)
    return until


def bounded(wait: timedelta) -> timedelta:
    """What a service asks to wait, as far as we do."""
    return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)


async def _wait(ctx: Context, work: CycleWork, turn: Turn, until: datetime, reason: str) -> None:
    """Longer than the window: the run ends here."""
    if until < work.window_ends_at:
        await _publish_unless_superseded(ctx, turns.wait(turn, until=until, reason=reason))
    else:
        await _publish_unless_superseded(ctx, turns.postpone(turn, reason=reason))


async def _publish_unless_superseded(ctx: Context, ending: Awaitable[RunChanged]) -> None:
    # An import that was edited meanwhile does not keep the others from hearing.
    with suppress(TurnSuperseded):
        await publish(ctx, await ending)


async def publish(ctx: Context, changed: RunChanged | None) -> None:
    """Tell the watchers that a run changed, if one did."""
    if changed is not None:
        await ctx["events"].publish(changed)
