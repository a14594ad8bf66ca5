"""What a cycle does when reading fails: four reactions, one per kind of failure (R15)."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from uuid import UUID

import httpx
import structlog

from connectors.base import (
    AccessRevokedError,
    CheckpointExpiredError,
    Connector,
    ConnectorError,
    Page,
    Service,
    TransientError,
)
from domain import cycle, external_accounts, import_runs
from domain.cycle import Claim, CycleWork
from domain.enums import RunStop
from domain.errors import TurnSuperseded
from domain.events import Events, RunChanged
from domain.import_runs import RunError
from domain.ingest import Turn
from domain.queue import Queue

log = structlog.get_logger()

SHORTEST_WAIT = timedelta(seconds=1)
"""Some services answer Retry-After: 0."""


class Context(TypedDict):
    """What the worker puts into arq's context."""

    services: Mapping[str, Service]
    open_client: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
    events: Events
    queue: Queue


@dataclass(slots=True, kw_only=True)
class Reading:
    """One import under way: its connector's pages, and the page that is not wholly stored yet."""

    turn: Turn
    connector: Connector
    pages: AsyncGenerator[Page, None]
    is_backfill: bool
    page: Page | None = None
    start: int = 0


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
    import_id = reading.turn.automatic_import_id
    match error:
        case TransientError():
            import_ids = [import_id, *(other.turn.automatic_import_id for other in others)]
            return Turned(ends_cycle=True, again_at=await _wait(ctx, claim, work, import_ids, error))
        case AccessRevokedError():
            await external_accounts.needs_reconnect(claim.account_id, claim.external_account_id, reason=str(error))
            for each in [import_id, *(other.turn.automatic_import_id for other in others)]:
                await _finish(ctx, claim, each, code="ACCESS_REVOKED", error=error)
            return Turned(ends_cycle=True)
        case CheckpointExpiredError() if not reading.is_backfill:
            await cycle.forget_checkpoint(claim, import_id)
            await reading.pages.aclose()
            reading.pages, reading.page, reading.is_backfill = reading.connector.pages(None), None, True
            return Turned(goes_on=True)
        case TurnSuperseded():
            # The edit wins. A run that is still open goes on under the import's new revision.
            return Turned(again_at=datetime.now(UTC))
        case ConnectorError():
            await fail(ctx, claim, import_id, code="UNEXPECTED_RESPONSE", error=error)
        case _:
            log.error("cycle.import_failed", automatic_import=str(import_id), exc_info=error)
            message = "Something went wrong on our side. It is tried again by itself; the server's log has the details."
            await fail(ctx, claim, import_id, code="INTERNAL", error=RuntimeError(message))
    return Turned()


async def _wait(ctx: Context, claim: Claim, work: CycleWork, import_ids: list[UUID], error: TransientError) -> datetime:
    """As long as the service asks, else backing off. Longer than the window: the runs end here."""
    asked = error.retry_after if error.retry_after is not None else await cycle.back_off(claim)
    until = datetime.now(UTC) + max(asked, SHORTEST_WAIT)
    for import_id in import_ids:
        if until < work.window_ends_at:
            changed = await import_runs.wait_for_service(claim.account_id, import_id, until=until, reason=str(error))
        else:
            await cycle.serve(claim, import_id, backlog=True)
            changed = await import_runs.finish(claim.account_id, import_id, stopped_by=RunStop.SERVICE)
        await publish(ctx, changed)
    return until


async def fail(ctx: Context, claim: Claim, import_id: UUID, *, code: str, error: Exception) -> None:
    """The run failed with a readable reason; the next cycles try again, farther apart each time."""
    await cycle.fail(claim, import_id, reason=str(error))
    await _finish(ctx, claim, import_id, code=code, error=error)


async def _finish(ctx: Context, claim: Claim, import_id: UUID, *, code: str, error: Exception) -> None:
    changed = await import_runs.finish(claim.account_id, import_id, error=RunError(code=code, message=str(error)))
    await publish(ctx, changed)


async def publish(ctx: Context, changed: RunChanged | None) -> None:
    """Tell the watchers that a run changed, if one did."""
    if changed is not None:
        await ctx["events"].publish(changed)
