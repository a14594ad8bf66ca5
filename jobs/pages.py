"""The pages of one import under way: read from its service, and got ready to be stored."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta

from connectors.base import Checkpoint, Page, TransientError
from domain import cycle
from domain.cycle import Claim
from domain.ingest import Incoming
from jobs.reactions import Reading

READ_TIMEOUT = timedelta(seconds=30)
"""For one page. With a cycle's budget it stays below arq's timeout, which would say nothing of the reason."""
WORTH_READING_AHEAD = 100
"""Records: behind a page as large as that the next one is read while it is stored."""


class ReadingFailed(Exception):
    """The connector raised `error`: whatever it is, it is not our database's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def take(claim: Claim, reading: Reading) -> tuple[Page, Incoming] | None:
    """The next page, as it was read and as it is stored; None where there is no more. Raises ReadingFailed."""
    if reading.ahead is None:
        if not claim.is_fresh:
            await cycle.renew(claim)
        return await _read(reading)
    # What was stored meanwhile was the sign of life.
    ahead, reading.ahead = reading.ahead, None
    return await ahead


def reading_ahead(reading: Reading, page: Page) -> Callable[[], None]:
    """What reads the page behind `page`, to be called while that one is stored."""
    # Not in the context of that moment, which may be within a transaction: a connector stores the tokens it renews.
    context = copy_context()

    def read() -> None:
        if reading.ahead is None and page.wait is None and len(page.records) >= WORTH_READING_AHEAD:
            reading.ahead = asyncio.create_task(_read(reading), context=context)

    return read


async def _read(reading: Reading) -> tuple[Page, Incoming] | None:
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
    if reading.ahead is not None:
        reading.ahead.cancel()
        await asyncio.gather(reading.ahead, return_exceptions=True)
    await reading.pages.aclose()
