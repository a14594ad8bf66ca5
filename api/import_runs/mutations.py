"""What can be done with runs: translate in, call one use case, translate out."""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from api.context import Info, account_id, tell, viewer
from api.import_runs.types import ImportRun
from api.node import key_of, show
from api.user_errors import UserError, user_errors
from domain import automatic_imports, import_runs, retrying, reviews, run_history
from domain.enums import OutcomeCode
from domain.errors import Refused
from domain.retrying import MAX_EXTERNAL_IDS

if TYPE_CHECKING:
    from api.automatic_imports import AutomaticImport


@strawberry.input(description="A run to stop.")
class CancelImportRunInput:
    id: strawberry.ID = strawberry.field(description="The run.")


@strawberry.type(description="What became of a wish to stop a run.")
class CancelImportRunPayload:
    import_run: ImportRun | None = strawberry.field(
        default=None, description="The run as it stands now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.enum(description="What is to become of a run that stopped for a review.")
class ReviewDecision(Enum):
    APPROVE = strawberry.enum_value("APPROVE", description="Go on: all of it is wanted.")
    DROP = strawberry.enum_value("DROP", description="Do nothing of it, and pause the automatic import.")


@strawberry.input(description="A judgement of a run that stopped for a review.")
class ApproveImportRunInput:
    id: strawberry.ID = strawberry.field(description="The run.")
    decision: ReviewDecision = strawberry.field(description="What is to become of it.")


@strawberry.type(description="What became of a judgement.")
class ApproveImportRunPayload:
    import_run: ImportRun | None = strawberry.field(
        default=None, description="The run as it stands now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="Which records to try again: give exactly one of the two ids.")
class RetryOutcomesInput:
    import_run_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those with an outcome in this run."
    )
    automatic_import_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of this automatic import."
    )
    codes: list[OutcomeCode] | None = strawberry.field(
        default=None, description="Only those that have one of these codes now; left out, whatever the code."
    )
    external_ids: list[str] | None = strawberry.field(
        default=None, description=f"Only these records, by their ids at the service; {MAX_EXTERNAL_IDS} at most."
    )


@strawberry.type(description="How many records have a code.")
class CodeCount:
    code: OutcomeCode = strawberry.field(description="The code.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="What became of a wish to try records again.")
class RetryOutcomesPayload:
    automatic_import: Annotated["AutomaticImport", strawberry.lazy("api.automatic_imports")] | None = strawberry.field(
        default=None, description="The automatic import as it is now; null where there are errors."
    )
    retried_count: int = strawberry.field(default=0, description="How many records are tried again.")
    not_retryable_counts: Sequence[CodeCount] = strawberry.field(
        default=(), description="What trying again cannot mend, by code; `warnings` say what can."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type
class ImportRunMutations:
    @strawberry.mutation(
        description="Stop a run. A running one stops after the page under way; what is stored stays. The import goes on"
        " with its next cycle."
    )
    async def cancel_import_run(self, info: Info, input: CancelImportRunInput) -> CancelImportRunPayload:  # noqa: A002
        key = key_of("ImportRun", input.id)
        try:
            await import_runs.cancel(account_id(info), key)
        except Refused as refused:
            return CancelImportRunPayload(user_errors=user_errors(refused))
        run = (await run_history.by_ids(account_id(info), [key]))[key]
        await tell(info, [run.automatic_import_id])
        return CancelImportRunPayload(import_run=ImportRun.of(run))

    @strawberry.mutation(
        description="Let a run go on that stopped for a review, or drop what it would do. Nothing of it happens before."
    )
    async def approve_import_run(self, info: Info, input: ApproveImportRunInput) -> ApproveImportRunPayload:  # noqa: A002
        key = key_of("ImportRun", input.id)
        try:
            match input.decision:
                case ReviewDecision.APPROVE:
                    await reviews.approve(viewer(info), key, queue=info.context.queue)
                case ReviewDecision.DROP:
                    await reviews.drop(viewer(info), key)
        except Refused as refused:
            return ApproveImportRunPayload(user_errors=user_errors(refused))
        run = (await run_history.by_ids(account_id(info), [key]))[key]
        await tell(info, [run.automatic_import_id])
        return ApproveImportRunPayload(import_run=ImportRun.of(run))

    @strawberry.mutation(
        description="Try records again that were skipped or failed, at once and within the cap. A record whose import"
        " was undone comes in again; one whose contact was deleted here only once that contact was made anew."
    )
    async def retry_outcomes(self, info: Info, input: RetryOutcomesInput) -> RetryOutcomesPayload:  # noqa: A002
        try:
            retried = await retrying.retry(viewer(info), _wish(input), queue=info.context.queue)
        except Refused as refused:
            return RetryOutcomesPayload(user_errors=user_errors(refused))
        await tell(info, [retried.automatic_import_id])
        row = (await automatic_imports.by_ids(account_id(info), [retried.automatic_import_id])).get(
            retried.automatic_import_id
        )
        return RetryOutcomesPayload(
            automatic_import=show(row) if row is not None else None,
            retried_count=retried.count,
            not_retryable_counts=[CodeCount(code=code, count=count) for code, count in retried.not_retryable.items()],
            warnings=retried.warnings,
        )


def _wish(wanted: RetryOutcomesInput) -> retrying.Wish:
    run_id, import_id = wanted.import_run_id, wanted.automatic_import_id
    return retrying.Wish(
        import_run_id=key_of("ImportRun", run_id) if run_id is not None else None,
        automatic_import_id=key_of("AutomaticImport", import_id) if import_id is not None else None,
        codes=wanted.codes,
        external_ids=wanted.external_ids,
    )
