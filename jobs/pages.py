"""The pages of one import under way: read from its service, and got ready to be stored."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta

from connectors.base import Checkpoint, Page, TransientError
from domain import cycle
from domain.cycle import Claim
from domain.ingest import Incoming
from jobs.reactions import Read, Reading, Unread

READ_TIMEOUT = timedelta(seconds=30)
"""For one page. With a cycle's budget it stays below arq's timeout, which would say nothing of the reason."""
WORTH_READING_AHEAD = 100
"""Records: behind a page as large as that the next ones are read while it is stored."""
READ_AHEAD = 2
"""Pages, so that there is something to do whenever PostgreSQL is waited for."""


class ReadingFailed(Exception):
    """The connector raised `error`: whatever it is, it is not our database's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def take(claim: Claim, reading: Reading) -> Read:
    """The next page; None where there is no more. Raises ReadingFailed."""
    # What was stored meanwhile was the sign of life.
    while reading.ahead:
        ahead = await reading.ahead.popleft()
        if not isinstance(ahead, Unread):
            return ahead
    if not claim.is_fresh:
        await cycle.renew(claim)
    return await _read(reading)


def reading_ahead(reading: Reading, page: Page) -> Callable[[], None]:
    """What reads the pages behind `page`, to be called while that one is stored."""
    # Not in the context of that moment, which may be within a transaction: a connector stores the tokens it renews.
    context = copy_context()
    # To get news ready takes about as long as to store them: what is further ahead would only be in the way.
    most = 1 if reading.is_backfill else READ_AHEAD

    def read() -> None:
        while _is_worth_reading_on(page) and len(reading.ahead) < most:
            before = reading.ahead[-1] if reading.ahead else None
            reading.ahead.append(asyncio.create_task(_read_after(reading, before), context=context))

    return read


def _is_worth_reading_on(page: Page) -> bool:
    return page.wait is None and len(page.records) >= WORTH_READING_AHEAD


async def _read_after(reading: Reading, before: asyncio.Task[Read | Unread] | None) -> Read | Unread:
    if before is not None:
        await asyncio.wait([before])
        read = None if before.cancelled() or before.exception() else before.result()
        if read is None or isinstance(read, Unread) or not _is_worth_reading_on(read[0]):
            return Unread()
    return await _read(reading)


async def _read(reading: Reading) -> Read:
    try:
        async with asyncio.timeout(READ_TIMEOUT.total_seconds()):
            page = await anext(reading.pages, None)
    except TimeoutError:
        message = f"The service took longer than {READ_TIMEOUT.total_seconds():.0f} seconds for a page."
        raise ReadingFailed(TransientError(message)) from None
    except Exception as error:
        raise ReadingFailed(error) from error
    if page is None:
        return None
    incoming = Incoming(
        records=page.records,
        fields=page.fields,
        deleted_ids=page.deleted_ids,
        checkpoint=page.checkpoint,
        sweep=page.sweep,
        complete=page.complete,
        remaining=page.remaining,
    )
    await incoming.prepare(as_news=reading.is_backfill)
    return page, incoming


def is_known(page: Page, checkpoint: Checkpoint | None) -> bool:
    """Whether there is nothing to store: all that the page says is where the import stands already."""
    if page.records or page.deleted_ids or page.sweep or page.complete:
        return False
    return page.wait is None and page.remaining is None and page.checkpoint == checkpoint


async def close(reading: Reading) -> None:
    """Nothing more is read."""
    for ahead in reading.ahead:
        ahead.cancel()
    await asyncio.gather(*reading.ahead, return_exceptions=True)
    await reading.pages.aclose()
