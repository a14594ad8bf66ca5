"""A service whose connector does what a test wrote down, and cycles run as a worker would run them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from pydantic import BaseModel

from connectors.base import Checkpoint, Page, RemoteAccount, Service, ServiceCategory
from domain import background_tasks, cycle, database, import_runs
from domain.account import find_or_create_account
from domain.credentials import key_ring
from domain.enums import RunTrigger
from domain.events import ImportChanged, RunChanged
from domain.models import AutomaticImport, ExternalAccount, ImportRun
from domain.records import Record
from jobs.background_tasks import run_background_task
from jobs.reactions import Context
from jobs.sync_external_account import sync_external_account

Step = Page | Exception | Callable[[], Any]


def record(external_id: str, email: str | None = "", **values: Any) -> Record:
    """A record; its address is made from its id unless given."""
    return Record(external_id=external_id, email=f"{external_id}@example.com" if email == "" else email, **values)


def page(*names: str, at: int | None = None, **extra: Any) -> Page:
    """A page of one record a name; its checkpoint is `{"at": at}`, by default the last name."""
    return Page(records=[record(name) for name in names], checkpoint={"at": at or names[-1]}, **extra)


class Credentials(BaseModel):
    """None are needed."""


class Criteria(BaseModel):
    """Which script is read."""

    script: str = "main"


@dataclass(kw_only=True)
class Scripts:
    """What each import's connector does next, step by step, and from which checkpoints it was asked to read."""

    steps: dict[str, list[Step]] = field(default_factory=dict)
    checkpoints: list[Checkpoint | None] = field(default_factory=list)
    closed: int = 0

    def service(self) -> Service:
        """The service that reads these scripts."""

        async def identify(_: httpx.AsyncClient, __: Any) -> RemoteAccount:
            return RemoteAccount(identity="me", label="Me")

        async def choices(_: httpx.AsyncClient, __: Any, ___: str) -> Sequence[Any]:
            return []

        return Service(
            key="scripted",
            name="Scripted",
            category=ServiceCategory.ADDRESS_BOOK,
            documentation_url="https://example.com",
            credentials=Credentials,
            form=Credentials,
            criteria=Criteria,
            fields=(),
            connect=lambda _, __, criteria: ScriptedConnector(self, criteria.script),
            identify=identify,
            choices=choices,
            tells_deletions=True,
        )


@dataclass(frozen=True)
class ScriptedConnector:
    """Takes its script's steps one by one; the script is over when it is empty."""

    scripts: Scripts
    script: str

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Pages are yielded, exceptions raised, functions called."""
        self.scripts.checkpoints.append(checkpoint)
        steps = self.scripts.steps.setdefault(self.script, [])
        try:
            while steps:
                step = steps.pop(0)
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Page):
                    yield step
                else:
                    await step()
        finally:
            self.scripts.closed += 1


@dataclass
class RecordedEvents:
    """Every event, in order."""

    published: list[RunChanged] = field(default_factory=list)

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        """Keep it: what workers tell of is runs."""
        assert isinstance(event, RunChanged)
        self.published.append(event)


@dataclass
class RecordedQueue:
    """How often the workers were woken."""

    woken: int = 0

    async def wake(self) -> None:
        """Count it."""
        self.woken += 1


@dataclass(kw_only=True)
class Stage:
    """One external account, of the scripted service by default, and the worker that serves it.

    `services` are others that the worker knows, whose servers `client` reaches.
    """

    account_id: UUID
    external_account_id: UUID
    services: Mapping[str, Service] = field(default_factory=dict)
    client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(500))
    )
    scripts: Scripts = field(default_factory=Scripts)
    events: RecordedEvents = field(default_factory=RecordedEvents)
    queue: RecordedQueue = field(default_factory=RecordedQueue)

    @property
    def context(self) -> Context:
        """What the worker gives to its jobs."""

        @asynccontextmanager
        async def open_client() -> AsyncIterator[httpx.AsyncClient]:
            async with self.client() as client:
                yield client

        return Context(
            services={"scripted": self.scripts.service(), **self.services},
            open_client=open_client,
            events=self.events,
            queue=self.queue,
        )

    async def add_import(self, *steps: Step, script: str = "main", **columns: Any) -> UUID:
        """An import that reads `script`, queued for its first run."""
        self.scripts.steps[script] = list(steps)
        created = await AutomaticImport.create(
            account_id=self.account_id,
            external_account_id=self.external_account_id,
            name=script,
            criteria={"script": script},
            **columns,
        )
        async with database.transaction() as connection:
            await import_runs.queue(
                connection, account_id=self.account_id, automatic_import_id=created.id, trigger=RunTrigger.CREATED
            )
        return created.id

    async def cycle(self) -> int:
        """Let a worker claim what is due, and serve it. Returns how many cycles there were."""
        claims = await cycle.claim_due(10)
        for claim in claims:
            await sync_external_account(
                self.context, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token)
            )
        return len(claims)

    async def work(self) -> int:
        """Let a worker claim the background tasks that are due, and do them. Returns how many there were."""
        claims = await background_tasks.claim_due(10)
        for account_id, task_id, lease_token in claims:
            await run_background_task(self.context, str(account_id), str(task_id), str(lease_token))
        return len(claims)

    async def next_window(self) -> None:
        """The half hour is over: what was served in this window was served in the last."""
        await database.fetch(
            "UPDATE automatic_import i SET served_window_ends_at = now() - interval '1 second' FROM external_account e"
            " WHERE e.id = i.external_account_id AND i.served_window_ends_at = e.window_ends_at"
        )
        await database.fetch(
            "UPDATE external_account SET window_ends_at = now() - interval '1 second',"
            " next_cycle_at = least(next_cycle_at, now())"
        )

    async def external_account(self) -> ExternalAccount:
        """The external account as stored."""
        return await ExternalAccount.get(account_id=self.account_id, id=self.external_account_id)

    async def runs(self, import_id: UUID) -> list[ImportRun]:
        """The import's runs, oldest first."""
        return await ImportRun.filter(automatic_import_id=import_id).order_by("id")


async def make_stage(remote_identity: str = "me") -> Stage:
    """An external account whose cycle is due now."""
    account = await find_or_create_account("Acme")
    external_account_id = uuid4()
    await ExternalAccount.create(
        id=external_account_id,
        account_id=account.id,
        service="scripted",
        remote_identity=remote_identity,
        label="Me",
        credentials=key_ring().seal(orjson.dumps({}), row=external_account_id),
        next_cycle_at=datetime.now(UTC),
    )
    return Stage(account_id=account.id, external_account_id=external_account_id)
