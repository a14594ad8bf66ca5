"""Previews of automatic imports as they are read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports import AutomaticImport
from api.background_tasks import TaskState
from api.context import Info, account_id, loaders
from api.external_accounts import ExternalAccount
from api.import_previews.findings import (
    ImportPreviewContactLimit,
    ImportPreviewDeletions,
    ImportPreviewError,
    ImportPreviewExample,
    ImportPreviewField,
    ImportPreviewReason,
    ImportPreviewReview,
)
from api.import_runs.types import OutcomeCounts
from api.node import Node, global_id, key_of, node_type
from domain import previews
from domain.enums import Outcome
from domain.previews import ImportPreviewRow


@strawberry.type(
    description="What an automatic import would do, found out by reading without writing. It reads all that there is,"
    " as `runAutomaticImport` with `full` does. It fills in the background: ask again until it is completed or failed."
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
    counts: OutcomeCounts = strawberry.field(
        description="How many records would meet which outcome, those that it would stop at for a review included: as"
        " if that were approved at once."
    )
    reasons: Sequence[ImportPreviewReason] = strawberry.field(description="The same, for each reason.")
    fields_to_create: Sequence[ImportPreviewField] = strawberry.field(description="The fields that it would make.")
    contact_limit: ImportPreviewContactLimit | None = strawberry.field(
        description="What it does to the contact limit; null before anything is read."
    )
    reviews: Sequence[ImportPreviewReview] = strawberry.field(
        description="What the run would stop for, in this order, until somebody has judged; empty where it would not."
        " Of an estimate, only what is found in the records that were read: what is missing shows at the end."
    )
    deletions: ImportPreviewDeletions | None = strawberry.field(
        description="What becomes of records that are deleted at the service; null before anything is read, and where"
        " there are more than 10,000 records."
    )
    cycles: int | None = strawberry.field(
        description="In how many windows of the cap it would be in, with those who are let in from the waiting room, if"
        " no other import needs the cap; null until the preview is completed."
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
            contact_limit=ImportPreviewContactLimit.of(row.limit) if row.limit else None,
            reviews=[ImportPreviewReview.of(review) for review in row.reviews],
            deletions=ImportPreviewDeletions.of(row.deletions) if row.deletions else None,
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


@strawberry.type
class ImportPreviewQueries:
    @strawberry.field(description="One preview; null where your account has none with this id.")
    async def import_preview(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")],  # noqa: A002
    ) -> ImportPreview | None:
        return await shown(info, key_of("ImportPreview", id))


async def shown(info: Info, key: UUID) -> ImportPreview | None:
    """The preview with this key, where the account has it."""
    row = (await previews.by_ids(account_id(info), [key])).get(key)
    return ImportPreview.of(row) if row is not None else None


node_type("ImportPreview", ImportPreviewRow, read=previews.by_ids, show=ImportPreview.of)
