"""Reading runs: the history of imports, and the state that watchers follow."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.enums import ReviewKind, RunState, RunStop, RunTrigger
from domain.import_runs import RunError
from domain.keyset import Select, Slice, Span
from domain.settings import settings

COLUMNS = """id, automatic_import_id, trigger, state, stopped_by, waiting_until, revision, checks, last_checked_at,
    read_count, created_count, updated_count, unchanged_count, skipped_count, waiting_count, failed_count,
    protected_count, deleted_count, silenced_autoresponders, silenced_webhooks, silenced_notifications,
    error_code, error_message, review, created_at, started_at, finished_at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many records met which outcome; all but `protected` add up to `read` (R17)."""

    read: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    waiting: int
    failed: int
    protected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSilent:
    """What the run's changes would have set off, had they come in another way (R10)."""

    autoresponders: int
    webhooks: int
    notifications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewExample:
    """One record that a review is about, with the values that would change, by column or the field's source key."""

    external_id: str
    email: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Why a run stopped for somebody to judge: what it would do, out of how many `known` records."""

    kind: ReviewKind
    known: int
    affected: int
    blanked: int
    address_changed: int
    consent_lowered: int
    missing: int
    examples: Sequence[ReviewExample]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """Which import a run belongs to, also once that is deleted, and when the run was asked for."""

    import_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it is shown."""

    id: UUID
    automatic_import_id: UUID
    trigger: RunTrigger
    state: RunState
    stopped_by: RunStop | None
    waiting_until: datetime | None
    revision: int
    checks: int
    last_checked_at: datetime | None
    counts: Counts
    deleted: int
    kept_silent: KeptSilent
    review: Review | None
    error: RunError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen in this run."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; all that is given counts."""

    state: RunState | None = None
    trigger: RunTrigger | None = None
    automatic_import_id: UUID | None = None


FINAL_STATES = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.UNDONE})


async def page(account_id: UUID, span: Span, wanted: RunFilter) -> Slice[Run]:
    """A slice of the account's runs, newest first."""
    select = _select(account_id, wanted)
    if wanted.automatic_import_id is not None:
        select.where("automatic_import_id = {}", wanted.automatic_import_id)
    return await select.slice(span, _row)


async def of_imports(
    account_id: UUID, import_ids: Sequence[UUID], span: Span, wanted: RunFilter
) -> dict[UUID, Slice[Run]]:
    """A slice of each import's runs, newest first."""
    return await _select(account_id, wanted).slices(span, _row, parent="automatic_import_id", parent_ids=import_ids)


async def by_ids(account_id: UUID, run_ids: Collection[UUID]) -> dict[UUID, Run]:
    """Those of the runs that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM import_run WHERE account_id = $1 AND id = ANY($2::uuid[])", account_id, list(run_ids)
    )
    return {row["id"]: _row(row) for row in rows}


async def is_draining(account_id: UUID, run_id: UUID) -> bool:
    """Whether more of those who waited for room may yet be counted in the run: it is COMPLETED from its first page on.

    They are let in by a background task, or by a cycle, which shows a sign of life with every page.
    """
    rows = await database.fetch(
        """
        SELECT FROM import_run r WHERE r.account_id = $1 AND r.id = $2 AND r.trigger = 'ROOM' AND (EXISTS (
            SELECT FROM background_task t
            WHERE t.account_id = r.account_id AND t.kind = 'DRAIN_WAITING_ROOM' AND t.state = 'RUNNING'
                -- Its first page is stored a moment before the task keeps the run's id.
                AND coalesce(t.progress->>r.automatic_import_id::text, r.id::text) = r.id::text
        ) OR r.last_checked_at > now() - $3::interval AND EXISTS (
            SELECT FROM automatic_import i
            JOIN external_account e ON e.account_id = i.account_id AND e.id = i.external_account_id
            WHERE i.account_id = r.account_id AND i.id = r.automatic_import_id AND e.lease_expires_at > now()))
        """,
        account_id, run_id, timedelta(seconds=settings().lease_seconds),
    )  # fmt: skip
    return bool(rows)


async def source_of(account_id: UUID, run_id: UUID) -> RunSource | None:
    """Where the run belongs; None where the account has no such run."""
    rows = await database.fetch(
        "SELECT i.name, r.created_at FROM import_run r"
        " JOIN automatic_import i ON i.account_id = r.account_id AND i.id = r.automatic_import_id"
        " WHERE r.account_id = $1 AND r.id = $2",
        account_id,
        run_id,
    )
    return RunSource(import_name=rows[0]["name"], created_at=rows[0]["created_at"]) if rows else None


async def last_of_imports(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, Run]:
    """Each import's open run, else its last; imports that never ran are missing."""
    found = await of_imports(account_id, import_ids, Span(limit=1), RunFilter())
    return {import_id: runs.rows[0] for import_id, runs in found.items() if runs.rows}


async def last_of_account(account_id: UUID) -> list[Run]:
    """The open run, else the last, of each of the account's automatic imports."""
    rows = await database.fetch(
        f"SELECT runs.* FROM automatic_import i CROSS JOIN LATERAL (SELECT {COLUMNS} FROM import_run"
        " WHERE account_id = $1 AND automatic_import_id = i.id ORDER BY id DESC LIMIT 1) AS runs"
        " WHERE i.account_id = $1 AND i.deleted_at IS NULL",
        account_id,
    )
    return [_row(row) for row in rows]


def _select(account_id: UUID, wanted: RunFilter) -> Select:
    select = Select(COLUMNS, "import_run", account_id=account_id, descending=True)
    if wanted.state is not None:
        select.where("state = {}", wanted.state)
    if wanted.trigger is not None:
        select.where("trigger = {}", wanted.trigger)
    return select


def _row(row: asyncpg.Record) -> Run:
    return Run(
        id=row["id"],
        automatic_import_id=row["automatic_import_id"],
        trigger=RunTrigger(row["trigger"]),
        state=RunState(row["state"]),
        stopped_by=RunStop(row["stopped_by"]) if row["stopped_by"] else None,
        waiting_until=row["waiting_until"],
        revision=row["revision"],
        checks=row["checks"],
        last_checked_at=row["last_checked_at"],
        counts=Counts(
            read=row["read_count"],
            created=row["created_count"],
            updated=row["updated_count"],
            unchanged=row["unchanged_count"],
            skipped=row["skipped_count"],
            waiting=row["waiting_count"],
            failed=row["failed_count"],
            protected=row["protected_count"],
        ),
        deleted=row["deleted_count"],
        kept_silent=KeptSilent(
            autoresponders=row["silenced_autoresponders"],
            webhooks=row["silenced_webhooks"],
            notifications=row["silenced_notifications"],
        ),
        review=_review(orjson.loads(row["review"])) if row["review"] else None,
        error=RunError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None,
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def _review(stored: Mapping[str, Any]) -> Review:
    figures = ("known", "affected", "blanked", "address_changed", "consent_lowered", "missing")
    return Review(
        kind=ReviewKind(stored["kind"]),
        **{name: stored.get(name, 0) for name in figures},
        examples=[
            ReviewExample(
                external_id=example["external_id"],
                email=example.get("email"),
                before=example.get("before") or {},
                after=example.get("after") or {},
            )
            for example in stored.get("examples", ())
        ],
    )
