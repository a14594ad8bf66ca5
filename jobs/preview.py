"""Read what an automatic import would read, for its preview: politely, without the lease, from the beginning (R21)."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from connectors.base import (
    AccessRevokedError,
    CheckpointExpiredError,
    Connector,
    ConnectorError,
    Page,
    Service,
    TransientError,
)
from domain import database, previews
from domain.background_tasks import Task
from domain.ingest import Incoming
from domain.previews import Forecast, Source
from jobs.access import Access, open_connector
from jobs.pages import ReadingFailed
from jobs.reactions import Context, bounded

READING = timedelta(seconds=8)
"""After this long no other page is begun: what was read is kept, and the next step goes on."""
READ_TIMEOUT = timedelta(seconds=25)
"""For all pages of a step, so that it stays below the timeout of steps."""
FIRST_RETRY = timedelta(seconds=15)
MAX_FAILURES = 5
"""So often in a row the service may be busy or unreachable."""
LONGEST_WAIT = timedelta(minutes=15)
"""Whoever waits for a preview does not wait longer than this."""


async def preview(ctx: Context, task: Task) -> bool | timedelta:
    """One step: some pages. Returns whether there are more, or after how long the service may be asked again."""
    source = await previews.open_source(task)
    if source is None:
        return False
    service = ctx["services"].get(source.service)
    if service is None:
        message = f"This version of Sluice has no connector for {source.service}."
        await previews.fail(task, "CANNOT_START", message)
        return False
    if source.credentials is None:
        message = "The external account is disconnected. Reconnect it, then ask for a new preview."
        await previews.fail(task, "NEEDS_RECONNECT", message)
        return False
    now = await database.now()
    if source.not_before is not None and source.not_before > now + LONGEST_WAIT:
        message = f"The service wants to be left alone until {source.not_before:%F %H:%M} UTC. Ask for a new one then."
        await previews.fail(task, "SERVICE_UNAVAILABLE", message)
        return False
    if source.not_before is not None and source.not_before > now:
        return await _wait(task, source.not_before - now, task.progress, {})
    return await _read(ctx, task, source, service)


async def _read(ctx: Context, task: Task, source: Source, service: Service) -> bool | timedelta:
    unstable = {key for key, each in ctx["services"].items() if each.unstable_ids}
    forecast = await previews.begin(source, unstable_services=unstable, progress=task.progress)
    before = forecast.tally.records
    async with ctx["open_client"]() as client:
        try:
            access = Access(
                service=service,
                client=client,
                account_id=task.account_id,
                external_account_id=source.external_account_id,
                credentials=source.credentials or {},
            )
            connector = open_connector(access, source.criteria)
        except ValueError:
            # Not its text: that can quote the credentials.
            message = "The stored credentials do not fit this version of Sluice. Reconnect, then ask for a new preview."
            await previews.fail(task, "CANNOT_START", message)
            return False
        try:
            goes_on = await _take_pages(task, connector, forecast)
        except ReadingFailed as failed:
            failures = 1 if forecast.tally.records > before else task.progress.get("failures", 0) + 1
            return await _react(task, forecast, failed.error, failures)
    if goes_on is False:
        await forecast.finish()
        await previews.complete(task, forecast.result())
        return False
    if isinstance(goes_on, timedelta):
        return await _wait(task, goes_on, _progress(task, forecast), forecast.result())
    await previews.keep(task, _progress(task, forecast), forecast.result())
    return True


async def _take_pages(task: Task, connector: Connector, forecast: Forecast) -> bool | timedelta:
    """Decide pages until there are no more, time is up (True), or the service wants to be asked again later."""
    begun = time.monotonic()
    # As if from the beginning, unless an earlier step came some way.
    async with aclosing(connector.pages(forecast.checkpoint)) as pages:
        while not forecast.is_over:
            passed = time.monotonic() - begun
            if passed > READING.total_seconds():
                return True
            page = await _next_page(pages, READ_TIMEOUT.total_seconds() - passed)
            if page is None:
                return False
            await forecast.take(
                Incoming(
                    records=page.records,
                    checkpoint=page.checkpoint,
                    fields=page.fields,
                    deleted_ids=page.deleted_ids,
                    sweep=page.sweep,
                    complete=page.complete,
                    remaining=page.remaining,
                )
            )
            await previews.tell(task, forecast.result())
            if page.wait is not None:
                return bounded(page.wait)
    return False


async def _next_page(pages: AsyncGenerator[Page, None], seconds: float) -> Page | None:
    try:
        async with asyncio.timeout(seconds):
            return await anext(pages, None)
    except TimeoutError:
        raise ReadingFailed(TransientError(f"The service took longer than {seconds:.0f} seconds for a page.")) from None
    except Exception as error:
        # Whatever it is, it is not our database's.
        raise ReadingFailed(error) from error


async def _react(task: Task, forecast: Forecast, error: Exception, failures: int) -> bool | timedelta:
    match error:
        case TransientError():
            asked = error.retry_after if error.retry_after is not None else FIRST_RETRY * 2 ** (failures - 1)
            if failures <= MAX_FAILURES and asked <= LONGEST_WAIT:
                progress = _progress(task, forecast) | {"failures": failures}
                return await _wait(task, bounded(asked), progress, forecast.result())
            await previews.fail(task, "SERVICE_UNAVAILABLE", error.with_advice("Ask for a new preview later."))
        case AccessRevokedError():
            message = error.with_advice("Reconnect the external account, then ask for a new preview.")
            await previews.fail(task, "ACCESS_REVOKED", message)
        case CheckpointExpiredError() if forecast.checkpoint is not None and "restarted" not in task.progress:
            await previews.keep(task, {"restarted": True}, {})
            return True
        case ConnectorError():
            await previews.fail(task, "UNEXPECTED_RESPONSE", error.with_advice("Ask for a new preview."))
        case _:
            raise ReadingFailed(error) from error
    return False


def _progress(task: Task, forecast: Forecast) -> dict[str, Any]:
    """What the next step goes on from; that the reading began again once is not forgotten."""
    return forecast.progress() | {key: value for key, value in task.progress.items() if key == "restarted"}


async def _wait(task: Task, wait: timedelta, progress: Mapping[str, Any], result: Mapping[str, Any]) -> timedelta:
    """The service wants to be left alone: what was found out so far stays, and says until when."""
    until = await database.now() + wait
    await previews.keep(task, progress, dict(result) | {"waiting_until": until})
    return wait
