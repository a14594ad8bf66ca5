"""One cycle of one external account: its imports, page by page, in turns."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import structlog

from connectors.base import Service
from domain import cycle, database, ingest, turns
from domain.cap import fair_share
from domain.credentials import unseal_json
from domain.cycle import Claim, CycleWork, DueImport
from domain.enums import RunStop
from domain.errors import LeaseLost, Misconfigured, TurnSuperseded
from domain.import_runs import RunError
from domain.ingest import Stored
from domain.logs import trace
from domain.turns import Turn
from jobs import pages
from jobs.access import Access, open_connector
from jobs.draining import drain
from jobs.pages import ReadingFailed
from jobs.reactions import Context, Reading, Turned, bounded, publish, react

log = structlog.get_logger()

BUDGET = timedelta(seconds=12)
"""After this long a cycle hands over to the next job: a killed worker's job restarts only after the longest timeout."""
AFTER_A_BUG = timedelta(minutes=5)


async def sync_external_account(ctx: Context, account_id: str, external_account_id: str, lease_token: str) -> None:
    """Bring one external account's imports up to date, as far as cap, service and time allow."""
    claim = Claim(
        account_id=UUID(account_id), external_account_id=UUID(external_account_id), lease_token=UUID(lease_token)
    )
    with structlog.contextvars.bound_contextvars(account=account_id, external_account=external_account_id):
        try:
            again_at = await _cycle(ctx, claim)
            await cycle.release(claim, again_at=again_at)
        except LeaseLost:
            # Whoever took over reads on from the last checkpoint.
            log.info("cycle.lease_lost")
            return
        except database.UNAVAILABLE as error:
            # The lease runs out by itself, and whoever claims it then carries on.
            log.warning("cycle.database_unavailable", error=type(error).__name__)
            return
        except Misconfigured as error:
            # The operator's to mend; no import is to blame. The message holds no secret.
            log.error("cycle.misconfigured", error=str(error))
            await cycle.release(claim, again_at=datetime.now(UTC) + AFTER_A_BUG)
            return
        except asyncio.CancelledError:
            await asyncio.shield(cycle.release(claim, again_at=cycle.AT_ONCE))
            raise
        except Exception as error:  # noqa: BLE001  a lease that nobody gives back would repeat this every 45 s
            log.error("cycle.failed", **trace(error))
            await cycle.release(claim, again_at=datetime.now(UTC) + AFTER_A_BUG)
            return
    if again_at == cycle.AT_ONCE:
        await ctx["queue"].wake()


async def _cycle(ctx: Context, claim: Claim) -> datetime | None:
    """Serve the imports that are due. Returns when to come back, where that is not the next window."""
    work = await cycle.work_of(claim)
    if work is None:
        return None
    deadline = time.monotonic() + BUDGET.total_seconds()
    if work.has_waiting:
        if not await drain(ctx, claim, deadline=deadline):
            return cycle.AT_ONCE
        # Who was let in took a part of the cap.
        work = await cycle.work_of(claim)
    if work is None or not work.imports:
        return None
    credentials = unseal_json(work.credentials, row=claim.external_account_id)
    service = ctx["services"].get(work.service)
    async with ctx["open_client"]() as client, AsyncExitStack() as closing:
        access = _access(claim, service, client, credentials) if service is not None else None
        readings: deque[Reading] = deque()
        for due in work.imports:
            reading = await _open(ctx, claim, work, due, access)
            if reading is not None:
                closing.push_async_callback(pages.close, reading)
                readings.append(reading)
        return await _take_turns(ctx, claim, work, readings, deadline=deadline)


def _access(claim: Claim, service: Service, client: httpx.AsyncClient, credentials: Mapping[str, Any]) -> Access:
    return Access(
        service=service,
        client=client,
        account_id=claim.account_id,
        external_account_id=claim.external_account_id,
        credentials=credentials,
    )


async def _open(ctx: Context, claim: Claim, work: CycleWork, due: DueImport, access: Access | None) -> Reading | None:
    """The import, ready to be read; None where it cannot start, which its run then says."""
    turn = Turn(
        account_id=claim.account_id,
        external_account_id=claim.external_account_id,
        lease_token=claim.lease_token,
        automatic_import_id=due.id,
        revision=due.revision,
        service=work.service,
        unstable_ids=access.service.unstable_ids if access else False,
    )
    try:
        if access is None:
            message = f"This version of Sluice has no connector for {work.service}."
            await publish(ctx, await turns.fail(turn, RunError(code="CANNOT_START", message=message)))
            return None
        try:
            connector = open_connector(access, due.criteria)
        except ValueError:
            # Not its text: that can quote the credentials.
            message = "The stored credentials or criteria do not fit this version of Sluice. Reconnect, or edit them."
            await publish(ctx, await turns.fail(turn, RunError(code="CANNOT_START", message=message)))
            return None
        if due.has_run:
            await publish(ctx, await turns.begin(turn))
    except TurnSuperseded:
        # What the edit asks for is done by the next cycle, which it asked for.
        return None
    return Reading(
        turn=turn,
        connector=connector,
        pages=connector.pages(due.checkpoint),
        checkpoint=due.checkpoint,
        is_backfill=due.checkpoint is None,
        settled=due.is_settled,
    )


async def _take_turns(
    ctx: Context, claim: Claim, work: CycleWork, readings: deque[Reading], *, deadline: float
) -> datetime | None:
    """Rounds in which each import has one turn; what is left of the cap at a round's start is shared evenly (R4)."""
    cap_left, share, turns_left = work.cap_left, 0, 0
    again_at: list[datetime] = []
    while readings:
        if time.monotonic() > deadline:
            return cycle.AT_ONCE
        if turns_left == 0:
            turns_left = len(readings)
            share = fair_share(cap_left, turns_left)
        turns_left -= 1
        reading = readings.popleft()
        turned = await _turn_or_react(ctx, claim, work, reading, readings, share=share)
        if turned.cap_left is not None and turned.cap_left != cap_left:
            cap_left = turned.cap_left
            # A contact that one import made may be whom another one's ledger row waits for.
            for other in readings:
                other.settled = False
        if turned.again_at is not None:
            again_at.append(turned.again_at)
        if turned.ends_cycle:
            break
        if turned.goes_on:
            readings.append(reading)
    return min(again_at, default=None)


async def _turn_or_react(
    ctx: Context, claim: Claim, work: CycleWork, reading: Reading, others: Iterable[Reading], *, share: int
) -> Turned:
    try:
        try:
            return await _turn(ctx, claim, reading, share=share)
        except (LeaseLost, Misconfigured, *database.UNAVAILABLE):
            raise
        except ReadingFailed as failed:
            return await react(ctx, claim, work, reading, others, failed.error)
        except Exception as error:  # noqa: BLE001  every failure has its reaction; none may stop the other imports
            return await react(ctx, claim, work, reading, others, error)
    except TurnSuperseded:
        return Turned(again_at=cycle.AT_ONCE)


async def _turn(ctx: Context, claim: Claim, reading: Reading, *, share: int) -> Turned:
    """Store what is due from the ledger, else a page, or as much of it as this turn's share of the cap allows."""
    # Nothing new is read before the last deletion is acted on, and the last due row is stored.
    if not reading.settled:
        stored = await ingest.store_deletions(reading.turn)
        if stored is not None:
            await publish(ctx, stored.run)
            return Turned(goes_on=True)
        stored = await ingest.store_due(reading.turn, allowance=share)
        if stored is not None:
            return await _after(ctx, reading, stored, is_whole=stored.consumed > 0)
        reading.settled = True
    if reading.page is None:
        reading.page, reading.start = await pages.take(claim, reading), 0
    if reading.page is None:
        reading.settled = await _end(ctx, reading, stopped_by=None)
        return Turned(goes_on=not reading.settled)
    page, incoming = reading.page
    if pages.is_known(page, reading.checkpoint):
        reading.page = None
        return Turned(goes_on=True)
    read_ahead = pages.reading_ahead(reading, page) if len(page.records) <= share else None
    if read_ahead is not None and not reading.is_backfill:
        read_ahead()
    stored = await ingest.store_page(reading.turn, incoming, start=reading.start, allowance=share, meanwhile=read_ahead)
    reading.start += stored.consumed
    is_whole = reading.start == len(page.records)
    reading.settled = not (stored.is_due or (is_whole and (page.deleted_ids or page.complete)))
    if is_whole:
        reading.page, reading.checkpoint = None, page.checkpoint
        if page.wait is not None and not stored.in_review:
            return await _wait_for_page(ctx, reading, stored, page.wait)
    return await _after(ctx, reading, stored, is_whole=is_whole)


async def _after(ctx: Context, reading: Reading, stored: Stored, *, is_whole: bool) -> Turned:
    """Tell the watchers, and see whether a user or the cap ends the import's turns in this window."""
    if stored.in_review:
        # Also where a user asked to cancel: judging ends it.
        await publish(ctx, stored.run)
        return Turned()
    if stored.cancelled:
        await publish(ctx, await turns.cancel(reading.turn))
        return Turned(cap_left=stored.cap_left)
    await publish(ctx, stored.run)
    if not is_whole and stored.cap_left == 0:
        await _end(ctx, reading, stopped_by=RunStop.CAP)
        return Turned(cap_left=0)
    return Turned(goes_on=True, cap_left=stored.cap_left)


async def _end(ctx: Context, reading: Reading, *, stopped_by: RunStop | None) -> bool:
    """Whether it was the end: something may be due from the ledger by now."""
    changed = await turns.complete(reading.turn, stopped_by=stopped_by)
    await publish(ctx, changed)
    return changed is not None


async def _wait_for_page(ctx: Context, reading: Reading, stored: Stored, wait: timedelta) -> Turned:
    until = await database.now() + bounded(wait)
    await publish(ctx, await turns.wait(reading.turn, until=until, reason=None))
    return Turned(again_at=until, cap_left=stored.cap_left)
