"""Retrying records that were skipped or failed, because a user asks for it (R18).

What the ledger keeps of a record is ingested again, before anything new is read: it costs one of the cap, and its
outcomes go to a run with the trigger RETRY. A record that the database refused, or of somebody who was deleted here, is
not kept: it is read again.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from domain import automatic_imports, cycle, database, import_runs
from domain.account import Viewer
from domain.audit import record_audit
from domain.database import Connection
from domain.enums import ExternalAccountHealth, ImportState, OutcomeCode, RunTrigger
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.keyset import NO_NUL
from domain.queue import Queue

MAX_EXTERNAL_IDS = 500
MAX_RECORDS = 50_000
"""The most that one call retries: the rest is for the next call."""
AT_ONCE = 500
"""Per transaction, so that nobody waits long behind it."""

NOT_RETRYABLE: Mapping[OutcomeCode, str] = {
    OutcomeCode.NO_EMAIL: "without an email address: add one at the service, and they come in by themselves.",
    OutcomeCode.DUPLICATE_EMAIL: (
        "with the address of another record that came first: they take its place by themselves when it gives it up."
    ),
    OutcomeCode.CONTACT_LIMIT: "waiting for room in the contact limit: they come in by themselves when there is some.",
}
"""What trying again cannot mend, and what can."""
RETRYABLE = frozenset(OutcomeCode) - NOT_RETRYABLE.keys()

# The present truth decides, not the outcome of the time: what is linked by now needs no retry.
_CODE = "coalesce(code, state)"
_OPEN = "state IN ('SKIPPED', 'FAILED', 'WAITING', 'UNDONE')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which records: those that met an outcome in a run, or all of an import; None means whatever code or id."""

    import_run_id: UUID | None = None
    automatic_import_id: UUID | None = None
    codes: Collection[OutcomeCode] | None = None
    external_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What a wish came to: how many records are tried again, and how many are not, by code."""

    automatic_import_id: UUID
    count: int
    not_retryable: Mapping[OutcomeCode, int]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    account_id: UUID
    external_account_id: UUID
    automatic_import_id: UUID


async def retry(viewer: Viewer, wish: Wish, *, queue: Queue) -> Retried:
    """Have the records tried again, at once.

    Refused where the import is unknown, paused, not connected or in review, and where nothing can be retried.
    """
    source = await _source_of(viewer.account_id, wish)
    external_ids, not_retryable = await _candidates(source, wish)
    warnings = [f"{count} {NOT_RETRYABLE[code]}" for code, count in not_retryable.items()]
    if not external_ids:
        async with _holding(source):
            raise Refused(Problem(ErrorCode.INVALID, " ".join(["There is nothing to try again.", *warnings])))
    count = not_kept = deleted_here = 0
    for start in range(0, min(len(external_ids), MAX_RECORDS), AT_ONCE):
        async with _holding(source) as connection:
            marked = await _mark(connection, source, external_ids[start : start + AT_ONCE])
            if not all(kept for kept, _ in marked):
                # With each portion: a reading that began after the last one may have passed these records.
                await automatic_imports.read_all_again(source.account_id, source.automatic_import_id)
            await import_runs.queue(
                connection,
                account_id=source.account_id,
                automatic_import_id=source.automatic_import_id,
                trigger=RunTrigger.RETRY,
            )
            await cycle.ask_for(connection, source.account_id, source.external_account_id)
            await record_audit(viewer, "RECORDS_RETRIED", source.automatic_import_id, count=len(marked))
        count += len(marked)
        not_kept += sum(not kept for kept, _ in marked)
        deleted_here += sum(code == OutcomeCode.DELETED_HERE for _, code in marked)
    if deleted_here:
        warnings.append(
            f"{deleted_here} of people who were deleted here: create the contacts first, or they stay away."
        )
    if not_kept:
        warnings.append(f"The values of {not_kept} are not kept here: all records are read again.")
    if len(external_ids) > MAX_RECORDS:
        warnings.append(f"There are more: one call tries {MAX_RECORDS:,}. Call again when the run is over.")
    await queue.wake()
    return Retried(
        automatic_import_id=source.automatic_import_id,
        count=count,
        not_retryable=not_retryable,
        warnings=warnings,
    )


async def _source_of(account_id: UUID, wish: Wish) -> _Source:
    """The import whose records are wished for; Refused where the wish is no good."""
    if (wish.import_run_id is None) == (wish.automatic_import_id is None):
        raise Refused(Problem(ErrorCode.INVALID, "Give either `importRunId` or `automaticImportId`."))
    if wish.external_ids is not None and len(wish.external_ids) > MAX_EXTERNAL_IDS:
        message = f"Give at most {MAX_EXTERNAL_IDS} ids, not {len(wish.external_ids)}, or none for all."
        raise Refused(Problem(ErrorCode.TOO_LONG, message, ("externalIds",)))
    if any("\0" in external_id for external_id in wish.external_ids or ()):
        raise Refused(Problem(ErrorCode.INVALID, NO_NUL, ("externalIds",)))
    rows = await database.fetch(
        "SELECT id, external_account_id FROM automatic_import WHERE account_id = $1 AND deleted_at IS NULL"
        " AND id = coalesce($2, (SELECT automatic_import_id FROM import_run WHERE account_id = $1 AND id = $3))",
        account_id, wish.automatic_import_id, wish.import_run_id,
    )  # fmt: skip
    if not rows and wish.import_run_id is not None:
        raise not_found("import run", "importRunId")
    if not rows:
        raise not_found("automatic import", "automaticImportId")
    return _Source(
        account_id=account_id, automatic_import_id=rows[0]["id"], external_account_id=rows[0]["external_account_id"]
    )


async def _candidates(source: _Source, wish: Wish) -> tuple[list[str], Mapping[OutcomeCode, int]]:
    """The ids of what can be tried again, one more than a call takes at the most; how many cannot be, by code."""
    wished = f"""
        FROM ledger WHERE account_id = $1 AND automatic_import_id = $2 AND {_OPEN}
            AND ($3::text[] IS NULL OR {_CODE} = ANY($3)) AND ($4::text[] IS NULL OR external_id = ANY($4))
            AND ($5::uuid IS NULL OR external_id IN (
                SELECT external_id FROM outcome WHERE account_id = $1 AND run_id = $5))
        """
    arguments = (
        source.account_id,
        source.automatic_import_id,
        None if wish.codes is None else list(wish.codes),
        None if wish.external_ids is None else list(wish.external_ids),
        wish.import_run_id,
    )
    found = await database.fetch(
        f"SELECT external_id {wished} AND {_CODE} = ANY($6::text[]) ORDER BY external_id LIMIT $7",
        *arguments, list(RETRYABLE), MAX_RECORDS + 1,
    )  # fmt: skip
    others = await database.fetch(
        f"SELECT {_CODE} AS code, count(*) {wished} AND {_CODE} = ANY($6::text[]) GROUP BY 1 ORDER BY 1",
        *arguments, list(NOT_RETRYABLE),
    )  # fmt: skip
    return [row["external_id"] for row in found], {OutcomeCode(row["code"]): row["count"] for row in others}


@asynccontextmanager
async def _holding(source: _Source) -> AsyncIterator[Connection]:
    """A transaction that holds the external account and the import. Refused where that cannot run."""
    async with database.transaction() as connection:
        external = await connection.fetchrow(
            "SELECT health, label FROM external_account WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE",
            source.account_id, source.external_account_id,
        )  # fmt: skip
        # A failing import is tried now, whatever the distance that its failures have reached.
        state = await connection.fetchval(
            "UPDATE automatic_import SET next_attempt_at = NULL"
            " WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING state",
            source.account_id, source.automatic_import_id,
        )  # fmt: skip
        if state is None:
            raise not_found("automatic import", "automaticImportId")
        _require_running(state, external["health"], external["label"])
        yield connection


def _require_running(state: str, health: str, label: str) -> None:
    if health != ExternalAccountHealth.HEALTHY:
        message = f"{label} is not connected any more. Reconnect it first."
        raise Refused(Problem(ErrorCode.NEEDS_RECONNECT, message))
    if state == ImportState.PAUSED:
        raise Refused(Problem(ErrorCode.PAUSED, "This import is paused. Resume it first."))
    if state == ImportState.NEEDS_REVIEW:
        message = "This import waits for your judgement. Approve its run, or drop it, first."
        raise Refused(Problem(ErrorCode.NEEDS_REVIEW, message))


async def _mark(connection: Connection, source: _Source, external_ids: Sequence[str]) -> list[tuple[bool, str]]:
    """Have the records ingested from the ledger, or taken for new when they are read.

    Returns of each whether its values are kept here, and its code.
    """
    rows = await connection.fetch(
        f"""
        UPDATE ledger SET due = record ? 'email', digest = CASE WHEN record ? 'email' THEN digest ELSE ''::bytea END,
            -- What was undone counts as never written: all of it is new, but the source's word on consent.
            applied = CASE WHEN state = 'UNDONE' AND contact_id IS NOT NULL AND record ? 'consent'
                THEN jsonb_build_object('consent', record->'consent', 'values', '{{}}'::jsonb) ELSE applied END
        WHERE account_id = $1 AND external_account_id = $2 AND automatic_import_id = $3
            AND external_id = ANY($4::text[]) AND {_CODE} = ANY($5::text[])
        RETURNING due, code
        """,
        source.account_id, source.external_account_id, source.automatic_import_id, external_ids, list(RETRYABLE),
    )  # fmt: skip
    return [(row["due"], row["code"]) for row in rows]
