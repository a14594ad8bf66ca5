"""The real thing beside the model: the same steps through the domain and its jobs, and all that can be seen of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx
import orjson

from domain import (
    automatic_imports,
    background_tasks,
    cycle,
    database,
    external_accounts,
    plans,
    retrying,
    reviews,
    subscriptions,
)
from domain.account import Viewer, find_or_create_account
from domain.contacts import deleting, editing
from domain.contacts.given import Given
from domain.credentials import key_ring
from domain.enums import ContactStatus, RunState
from domain.errors import Refused
from domain.import_inputs import ImportChanges, NewImport
from domain.models import ContactList, ExternalAccount, ImportRun, Tag
from domain.undo.request import undo_run
from jobs.background_tasks import run_background_task
from jobs.catalogue import ConnectorCatalogue
from jobs.reactions import Context
from jobs.sync_external_account import sync_external_account
from tests.domain.model.account import Account, Import
from tests.domain.model.service import FRIENDS, Book, Fault, Faults, Killed, Planned, book_service
from tests.fakes import RecordingQueue
from tests.jobs.scripted import RecordedEvents, RecordedQueue

TIMES = {
    "external_account": ("next_cycle_at", "window_ends_at", "not_before", "lease_expires_at"),
    "automatic_import": ("served_window_ends_at", "next_attempt_at"),
    "import_run": ("waiting_until",),
    "background_task": ("run_at", "lease_expires_at"),
}
PLANS = {1: "contacts-1000", 2: "contacts-2500", 3: "contacts-5000", 1000: "contacts-10000"}
"""The plans that are used, by contact limit; the others are out of reach."""
WINDOWS_ARE_YOUNG = """
SELECT id FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 100)) candidate
WHERE extract(epoch FROM now())::float8 / $1 - (hashtext(id::text)::bigint + 2147483648) / 4294967296.0
    - floor(extract(epoch FROM now())::float8 / $1 - (hashtext(id::text)::bigint + 2147483648) / 4294967296.0) < 0.5
LIMIT 1
"""
"""An external account's windows begin at a phase of its own: this one's does not end while the test runs."""


@dataclass(kw_only=True)
class Engine:
    """An account in the database, set up like the model's."""

    account_id: UUID
    hash_key: bytes
    books: Mapping[str, Book]
    cycle_seconds: float
    faults: Faults = field(default_factory=Faults)
    external_accounts: dict[str, UUID] = field(default_factory=dict)
    imports: dict[str, UUID] = field(default_factory=dict)
    lists: dict[str, UUID] = field(default_factory=dict)
    tags: dict[str, UUID] = field(default_factory=dict)

    @property
    def viewer(self) -> Viewer:
        """The acting user."""
        return Viewer(account_id=self.account_id, token_id=UUID(int=1), scopes=frozenset())

    @property
    def context(self) -> Context:
        """What the worker gives to its jobs."""

        @asynccontextmanager
        async def open_client() -> AsyncIterator[httpx.AsyncClient]:
            # Nothing is asked over HTTP; its certificates take longer to load than a cycle takes.
            async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
                yield client

        service = book_service(self.books, self.faults, cycle_seconds=self.cycle_seconds, meanwhile=self._meanwhile)
        return Context(
            services={service.key: service}, open_client=open_client, events=RecordedEvents(), queue=RecordedQueue()
        )

    @property
    def catalogue(self) -> ConnectorCatalogue:
        """What the API would check an edit with."""
        return ConnectorCatalogue(registered=self.context["services"], allow_private_hosts=False)

    async def _meanwhile(self, planned: Planned) -> None:
        match planned.fault:
            case Fault.KILLED:
                raise Killed
            case Fault.SHUTDOWN:
                raise asyncio.CancelledError
            case Fault.PAUSED:
                assert planned.meanwhile is not None
                await self.pause(planned.meanwhile)
            case Fault.NARROWED:
                assert planned.meanwhile is not None
                await self.change_criteria(planned.meanwhile, FRIENDS)
            case Fault.UNDONE:
                assert planned.meanwhile is not None
                await self.undo(planned.meanwhile, 0, and_later=False)

    async def work(self) -> None:
        """A worker looks: it does what tasks there are, claims the external accounts that are due, and serves them."""
        while tasks := await background_tasks.claim_due(10):
            for account_id, task_id, lease_token in tasks:
                await run_background_task(self.context, str(account_id), str(task_id), str(lease_token))
        names = {row_id: name for name, row_id in self.external_accounts.items()}
        claims = await cycle.claim_due(10)
        for claim in sorted(claims, key=lambda claim: names[claim.external_account_id]):
            with suppress(asyncio.CancelledError, Killed):
                await sync_external_account(
                    self.context, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token)
                )

    async def pass_time(self, seconds: float) -> None:
        """Everything that is stored happened so much longer ago."""
        for table, columns in TIMES.items():
            shifted = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
            await database.fetch(f"UPDATE {table} SET {shifted}", timedelta(seconds=seconds))

    async def set_limit(self, limit: int) -> None:
        """The user moves to the plan with this limit."""
        await plans.change(self.viewer, PLANS[limit], queue=RecordingQueue())

    async def set_auto_upgrade(self, *, enabled: bool, ceiling: int) -> bool:
        """The user's mutation; the ceiling is a plan's limit. Returns whether it is accepted."""
        wanted = plans.set_auto_upgrade(
            self.viewer, enabled=enabled, ceiling_key=PLANS[ceiling], queue=RecordingQueue()
        )
        return await accepted(wanted)

    async def pause(self, name: str) -> None:
        """The user's mutation."""
        await automatic_imports.pause(self.viewer, self.imports[name])

    async def resume(self, name: str) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        return await accepted(automatic_imports.resume(self.viewer, self.imports[name], queue=RecordingQueue()))

    async def run_now(self, name: str) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        wanted = automatic_imports.run_now(self.viewer, self.imports[name], full=False, queue=RecordingQueue())
        return await accepted(wanted)

    async def judge(self, name: str, *, approve: bool) -> None:
        """The user's mutation, of the run that waits for review."""
        run = await ImportRun.get(automatic_import_id=self.imports[name], state=RunState.NEEDS_REVIEW)
        if approve:
            await reviews.approve(self.viewer, run.id, queue=RecordingQueue())
        else:
            await reviews.drop(self.viewer, run.id)

    async def change_criteria(self, name: str, group: str) -> None:
        """The user's mutation."""
        await automatic_imports.update(
            self.viewer,
            self.imports[name],
            ImportChanges(criteria={"group": group}),
            catalogue=self.catalogue,
            queue=RecordingQueue(),
        )

    async def change_targets(self, name: str, lists: Sequence[str], tags: Sequence[str]) -> None:
        """The user's mutation."""
        await automatic_imports.update(
            self.viewer,
            self.imports[name],
            ImportChanges(list_ids=[self.lists[each] for each in lists], tag_ids=[self.tags[each] for each in tags]),
            catalogue=self.catalogue,
            queue=RecordingQueue(),
        )

    async def retry(self, name: str) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        wish = retrying.Wish(automatic_import_id=self.imports[name])
        return await accepted(retrying.retry(self.viewer, wish, queue=RecordingQueue()))

    async def undo(self, name: str, back: int, *, and_later: bool) -> bool:
        """The user's mutation, of the run so many before the import's last one. Returns whether it is accepted."""
        rows = await database.fetch(
            "SELECT id FROM import_run WHERE automatic_import_id = $1 ORDER BY id DESC LIMIT $2",
            self.imports[name], back + 1,
        )  # fmt: skip
        return await accepted(undo_run(self.viewer, rows[-1]["id"], and_later=and_later, queue=RecordingQueue()))

    async def delete_import(self, name: str, *, undoing: bool) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        return await accepted(automatic_imports.delete(self.viewer, self.imports[name], undo=undoing))

    async def reconnect(self, name: str) -> None:
        """The user's mutation."""
        await external_accounts.reconnect(
            self.viewer, self.external_accounts[name], credentials={"book": name}, catalogue=self.catalogue
        )

    async def create_contact(self, key: str, first_name: str) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        given = Given(email=key, first_name=first_name)
        return await accepted(editing.create(self.viewer, given, queue=RecordingQueue()))

    async def edit_contact(self, key: str, *, first_name: str | None = None, email: str | None = None) -> bool:
        """The user's mutation. Returns whether it is accepted."""
        given = Given(first_name=first_name, email=email)
        return await accepted(editing.update(self.viewer, await self._contact(key), given, queue=RecordingQueue()))

    async def set_status(self, key: str, status: ContactStatus, name: str | None = None) -> bool:
        """The user's mutation: of a subscription to a list, or the contact's own. Returns whether it is accepted."""
        return await accepted(
            subscriptions.set_status(
                self.viewer,
                await self._contact(key),
                status,
                list_id=self.lists[name] if name else None,
                queue=RecordingQueue(),
            )
        )

    async def delete_contact(self, key: str, *, erase: bool) -> None:
        """The user's mutation."""
        await deleting.delete(self.viewer, await self._contact(key), erase=erase, queue=RecordingQueue())

    async def _contact(self, key: str) -> UUID:
        rows = await database.fetch("SELECT id FROM contact WHERE email_key = $1", key)
        return UUID(str(rows[0]["id"]))

    async def add_import(self, new: Import) -> None:
        """An import, queued for its first run."""
        created = await automatic_imports.create(
            self.viewer,
            NewImport(
                external_account_id=self.external_accounts[new.external_account],
                name=new.name,
                criteria={"group": new.group},
                list_ids=[self.lists[name] for name in new.lists],
                tag_ids=[self.tags[name] for name in new.tags],
                name_policy=new.names,
                phone_policy=new.phones,
                deletion_policy=new.deletions,
                deletion_tag_id=self.tags.get(new.deletion_tag or ""),
            ),
            catalogue=self.catalogue,
            queue=RecordingQueue(),
        )
        self.imports[new.name] = created.id


async def accepted(mutation: Awaitable[object]) -> bool:
    """Whether the mutation is accepted."""
    try:
        await mutation
    except Refused:
        return False
    return True


async def make_engine(model: Account, books: Mapping[str, Book]) -> Engine:
    """The model's account, as it is before anything was imported, in an empty database."""
    account = await find_or_create_account("Acme")
    engine = Engine(
        account_id=account.id,
        hash_key=key_ring().unseal(account.email_hash_key, row=account.id),
        books=books,
        cycle_seconds=model.cycle_seconds,
    )
    await database.fetch(
        "UPDATE plan_tier SET contact_limit = coalesce(mine.contact_limit, 1000000 + plan_tier.contact_limit)"
        " FROM plan_tier every LEFT JOIN unnest($1::text[], $2::int[]) mine (key, contact_limit) USING (key)"
        " WHERE every.key = plan_tier.key",
        list(PLANS.values()), list(PLANS),
    )  # fmt: skip
    await engine.set_limit(model.limit)
    for name in model.external_accounts:
        row_id = (await database.fetch(WINDOWS_ARE_YOUNG, model.cycle_seconds))[0]["id"]
        await ExternalAccount.create(
            id=row_id,
            account_id=account.id,
            service="books",
            remote_identity=name,
            label=name,
            credentials=key_ring().seal(orjson.dumps({"book": name}), row=row_id),
        )
        engine.external_accounts[name] = row_id
    for name in sorted({name for each in model.imports.values() for name in each.lists}):
        engine.lists[name] = (await ContactList.create(account_id=account.id, name=name)).id
    tags = {name for each in model.imports.values() for name in (*each.tags, each.deletion_tag) if name}
    for name in sorted(tags):
        engine.tags[name] = (await Tag.create(account_id=account.id, name=name)).id
    for each in model.imports.values():
        await engine.add_import(each)
    return engine
