"""Runs of automatic imports as they are read: history, counts, outcomes, reviews."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry

from api import outcomes_csv
from api.context import Info, account_id, loaders, viewer
from api.enums import describe
from api.import_runs.reviews import ImportReview
from api.loaders import PartOf
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.records import OUTCOMES, RecordOutcome
from domain import outcomes, run_history
from domain.enums import Outcome, OutcomeCode, RunState, RunStop, RunTrigger
from domain.run_history import Run

if TYPE_CHECKING:
    from api.automatic_imports import AutomaticImport

describe(
    RunTrigger,
    "Why a run started.",
    name="ImportRunTrigger",
    CREATED="The automatic import was created.",
    SCHEDULE="The half-hourly cycle.",
    USER="A user asked for it.",
    ROOM="There is room again for contacts that wait.",
    RETRY="A user retried records.",
)
describe(
    RunState,
    "Where a run stands.",
    name="ImportRunState",
    QUEUED="It starts as soon as a worker is free.",
    RUNNING="It reads and stores records.",
    WAITING_FOR_SERVICE="The service asked for patience; `waitingUntil` says until when.",
    NEEDS_REVIEW="It stopped before so much is changed or lost that somebody should look; `review` says what.",
    COMPLETED="It is over.",
    FAILED="It could not go on; `error` says why. The next cycle tries again.",
    CANCELLED="A user stopped it.",
    UNDONE="It was undone.",
)
describe(
    RunStop,
    "What ended a completed run before all was read.",
    name="ImportRunStop",
    CAP="The cap of contacts per window: the next window goes on.",
    SERVICE="The service asked for more patience than a window has: a later one goes on.",
    REVIEW="Somebody has to look first: approve the run, or drop it.",
)

RUNS: Order[Run] = Order("runs", lambda row: row.id, UUID)


@strawberry.type(description="How many records met which outcome; created to failed add up to read.")
class OutcomeCounts:
    read: int = strawberry.field(description="Records read.")
    created: int = strawberry.field(description="New contacts.")
    updated: int = strawberry.field(description="Known contacts with something new.")
    unchanged: int = strawberry.field(description="Known contacts with nothing new.")
    skipped: int = strawberry.field(description="Records that were not imported.")
    waiting: int = strawberry.field(description="New contacts that wait for room in the contact limit.")
    failed: int = strawberry.field(description="Records that could not be stored.")
    protected: int = strawberry.field(description="Contacts that have declined or bounced: their status stayed.")


@strawberry.type(
    description="What a run's changes would have set off, had a user made them: an automatic import sends nothing."
)
class KeptSilent:
    autoresponders: int = strawberry.field(description="Autoresponders of lists.")
    webhooks: int = strawberry.field(description="Contact webhooks.")
    notifications: int = strawberry.field(description="List notifications.")


@strawberry.type(description="Why a run failed.")
class ImportRunError:
    code: str = strawberry.field(description="What kind of failure it is, for programs.")
    message: str = strawberry.field(description="What happened and what to do, for people.")


@strawberry.input(description="Which outcomes; all that is given counts.")
class OutcomeFilter:
    outcome: Outcome | None = strawberry.field(default=None, description="Those with this outcome.")
    code: OutcomeCode | None = strawberry.field(default=None, description="Those with this code.")
    external_id: str | None = strawberry.field(default=None, description="That of the record with this id.")

    def to_domain(self) -> outcomes.OutcomeFilter:
        return outcomes.OutcomeFilter(outcome=self.outcome, code=self.code, external_id=self.external_id)


@strawberry.type(description="One attempt of one automatic import. Cycles that find nothing share one row.")
class ImportRun(Node):
    key: strawberry.Private[UUID]
    import_key: strawberry.Private[UUID]
    trigger: RunTrigger = strawberry.field(description="Why it started.")
    state: RunState = strawberry.field(description="Where it stands.")
    stopped_by: RunStop | None = strawberry.field(description="What ended it before all was read; else null.")
    waiting_until: datetime | None = strawberry.field(description="When the service may be asked again; else null.")
    revision: int = strawberry.field(description="Grows with every change: of two answers the higher one is newer.")
    checks: int = strawberry.field(description="How many cycles this run stands for.")
    last_checked_at: datetime | None = strawberry.field(description="When the service was last asked.")
    counts: OutcomeCounts = strawberry.field(description="How many records met which outcome.")
    deleted_count: int = strawberry.field(
        description="How many known records the service deleted. They are not read, and not in `counts`."
    )
    kept_silent: KeptSilent = strawberry.field(description="What its changes would otherwise have set off.")
    review: ImportReview | None = strawberry.field(
        description="What somebody has to judge, or had to; null where the run never stopped for a review."
    )
    error: ImportRunError | None = strawberry.field(description="Why it failed, waits or was stopped; else null.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When a worker began.")
    finished_at: datetime | None = strawberry.field(description="When it was over.")

    @classmethod
    def of(cls, row: Run) -> Self:
        counts = row.counts
        return cls(
            id=global_id("ImportRun", row.id),
            key=row.id,
            import_key=row.automatic_import_id,
            trigger=row.trigger,
            state=row.state,
            stopped_by=row.stopped_by,
            waiting_until=row.waiting_until,
            revision=row.revision,
            checks=row.checks,
            last_checked_at=row.last_checked_at,
            counts=OutcomeCounts(
                read=counts.read,
                created=counts.created,
                updated=counts.updated,
                unchanged=counts.unchanged,
                skipped=counts.skipped,
                waiting=counts.waiting,
                failed=counts.failed,
                protected=counts.protected,
            ),
            deleted_count=row.deleted,
            kept_silent=KeptSilent(
                autoresponders=row.kept_silent.autoresponders,
                webhooks=row.kept_silent.webhooks,
                notifications=row.kept_silent.notifications,
            ),
            review=ImportReview.of(row.review) if row.review else None,
            error=ImportRunError(code=row.error.code, message=row.error.message) if row.error else None,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )

    @strawberry.field(description="The automatic import that ran; null once that is deleted.")
    async def automatic_import(
        self, info: Info
    ) -> Annotated["AutomaticImport", strawberry.lazy("api.automatic_imports")] | None:
        row = await loaders(info).automatic_import.load(self.import_key)
        return show(row) if row is not None else None

    @strawberry.field(
        description="What became of the records, where that differs from the time before, in order. Kept for 30 days."
    )
    async def outcomes(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[OutcomeFilter | None, strawberry.argument(description="Which outcomes.")] = None,  # noqa: A002
    ) -> Connection[RecordOutcome]:
        page = span(OUTCOMES, first=first, after=after, last=last, before=before)
        part = PartOf(self.key, page, filter.to_domain() if filter else outcomes.OutcomeFilter())
        return connection(await loaders(info).outcomes_of_run.load(part), OUTCOMES, RecordOutcome.of)

    @strawberry.field(
        description="Where all its outcomes can be downloaded as CSV, by a link in a browser too. The link works for 15"
        " minutes, and for whoever has it: do not keep it. A path of this server, unless it knows its public address."
    )
    def outcomes_csv_url(self, info: Info) -> str:
        return outcomes_csv.url_of_run(viewer(info), self.key)


@strawberry.input(description="Which runs; all that is given counts.")
class ImportRunFilter:
    state: RunState | None = strawberry.field(default=None, description="Those in this state.")
    trigger: RunTrigger | None = strawberry.field(default=None, description="Those that started for this reason.")
    automatic_import_id: strawberry.ID | None = strawberry.field(default=None, description="Those of this import.")

    def to_domain(self) -> run_history.RunFilter:
        import_id = self.automatic_import_id
        return run_history.RunFilter(
            state=self.state,
            trigger=self.trigger,
            automatic_import_id=key_of("AutomaticImport", import_id) if import_id is not None else None,
        )


@strawberry.type
class ImportRunQueries:
    @strawberry.field(description="The runs of the account's automatic imports, newest first.")
    async def import_runs(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[ImportRunFilter | None, strawberry.argument(description="Which runs.")] = None,  # noqa: A002
    ) -> Connection[ImportRun]:
        page = span(RUNS, first=first, after=after, last=last, before=before)
        wanted = filter.to_domain() if filter else run_history.RunFilter()
        return connection(await run_history.page(account_id(info), page, wanted), RUNS, ImportRun.of)


node_type("ImportRun", Run, read=run_history.by_ids, show=ImportRun.of)
