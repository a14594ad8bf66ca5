"""Previews of automatic imports in the schema."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports import AutomaticImport
from api.background_tasks import TaskState
from api.context import Info, account_id, loaders, viewer
from api.external_accounts import ExternalAccount
from api.import_runs.types import OutcomeCounts
from api.node import Node, global_id, key_of, keys_of, node_type
from api.user_errors import UserError, object_of, user_errors
from domain import previews
from domain.enums import Outcome, OutcomeCode, OutcomeNote, OverwritePolicy
from domain.errors import Refused
from domain.previews import ImportPreviewRow, PreviewRequest
from domain.records import FieldType


@strawberry.type(description="How many records would meet an outcome, for one reason.")
class ImportPreviewReason:
    outcome: Outcome = strawberry.field(description="What would become of them.")
    code: OutcomeCode | None = strawberry.field(description="Why; null where nothing stands against them.")
    count: int = strawberry.field(description="How many they are.")


@strawberry.type(description="One record, and what would become of it.")
class ImportPreviewExample:
    external_id: str = strawberry.field(description="Its id at the service.")
    email: str | None = strawberry.field(description="Its address at the service, valid or not.")
    outcome: Outcome = strawberry.field(description="What would become of it.")
    code: OutcomeCode | None = strawberry.field(description="Why; null where nothing stands against it.")
    notes: Sequence[OutcomeNote] = strawberry.field(description="What there is to add.")


@strawberry.type(description="A field that the import would make.")
class ImportPreviewField:
    title: str = strawberry.field(description="What people read.")
    type: FieldType = strawberry.field(description="What it holds.")
    personalization_tag: str = strawberry.field(description="Its tag in messages, without the percent signs.")
    service_key: str = strawberry.field(description="The service that its values come from.")


@strawberry.type(description="What the import does to the plan's contact limit.")
class ImportPreviewContactLimit:
    active: int = strawberry.field(description="The account's active contacts before it.")
    active_after: int = strawberry.field(description="And after it.")
    limit: int = strawberry.field(description="The limit after it; with auto-upgrade on, that of the plan moved to.")
    waiting: int = strawberry.field(description="How many records would wait for room.")


@strawberry.type(description="Why a preview failed.")
class ImportPreviewError:
    code: str = strawberry.field(description="What kind of failure it is, for programs.")
    message: str = strawberry.field(description="What happened and what to do, for people.")


@strawberry.type(
    description="What an automatic import would do, found out by reading without writing. It fills in the background:"
    " ask again until it is completed or failed."
)
class ImportPreview(Node):
    external_account_key: strawberry.Private[UUID]
    import_key: strawberry.Private[UUID | None]
    criteria: JSON = strawberry.field(description="What records must match, in the service's own terms.")
    state: TaskState = strawberry.field(description="Where it stands. Until it is completed, all else is so far.")
    waiting_until: datetime | None = strawberry.field(description="When the service may be asked again; else null.")
    records_read: int = strawberry.field(description="How many records the service has sent.")
    remaining: int | None = strawberry.field(
        description="How many are still to come; null where the service does not tell."
    )
    is_estimate: bool = strawberry.field(
        description="Whether it is no longer exact, because there are more than 10,000 records. What is not read by"
        " then is taken to be like what was, where the service tells how many there are."
    )
    counts: OutcomeCounts = strawberry.field(description="How many records would meet which outcome.")
    reasons: Sequence[ImportPreviewReason] = strawberry.field(description="The same, for each reason.")
    fields_to_create: Sequence[ImportPreviewField] = strawberry.field(description="The fields that it would make.")
    contact_limit: ImportPreviewContactLimit | None = strawberry.field(
        description="What it does to the contact limit; null before anything is read."
    )
    cycles: int | None = strawberry.field(
        description="In how many windows of the cap it would be in, if no other import needs the cap; null until the"
        " preview is completed."
    )
    expected_finish_at: datetime | None = strawberry.field(
        description="When the last of these windows begins, had the import been made as the preview was completed;"
        " null until then."
    )
    examples: Sequence[ImportPreviewExample] = strawberry.field(
        description="Some of the records, at most 5 of each outcome and code."
    )
    error: ImportPreviewError | None = strawberry.field(description="Why it failed; else null.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    finished_at: datetime | None = strawberry.field(description="When it was completed, or failed.")

    @classmethod
    def of(cls, row: ImportPreviewRow) -> Self:
        return cls(
            id=global_id("ImportPreview", row.id),
            external_account_key=row.external_account_id,
            import_key=row.automatic_import_id,
            criteria=JSON(row.criteria),
            state=row.state,
            waiting_until=row.waiting_until,
            records_read=row.records_read,
            remaining=row.remaining,
            is_estimate=row.is_estimate,
            counts=_counts(row),
            reasons=[
                ImportPreviewReason(outcome=each.outcome, code=each.code, count=each.count) for each in row.reasons
            ],
            fields_to_create=[
                ImportPreviewField(
                    title=each.title,
                    type=each.type,
                    personalization_tag=each.personalization_tag,
                    service_key=row.service,
                )
                for each in row.fields
            ],
            contact_limit=_contact_limit(row),
            cycles=row.cycles,
            expected_finish_at=row.expected_finish_at,
            examples=[
                ImportPreviewExample(
                    external_id=each.external_id,
                    email=each.email,
                    outcome=each.outcome,
                    code=each.code,
                    notes=each.notes,
                )
                for each in row.examples
            ],
            error=ImportPreviewError(code=row.error_code, message=row.error_message or "") if row.error_code else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    @strawberry.field(description="The external account that is read.")
    async def external_account(self, info: Info) -> ExternalAccount | None:
        row = await loaders(info).external_account.load(self.external_account_key)
        return ExternalAccount.of(row) if row is not None else None

    @strawberry.field(description="The automatic import whose edit is previewed; null for a new one.")
    async def automatic_import(self, info: Info) -> AutomaticImport | None:
        row = await loaders(info).automatic_import.load(self.import_key) if self.import_key else None
        return AutomaticImport.of(row) if row is not None else None


def _counts(row: ImportPreviewRow) -> OutcomeCounts:
    return OutcomeCounts(
        read=sum(each.count for each in row.reasons),
        created=row.count(Outcome.CREATED),
        updated=row.count(Outcome.UPDATED),
        unchanged=row.count(Outcome.UNCHANGED),
        skipped=row.count(Outcome.SKIPPED),
        waiting=row.count(Outcome.WAITING),
        failed=row.count(Outcome.FAILED),
        protected=row.protected,
    )


def _contact_limit(row: ImportPreviewRow) -> ImportPreviewContactLimit | None:
    if row.limit is None:
        return None
    return ImportPreviewContactLimit(
        active=row.limit.active,
        active_after=row.limit.active_after,
        limit=row.limit.limit,
        waiting=row.limit.waiting,
    )


@strawberry.input(description="An automatic import that is not made yet, or with `automaticImportId` the edit of one.")
class PreviewAutomaticImportInput:
    external_account_id: strawberry.ID = strawberry.field(description="The connected login to read.")
    automatic_import_id: strawberry.ID | None = strawberry.field(
        default=None, description="The automatic import to be edited. What is left out or null stays as it has it."
    )
    criteria: JSON | None = strawberry.field(
        default=None, description="An object that fits the service's `criteriaSchema`; left out, everything matches."
    )
    list_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Lists to subscribe its contacts to."
    )
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Tags to give its contacts.")
    name_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether names replace what a contact already has; left out, ALWAYS."
    )
    phone_policy: OverwritePolicy | None = strawberry.field(
        default=None, description="Whether the phone number does; left out, ALWAYS."
    )


@strawberry.type(description="What became of a wish for a preview.")
class PreviewAutomaticImportPayload:
    import_preview: ImportPreview | None = strawberry.field(
        default=None, description="The preview, which fills in the background; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ImportPreviewQueries:
    @strawberry.field(description="One preview; null where your account has none with this id.")
    async def import_preview(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")],  # noqa: A002
    ) -> ImportPreview | None:
        return await _shown(info, key_of("ImportPreview", id))


@strawberry.type
class ImportPreviewMutations:
    @strawberry.mutation(
        description="Find out what an automatic import would do, before it is made or edited. Nothing is imported."
    )
    async def preview_automatic_import(
        self,
        info: Info,
        input: PreviewAutomaticImportInput,  # noqa: A002
    ) -> PreviewAutomaticImportPayload:
        import_id = input.automatic_import_id
        external_account_id = key_of("ExternalAccount", input.external_account_id)
        import_key = key_of("AutomaticImport", import_id) if import_id is not None else None
        list_ids, tag_ids = keys_of("ContactList", input.list_ids), keys_of("Tag", input.tag_ids)
        try:
            wanted = PreviewRequest(
                external_account_id=external_account_id,
                automatic_import_id=import_key,
                criteria=object_of(input.criteria, "criteria"),
                list_ids=list_ids,
                tag_ids=tag_ids,
                name_policy=input.name_policy,
                phone_policy=input.phone_policy,
            )
            preview_id = await previews.request(
                viewer(info), wanted, catalogue=info.context.catalogue, queue=info.context.queue
            )
        except Refused as refused:
            return PreviewAutomaticImportPayload(user_errors=user_errors(refused))
        return PreviewAutomaticImportPayload(import_preview=await _shown(info, preview_id))


async def _shown(info: Info, key: UUID) -> ImportPreview | None:
    row = (await previews.by_ids(account_id(info), [key])).get(key)
    return ImportPreview.of(row) if row is not None else None


node_type("ImportPreview", ImportPreviewRow, read=previews.by_ids, show=ImportPreview.of)
