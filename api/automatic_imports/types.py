"""Automatic imports as they are read."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports.policies import DeletionPolicy, OverwritePolicy
from api.context import Info, account_id, loaders
from api.enums import describe
from api.import_runs import RUNS, ImportRun
from api.lists import ContactList, Tag
from api.loaders import PartOf
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.records import RECORDS, RecordFilter, SourceRecord
from domain import automatic_imports, ledger, run_history
from domain.automatic_imports import ImportRow, ShownState

if TYPE_CHECKING:
    from api.external_accounts import ExternalAccount

describe(
    ShownState,
    "What an automatic import is doing.",
    name="AutomaticImportState",
    ACTIVE="It is checked in every cycle.",
    PAUSED="A user paused it: resume it to go on.",
    NEEDS_RECONNECT="The service does not accept the stored credentials any more: reconnect the external account.",
    NEEDS_REVIEW="It stopped, because of what it would do to many records: approve its run, or drop it.",
    FAILING="Its last runs failed. It is tried again, farther apart each time.",
)
IMPORTS: Order[ImportRow] = Order("imports", lambda row: row.id, UUID)


@strawberry.type(description="What an automatic import has still to read.")
class ImportBacklog:
    remaining: int | None = strawberry.field(
        description="How many records are still to come; null where the service does not tell."
    )
    expected_finish_at: datetime | None = strawberry.field(
        description="When all will be in, as far as one can tell; else null."
    )

    @classmethod
    def of(cls, row: automatic_imports.Backlog) -> Self:
        return cls(remaining=row.remaining, expected_finish_at=row.expected_finish_at)


@strawberry.type(
    description="A recurring import: the matching contacts of an external account, checked every 30 minutes."
)
class AutomaticImport(Node):
    key: strawberry.Private[UUID]
    external_account_key: strawberry.Private[UUID]
    deletion_tag_key: strawberry.Private[UUID | None]
    name: str = strawberry.field(description="What its owner calls it.")
    criteria: JSON = strawberry.field(description="What records must match, in the service's own terms.")
    state: ShownState = strawberry.field(description="What it is doing.")
    state_reason: str | None = strawberry.field(description="Why, where there is something to say.")
    name_policy: OverwritePolicy = strawberry.field(description="Whether names replace what a contact already has.")
    phone_policy: OverwritePolicy = strawberry.field(description="Whether the phone number does.")
    deletion_policy: DeletionPolicy = strawberry.field(
        description="What becomes of contacts that are deleted at the service."
    )
    next_run_at: datetime | None = strawberry.field(description="When it is checked next; null while it does not run.")
    created_at: datetime = strawberry.field(description="When it was created.")

    @classmethod
    def of(cls, row: ImportRow) -> Self:
        return cls(
            id=global_id("AutomaticImport", row.id),
            key=row.id,
            external_account_key=row.external_account_id,
            name=row.name,
            criteria=JSON(dict(row.criteria)),
            state=row.state,
            state_reason=row.state_reason,
            name_policy=row.name_policy,
            phone_policy=row.phone_policy,
            deletion_policy=row.deletion_policy,
            deletion_tag_key=row.deletion_tag_id,
            next_run_at=row.next_run_at,
            created_at=row.created_at,
        )

    @strawberry.field(description="The connected login that it reads.")
    async def external_account(
        self, info: Info
    ) -> Annotated["ExternalAccount", strawberry.lazy("api.external_accounts")]:
        return show(await loaders(info).external_account.load(self.external_account_key))

    @strawberry.field(description="The lists that its contacts are subscribed to, by name.")
    async def lists(self, info: Info) -> list[ContactList]:
        return [ContactList.of(row) for row in await loaders(info).lists_of_import.load(self.key)]

    @strawberry.field(description="The tags that its contacts get, by name.")
    async def tags(self, info: Info) -> list[Tag]:
        return [Tag.of(row) for row in await loaders(info).tags_of_import.load(self.key)]

    @strawberry.field(description="The tag that deleted contacts get, where the policy is TAG.")
    async def deletion_tag(self, info: Info) -> Tag | None:
        if self.deletion_tag_key is None:
            return None
        row = await loaders(info).tag.load(self.deletion_tag_key)
        return Tag.of(row) if row is not None else None

    @strawberry.field(description="The run under way, else the last one; null before the first.")
    async def last_run(self, info: Info) -> ImportRun | None:
        row = await loaders(info).last_run_of_import.load(self.key)
        return ImportRun.of(row) if row is not None else None

    @strawberry.field(description="What it has still to read; null once it has caught up.")
    async def backlog(self, info: Info) -> ImportBacklog | None:
        row = await loaders(info).backlog_of_import.load(self.key)
        return ImportBacklog.of(row) if row is not None else None

    @strawberry.field(description="How many records of the service have a contact through this import.")
    async def imported_contact_count(self, info: Info) -> int:
        return await loaders(info).linked_count_of_import.load(self.key)

    @strawberry.field(description="Its runs, newest first.")
    async def runs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[ImportRun]:
        page = span(RUNS, first=first, after=after, last=last, before=before)
        rows = await loaders(info).runs_of_import.load(PartOf(self.key, page, run_history.RunFilter()))
        return connection(rows, RUNS, ImportRun.of)

    @strawberry.field(description="Every record it ever read, with its present state and the reason, by external id.")
    async def records(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[RecordFilter | None, strawberry.argument(description="Which records.")] = None,  # noqa: A002
    ) -> Connection[SourceRecord]:
        page = span(RECORDS, first=first, after=after, last=last, before=before)
        wanted = filter.to_domain() if filter else ledger.RecordFilter()
        rows = await loaders(info).records_of_import.load(PartOf(self.key, page, wanted))
        return connection(rows, RECORDS, SourceRecord.of)


@strawberry.input(description="Which automatic imports; all that is given counts.")
class AutomaticImportFilter:
    state: ShownState | None = strawberry.field(default=None, description="Those in this state.")
    service: str | None = strawberry.field(default=None, description="Those of the service with this key.")
    external_account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of this external account."
    )

    def to_domain(self) -> automatic_imports.ImportFilter:
        external_account_id = self.external_account_id
        return automatic_imports.ImportFilter(
            state=self.state,
            service=self.service,
            external_account_id=key_of("ExternalAccount", external_account_id) if external_account_id else None,
        )


@strawberry.type
class AutomaticImportQueries:
    @strawberry.field(description="The account's automatic imports, oldest first.")
    async def automatic_imports(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[AutomaticImportFilter | None, strawberry.argument(description="Which imports.")] = None,  # noqa: A002
    ) -> Connection[AutomaticImport]:
        page = span(IMPORTS, first=first, after=after, last=last, before=before)
        wanted = filter.to_domain() if filter else automatic_imports.ImportFilter()
        return connection(await automatic_imports.page(account_id(info), page, wanted), IMPORTS, AutomaticImport.of)


node_type("AutomaticImport", ImportRow, read=automatic_imports.by_ids, show=AutomaticImport.of)
