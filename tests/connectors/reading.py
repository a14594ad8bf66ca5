"""Simulated services, read as the engine reads them: page by page, each stored with its checkpoint."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from connectors.base import Checkpoint, CheckpointExpiredError, Connector, Page, Service, TransientError
from connectors.registry import SERVICES
from domain.records import Record
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.kit import Simulator, open_simulated

MOST_PAGES = 2000
MOST_WAITS = 50
PATIENCE = timedelta(seconds=1)
"""A simulator that is read as fast as here may ask for a moment's rest."""

each_service = pytest.mark.parametrize("key", SERVICES)


def simulated(key: str, people: int, *, page_size: int | None = None) -> Simulator:
    """The simulator of a service, with so many people."""
    simulator = SIMULATORS[key](people)
    if page_size is not None:
        simulator.page_size = page_size
    return simulator


def service_of(simulator: Simulator) -> Service:
    return SERVICES[simulator.service]


def credentials_of(simulator: Simulator) -> BaseModel:
    return service_of(simulator).credentials.model_validate(simulator.credentials)


def sent_secrets(simulator: Simulator) -> list[str]:
    """The secrets that are sent; others come from the service."""
    return [value for value in simulator.credentials.values() if value in simulator.secrets]


def connect(simulator: Simulator, client: httpx.AsyncClient | None = None) -> Connector:
    """The connector for the simulator's credentials and criteria; `client` leads to it by default."""
    service = service_of(simulator)
    criteria = service.criteria.model_validate(simulator.criteria)
    return service.connect(client or open_simulated(simulator), credentials_of(simulator), criteria)


def through_json(checkpoint: Checkpoint) -> dict[str, Any]:
    restored: dict[str, Any] = json.loads(json.dumps(checkpoint))
    return restored


def ids(pages: list[Page]) -> list[str]:
    """The external ids of all records, in order."""
    return [record.external_id for page in pages for record in page.records]


async def read(simulator: Simulator, checkpoint: Checkpoint | None = None) -> list[Page]:
    """All pages from a checkpoint on, those after a wait included, which later cycles read."""
    pages: list[Page] = []
    await read_into(pages, simulator, checkpoint)
    return pages


async def read_into(
    pages: list[Page], simulator: Simulator, checkpoint: Checkpoint | None, *, limit: int = MOST_PAGES + 1
) -> None:
    """As `read`, `limit` pages that bring something at the most; what was read before an error stays in `pages`."""
    for _ in range(MOST_WAITS):
        try:
            async with aclosing(connect(simulator).pages(checkpoint)) as reading:
                waits = False
                async for page in reading:
                    pages.append(page)
                    assert len(pages) <= MOST_PAGES, "the connector reads in circles"
                    checkpoint = through_json(page.checkpoint)
                    limit -= bool(page.records or page.deleted_ids)
                    if limit == 0:
                        return
                    if waits := page.wait is not None:
                        break
        except TransientError as busy:
            if busy.retry_after is None or busy.retry_after > PATIENCE:
                raise
            await asyncio.sleep(busy.retry_after.total_seconds())
            waits = True
        if not waits:
            return
    pytest.fail("the connector waits for ever")


@dataclass(slots=True)
class Stored:
    """What the engine has of an import: records by id, a checkpoint, and who was missed by the sweeps."""

    records: dict[str, Record] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    swept: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)

    async def cycle(self, simulator: Simulator, *, limit: int = MOST_PAGES + 1) -> list[Page]:
        """Read what there is since the checkpoint; from the beginning, once, where that has expired.

        No more than `limit` pages that bring something: the worker was killed, or the cap was reached.
        """
        try:
            return await self._read_on(simulator, limit)
        except CheckpointExpiredError:
            if self.checkpoint is None:
                raise
            self.checkpoint, self.swept = None, set()
            return await self._read_on(simulator, limit)

    async def _read_on(self, simulator: Simulator, limit: int) -> list[Page]:
        pages: list[Page] = []
        try:
            await read_into(pages, simulator, self.checkpoint, limit=limit)
        finally:
            for page in pages:
                self.store(page)
        return pages

    def store(self, page: Page) -> None:
        self.checkpoint = through_json(page.checkpoint)
        for record in page.records:
            self.records[record.external_id] = record
        for gone in page.deleted_ids:
            self.records.pop(gone, None)
        if page.sweep:
            self.swept |= {record.external_id for record in page.records}
        if page.complete:
            missed = self.records.keys() - self.swept
            for gone in missed & self.missed:
                del self.records[gone]
            self.missed, self.swept = missed, set()
