"""Asking for a preview, and reading what it came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from uuid_utils.compat import uuid7

from domain import background_tasks, database, external_accounts, import_inputs, targets
from domain.account import Viewer
from domain.catalogue import Catalogue
from domain.enums import Outcome, OutcomeCode, OutcomeNote, OverwritePolicy, TaskKind, TaskState
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.models import AutomaticImport, ImportPreview
from domain.queue import Queue
from domain.records import FieldType

MOST_AT_ONCE = 5
"""Previews of one account, so that nobody else waits long behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """A new import, or with `automatic_import_id` the edit of one; there, None leaves a thing as it is."""

    external_account_id: UUID
    automatic_import_id: UUID | None = None
    criteria: Mapping[str, Any] | None = None
    list_ids: Sequence[UUID] | None = None
    tag_ids: Sequence[UUID] | None = None
    name_policy: OverwritePolicy | None = None
    phone_policy: OverwritePolicy | None = None


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
    """The account's ACTIVE contacts before and after, the limit then, and how many records would wait for room."""

    active: int
    active_after: int
    limit: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPreviewRow:
    """A preview as it is shown. Until it is COMPLETED, all but the request is what is known so far.

    `records_read` is how many the service sent; `reasons` add up to what a run would count as read; `cost` is what that
    takes of the cap.
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
    cycles: int | None
    expected_finish_at: datetime | None
    examples: Sequence[Example]
    error_code: str | None
    error_message: str | None

    def count(self, outcome: Outcome) -> int:
        """How many records would meet this outcome."""
        return sum(reason.count for reason in self.reasons if reason.outcome is outcome)


async def request(viewer: Viewer, wanted: PreviewRequest, *, catalogue: Catalogue, queue: Queue) -> UUID:
    """Ask for a preview, which fills in the background; its id. Refused with every problem of the input at once."""
    account_id = viewer.account_id
    under_way = ImportPreview.filter(account_id=account_id, state__in=[TaskState.QUEUED, TaskState.RUNNING])
    if await under_way.count() >= MOST_AT_ONCE:
        message = f"{MOST_AT_ONCE} previews of your account are under way. Wait until one of them is done."
        raise Refused(Problem(ErrorCode.TOO_MANY, message))
    external_account = await external_accounts.get(account_id, wanted.external_account_id)
    current = await _edited(account_id, wanted)
    criteria = await import_inputs.checked(
        account_id,
        catalogue,
        external_account.service,
        criteria=_first_given(wanted.criteria, current and current.criteria, {}),
        list_ids=wanted.list_ids or (),
        tag_ids=wanted.tag_ids or (),
    )
    list_ids, tag_ids = await _targets(account_id, wanted)
    preview_id = uuid7()
    always = OverwritePolicy.ALWAYS
    async with database.transaction():
        await ImportPreview.create(
            id=preview_id,
            account_id=account_id,
            external_account_id=external_account.id,
            automatic_import_id=wanted.automatic_import_id,
            input={
                "criteria": criteria,
                "list_ids": [str(list_id) for list_id in list_ids],
                "tag_ids": [str(tag_id) for tag_id in tag_ids],
                "name_policy": _first_given(wanted.name_policy, current and current.name_policy, always),
                "phone_policy": _first_given(wanted.phone_policy, current and current.phone_policy, always),
                "starts_over": current is not None and criteria != current.criteria,
            },
        )
        async with database.transaction() as connection:
            await background_tasks.enqueue(connection, account_id, TaskKind.PREVIEW, subject=preview_id)
    await queue.wake()
    return preview_id


async def _edited(account_id: UUID, wanted: PreviewRequest) -> AutomaticImport | None:
    if wanted.automatic_import_id is None:
        return None
    current = await AutomaticImport.get_or_none(account_id=account_id, id=wanted.automatic_import_id, deleted_at=None)
    if current is None:
        raise not_found("automatic import", "automaticImportId")
    if current.external_account_id != wanted.external_account_id:
        message = "This automatic import reads another external account. Give that one."
        raise Refused(Problem(ErrorCode.INVALID, message, ("externalAccountId",)))
    return current


async def _targets(account_id: UUID, wanted: PreviewRequest) -> tuple[Sequence[UUID], Sequence[UUID]]:
    """The lists and tags that are asked for, else those that the import to be edited has."""
    import_id = wanted.automatic_import_id
    list_ids, tag_ids = wanted.list_ids or (), wanted.tag_ids or ()
    if import_id is not None and wanted.list_ids is None:
        list_ids = [row.id for row in (await targets.lists_of_imports(account_id, [import_id]))[import_id]]
    if import_id is not None and wanted.tag_ids is None:
        tag_ids = [row.id for row in (await targets.tags_of_imports(account_id, [import_id]))[import_id]]
    return list(dict.fromkeys(list_ids)), list(dict.fromkeys(tag_ids))


def _first_given(*values: Any) -> Any:
    return next(value for value in values if value is not None)


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
        active=result["active"], active_after=result["active_after"], limit=result["limit"], waiting=waiting
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
