"""Undoing runs in the schema: how far it is, and what it came to for every record."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry

from api.background_tasks import TaskState
from api.contacts import Contact
from api.context import Info, account_id, loaders, tell, viewer
from api.enums import describe
from api.loaders import PartOf
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, user_errors
from domain.enums import UndoCode, UndoneValueKind, UndoResult
from domain.errors import Refused
from domain.undo import overview
from domain.undo.overview import UndoneRow, UndoRow
from domain.undo.plan import Detail
from domain.undo.request import undo_run

if TYPE_CHECKING:
    from api.automatic_imports import AutomaticImport
    from api.import_runs import ImportRun

describe(
    UndoResult,
    "What undoing came to for one outcome of a run.",
    REMOVED="The contact that the run created is gone.",
    RESTORED="All that the run wrote is as it was before.",
    PARTLY_RESTORED="Some of what the run wrote is as it was before; `values` says which, and why the rest stays.",
    KEPT="It stays as it is; the code says why.",
    REFUSED="What was before may not come back; the code says why.",
    NOTHING="The run wrote no contact for this record, or there is none any more.",
)
describe(
    UndoCode,
    "Why something was not undone.",
    CHANGED_SINCE="It has been changed since by somebody or something else.",
    CONSENT="Consent is never raised, and a list that somebody left stays left.",
    DELETED_HERE="A user deleted the contact that had this address here.",
    EMAIL_TAKEN="Another contact has the address now.",
    GONE="The contact does not exist any more.",
    HELD_ELSEWHERE="Another automatic import has the contact too.",
    LATER_RUN="A run of the same import that is not undone with it wrote the record too.",
    TOUCHED="A user changed the contact since.",
    UNDO_EXPIRED="What was before is not kept any more.",
)
describe(
    UndoneValueKind,
    "What a run wrote of a contact.",
    EMAIL="The address.",
    FIRST_NAME="The first name.",
    LAST_NAME="The last name.",
    PHONE="The phone number.",
    STATUS="The status of all mail.",
    FIELD="The value of a custom field.",
    LIST="The subscription to a list.",
    TAG="A tag.",
)

UNDOS: Order[UndoRow] = Order("undos", lambda row: row.id, UUID)
UNDONE: Order[UndoneRow] = Order("undone records", lambda row: row.id, UUID)
TYPES = {UndoneValueKind.FIELD: "Field", UndoneValueKind.LIST: "ContactList", UndoneValueKind.TAG: "Tag"}
"""What the target of a value is."""


@strawberry.type(description="One value that a run wrote, and whether it is undone.")
class UndoneValue:
    kind: UndoneValueKind = strawberry.field(description="What it is.")
    target_id: strawberry.ID | None = strawberry.field(description="The id of its field, list or tag; else null.")
    code: UndoCode | None = strawberry.field(description="Why it stays; null where it is undone.")

    @classmethod
    def of(cls, detail: Detail) -> Self:
        target_id = global_id(TYPES[detail.kind], detail.id) if detail.id else None
        return cls(kind=detail.kind, target_id=target_id, code=detail.code)


@strawberry.type(description="What undoing came to for one outcome of a run.")
class UndoneRecord:
    run_key: strawberry.Private[UUID]
    contact_key: strawberry.Private[UUID | None]
    external_id: str = strawberry.field(description="The record's id at the service.")
    result: UndoResult = strawberry.field(description="What it came to.")
    code: UndoCode | None = strawberry.field(description="Why not all is undone, the gravest reason; else null.")
    values: list[UndoneValue] = strawberry.field(description="Each value that the run wrote to a known contact.")

    @classmethod
    def of(cls, row: UndoneRow) -> Self:
        return cls(
            run_key=row.run_id,
            contact_key=row.contact_id,
            external_id=row.external_id,
            result=row.result,
            code=row.code,
            values=[UndoneValue.of(detail) for detail in row.details],
        )

    @strawberry.field(description="The contact that it is about; null where there is none (any more).")
    async def contact(self, info: Info) -> Contact | None:
        row = await loaders(info).contact.load(self.contact_key) if self.contact_key is not None else None
        return Contact.of(row) if row is not None else None

    @strawberry.field(description="The run whose outcome it was.")
    async def import_run(self, info: Info) -> Annotated["ImportRun", strawberry.lazy("api.import_runs")] | None:
        row = await loaders(info).import_run.load(self.run_key)
        return show(row) if row is not None else None


@strawberry.type(description="How far an undo is.")
class UndoProgress:
    done: int = strawberry.field(description="How many outcomes are dealt with.")
    total: int | None = strawberry.field(description="How many there are; null until it has begun.")


@strawberry.type(description="How many outcomes met which result; they add up to what is done.")
class UndoCounts:
    removed: int = strawberry.field(description="Contacts that are gone.")
    restored: int = strawberry.field(description="Contacts that are as they were before.")
    partly_restored: int = strawberry.field(description="Contacts of which some values are.")
    kept: int = strawberry.field(description="Contacts that stay as they are.")
    refused: int = strawberry.field(description="Contacts whose earlier values may not come back.")
    nothing: int = strawberry.field(description="Records that the run wrote no contact for, or none that still exists.")


@strawberry.input(description="Which records; all that is given counts.")
class UndoneRecordFilter:
    result: UndoResult | None = strawberry.field(default=None, description="Those with this result.")
    code: UndoCode | None = strawberry.field(default=None, description="Those with this code.")


@strawberry.type(
    description="The undoing of runs, newest first, in the background. Records that are undone are imported again only"
    " when they change at the service."
)
class ImportUndo(Node):
    key: strawberry.Private[UUID]
    import_key: strawberry.Private[UUID]
    state: TaskState = strawberry.field(description="Where it stands.")
    run_count: int = strawberry.field(description="How many runs are undone.")
    progress: UndoProgress = strawberry.field(description="How far it is.")
    counts: UndoCounts = strawberry.field(description="What it came to so far.")
    error_message: str | None = strawberry.field(description="Why it failed, and what to do; else null.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    finished_at: datetime | None = strawberry.field(description="When it was over.")

    @classmethod
    def of(cls, row: UndoRow) -> Self:
        return cls(
            id=global_id("ImportUndo", row.id),
            key=row.id,
            import_key=row.automatic_import_id,
            state=row.state,
            run_count=row.run_count,
            progress=UndoProgress(done=sum(row.counts.values()), total=row.total),
            counts=UndoCounts(**{result.value.lower(): row.counts.get(result, 0) for result in UndoResult}),
            error_message=row.error_message,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    @strawberry.field(description="The automatic import; null once that is deleted.")
    async def automatic_import(
        self, info: Info
    ) -> Annotated["AutomaticImport", strawberry.lazy("api.automatic_imports")] | None:
        row = await loaders(info).automatic_import.load(self.import_key)
        return show(row) if row is not None else None

    @strawberry.field(description="What it came to for each outcome of the runs, in the order of undoing.")
    async def records(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[UndoneRecordFilter | None, strawberry.argument(description="Which records.")] = None,  # noqa: A002
    ) -> Connection[UndoneRecord]:
        page = span(UNDONE, first=first, after=after, last=last, before=before)
        wanted = overview.UndoneFilter(result=filter.result, code=filter.code) if filter else overview.UndoneFilter()
        rows = await loaders(info).records_of_undo.load(PartOf(self.key, page, wanted))
        return connection(rows, UNDONE, UndoneRecord.of)


@strawberry.input(description="Which undos; all that is given counts.")
class ImportUndoFilter:
    automatic_import_id: strawberry.ID | None = strawberry.field(default=None, description="Those of this import.")

    def to_domain(self) -> overview.UndoFilter:
        import_id = self.automatic_import_id
        return overview.UndoFilter(
            automatic_import_id=key_of("AutomaticImport", import_id) if import_id is not None else None
        )


@strawberry.input(description="A run to undo.")
class UndoImportRunInput:
    id: strawberry.ID = strawberry.field(description="The run.")
    and_later: bool = strawberry.field(default=False, description="Undo all later runs of its import with it.")


@strawberry.type(description="What became of a wish to undo.")
class UndoImportRunPayload:
    import_undo: ImportUndo | None = strawberry.field(
        default=None, description="The undo, which has yet to begin; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ImportUndoQueries:
    @strawberry.field(description="What was undone, or is being undone, newest first. Kept as long as outcomes.")
    async def import_undos(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[ImportUndoFilter | None, strawberry.argument(description="Which undos.")] = None,  # noqa: A002
    ) -> Connection[ImportUndo]:
        page = span(UNDOS, first=first, after=after, last=last, before=before)
        wanted = filter.to_domain() if filter else overview.UndoFilter()
        return connection(await overview.page(account_id(info), page, wanted), UNDOS, ImportUndo.of)


@strawberry.type
class ImportUndoMutations:
    @strawberry.mutation(
        description="Undo a run, by value, in the background: contacts that it created and nobody touched since are"
        " removed, and values that it overwrote come back unless they changed since. Consent is never raised. The"
        " import is paused; a run under way is stopped."
    )
    async def undo_import_run(self, info: Info, input: UndoImportRunInput) -> UndoImportRunPayload:  # noqa: A002
        key = key_of("ImportRun", input.id)
        try:
            undo_id = await undo_run(viewer(info), key, and_later=input.and_later, queue=info.context.queue)
        except Refused as refused:
            return UndoImportRunPayload(user_errors=user_errors(refused))
        row = (await overview.by_ids(account_id(info), [undo_id]))[undo_id]
        await tell(info, [row.automatic_import_id])
        return UndoImportRunPayload(import_undo=ImportUndo.of(row))


async def shown_undo(info: Info, key: UUID | None) -> ImportUndo | None:
    """The undo with this key, if there is one."""
    row = (await overview.by_ids(account_id(info), [key])).get(key) if key is not None else None
    return ImportUndo.of(row) if row is not None else None


node_type("ImportUndo", UndoRow, read=overview.by_ids, show=ImportUndo.of)
