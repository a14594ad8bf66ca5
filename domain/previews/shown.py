"""A preview as it is shown: what its row says, in the domain's own terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.enums import Outcome, OutcomeCode, OutcomeNote, ReviewKind, TaskState
from domain.previews.deletions import Deletions
from domain.records import FieldType


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """How many records would meet an outcome, for one reason."""

    outcome: Outcome
    code: OutcomeCode | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of the records, and what would become of it."""

    external_id: str
    email: str | None
    outcome: Outcome
    code: OutcomeCode | None
    notes: Sequence[OutcomeNote]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedField:
    """A field that would be made."""

    title: str
    type: FieldType
    personalization_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitEffect:
    """The account's ACTIVE contacts before and after, the limit then, and how many records would wait for room.

    `waiting_before` wait already, whom nobody new comes before; `let_in` of all who wait become contacts.
    """

    active: int
    active_after: int
    limit: int
    waiting: int
    waiting_before: int
    let_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenReview:
    """What the run would stop for, once it has dealt with `read` records, until somebody has judged."""

    kind: ReviewKind
    read: int
    known: int
    affected: int
    blanked: int
    address_changed: int
    consent_lowered: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPreviewRow:
    """A preview as it is shown. Until it is COMPLETED, all but the request is what is known so far.

    `records_read` is how many the service sent; `reasons` add up to what a run would count as read, were its `reviews`
    approved; `cost` is what that, and those let in before and after, take of the cap. `deletions` is None where
    nothing can be told of them.
    """

    id: UUID
    external_account_id: UUID
    automatic_import_id: UUID | None
    service: str
    criteria: Mapping[str, Any]
    state: TaskState
    created_at: datetime
    finished_at: datetime | None
    waiting_until: datetime | None
    records_read: int
    remaining: int | None
    is_estimate: bool
    reasons: Sequence[Reason]
    protected: int
    cost: int
    fields: Sequence[PreviewedField]
    limit: LimitEffect | None
    reviews: Sequence[ForeseenReview]
    deletions: Deletions | None
    cycles: int | None
    expected_finish_at: datetime | None
    examples: Sequence[Example]
    error_code: str | None
    error_message: str | None

    def count(self, outcome: Outcome) -> int:
        """How many records would meet this outcome."""
        return sum(reason.count for reason in self.reasons if reason.outcome is outcome)


async def by_ids(account_id: UUID, preview_ids: Sequence[UUID]) -> dict[UUID, ImportPreviewRow]:
    """Those of the previews that the account has."""
    rows = await database.fetch(
        "SELECT p.*, e.service FROM import_preview p"
        " JOIN external_account e ON e.account_id = p.account_id AND e.id = p.external_account_id"
        " WHERE p.account_id = $1 AND p.id = ANY($2::uuid[])",
        account_id,
        list(preview_ids),
    )
    return {row["id"]: _row(row) for row in rows}


def _row(row: asyncpg.Record) -> ImportPreviewRow:
    result = orjson.loads(row["result"])
    counts = [Reason(outcome=Outcome(o), code=_code(c), count=n) for o, c, n in result.get("counts", ())]
    return ImportPreviewRow(
        id=row["id"],
        external_account_id=row["external_account_id"],
        automatic_import_id=row["automatic_import_id"],
        service=row["service"],
        criteria=orjson.loads(row["input"])["criteria"],
        state=TaskState(row["state"]),
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        waiting_until=_moment(result.get("waiting_until")),
        records_read=result.get("records", 0),
        remaining=result.get("remaining"),
        is_estimate=result.get("is_estimate", False),
        reasons=sorted(counts, key=lambda each: (list(Outcome).index(each.outcome), each.code or "")),
        protected=result.get("protected", 0),
        cost=result.get("cost", 0),
        fields=[
            PreviewedField(title=each["title"], type=FieldType(each["type"]), personalization_tag=each["tag"])
            for each in result.get("fields", ())
        ],
        limit=_limit(result),
        reviews=[_review(each) for each in result.get("reviews", ())],
        deletions=Deletions(**found) if (found := result.get("deletions")) else None,
        cycles=result.get("cycles"),
        expected_finish_at=_moment(result.get("expected_finish_at")),
        examples=[_example(each) for each in result.get("examples", ())],
        error_code=result.get("error_code"),
        error_message=row["error_message"],
    )


def _limit(result: Mapping[str, Any]) -> LimitEffect | None:
    if "limit" not in result:
        return None
    waiting = sum(count for outcome, _, count in result["counts"] if outcome == Outcome.WAITING)
    return LimitEffect(
        active=result["active"],
        active_after=result["active_after"],
        limit=result["limit"],
        waiting=waiting,
        waiting_before=result.get("waiting_before", 0),
        let_in=result.get("let_in", 0),
    )


def _review(stored: Mapping[str, Any]) -> ForeseenReview:
    kinds = ("blanked", "address_changed", "consent_lowered", "missing")
    return ForeseenReview(
        kind=ReviewKind(stored["kind"]),
        read=stored["read"],
        known=stored["known"],
        affected=stored["affected"],
        **{name: stored.get(name, 0) for name in kinds},
    )


def _example(stored: Mapping[str, Any]) -> Example:
    return Example(
        external_id=stored["external_id"],
        email=stored["email"],
        outcome=Outcome(stored["outcome"]),
        code=_code(stored["code"]),
        notes=[OutcomeNote(note) for note in stored["notes"]],
    )


def _code(stored: str | None) -> OutcomeCode | None:
    return OutcomeCode(stored) if stored else None


def _moment(stored: str | None) -> datetime | None:
    return datetime.fromisoformat(stored) if stored else None
