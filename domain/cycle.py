"""The half-hourly pass over one external account: who is due, who holds the lease, which window it is (R1, R4).

The claim is the only way a cycle starts. Windows of one external account follow each other at a phase of its own,
so that cycles spread evenly over the interval; after downtime one cycle catches up, in the window that is then.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from domain import database, waiting_room
from domain.cap import left_of_cap
from domain.database import Connection
from domain.errors import LeaseLost
from domain.import_runs import OPEN
from domain.running import HAS_CYCLES, RUNS
from domain.settings import settings
from domain.turns import IS_DUE

FIRST_BACK_OFF = timedelta(seconds=30)
LONGEST_BACK_OFF = timedelta(minutes=15)
AT_ONCE = datetime.min.replace(tzinfo=UTC)
"""A moment that is over by any clock, for `release`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueImport:
    """An import that is to be served in this cycle.

    `has_run`: one is open, be it queued or left behind. `is_settled`: neither a deletion nor a due ledger row comes
    before what the service has.
    """

    id: UUID
    revision: int
    checkpoint: Mapping[str, Any] | None
    criteria: Mapping[str, Any]
    has_run: bool
    is_settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleWork:
    """The imports of one external account that are due, those that waited longest first. `credentials` are sealed.

    `has_waiting`: somebody of the account is in its waiting room.
    """

    service: str
    credentials: bytes = field(repr=False)
    window_ends_at: datetime
    cap_left: int
    has_waiting: bool
    imports: Sequence[DueImport]


@dataclass(slots=True, kw_only=True)
class Claim:
    """One cycle, held under a lease. `renewed_at` is of `time.monotonic`."""

    account_id: UUID
    external_account_id: UUID
    lease_token: UUID
    renewed_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def is_fresh(self) -> bool:
        """Whether the last sign of life was but a moment ago."""
        return time.monotonic() - self.renewed_at < settings().lease_seconds / 9


CLAIM_DUE = f"""
WITH on_time AS (
    SELECT account_id, id FROM external_account e
    WHERE lease_token IS NULL AND {HAS_CYCLES} AND next_cycle_at <= now()
    ORDER BY next_cycle_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), abandoned AS (
    SELECT account_id, id FROM external_account WHERE lease_token IS NOT NULL AND lease_expires_at < now()
    ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    SELECT * FROM abandoned UNION ALL SELECT * FROM on_time LIMIT $1
), slots AS (
    SELECT account_id, id, $3::float8 AS seconds,
        (hashtext(id::text)::bigint + 2147483648) / 4294967296.0 * $3::float8 AS phase
    FROM due
), next AS (
    SELECT account_id, id, to_timestamp(
        (floor((extract(epoch FROM now()) - phase) / seconds) + 1) * seconds + phase) AS slot
    FROM slots
)
UPDATE external_account e SET
    lease_token = gen_random_uuid(), lease_expires_at = now() + $2,
    window_used = CASE WHEN e.window_ends_at > now() THEN e.window_used ELSE 0 END,
    window_ends_at = CASE WHEN e.window_ends_at > now() THEN e.window_ends_at ELSE next.slot END,
    next_cycle_at = CASE WHEN e.window_ends_at > now() THEN e.window_ends_at ELSE next.slot END
FROM next WHERE e.account_id = next.account_id AND e.id = next.id
RETURNING e.account_id, e.id, e.lease_token
"""


async def claim_due(limit: int) -> Sequence[Claim]:
    """Up to `limit` external accounts whose cycle is due, or whose worker gave no sign of life, leased to us.

    A window that has ended gives way to the next, with the whole cap.
    """
    rows = await database.fetch(
        CLAIM_DUE, limit, timedelta(seconds=settings().lease_seconds), settings().cycle_seconds,
    )  # fmt: skip
    return [
        Claim(account_id=row["account_id"], external_account_id=row["id"], lease_token=row["lease_token"])
        for row in rows
    ]


HAS_RUN = f"""
EXISTS (SELECT FROM import_run r WHERE r.account_id = i.account_id AND r.automatic_import_id = i.id
    AND r.state IN {OPEN})
"""


async def work_of(claim: Claim) -> CycleWork | None:
    """What the cycle has to do; None where the external account cannot be read any more. A sign of life, as `renew`."""
    rows = await database.fetch(
        f"""
        WITH e AS (
            UPDATE external_account SET lease_expires_at = now() + $4
            WHERE account_id = $1 AND id = $2 AND lease_token = $3
            RETURNING account_id, id, service, health, credentials, window_ends_at, window_used
        )
        SELECT e.service, e.health, e.credentials, e.window_ends_at, e.window_used,
            i.id, i.revision, i.checkpoint::text, i.criteria::text, {HAS_RUN} AS has_run,
            NOT EXISTS (SELECT FROM missing_record
                WHERE account_id = i.account_id AND automatic_import_id = i.id AND confirmed)
            AND NOT {IS_DUE} AS is_settled,
            {waiting_room.IS_USED} AS has_waiting
        FROM e LEFT JOIN automatic_import i ON i.account_id = e.account_id
            AND i.external_account_id = e.id AND {RUNS}
            AND (i.next_attempt_at IS NULL OR i.next_attempt_at <= now())
            AND (i.served_window_ends_at IS DISTINCT FROM e.window_ends_at OR {HAS_RUN})
        ORDER BY i.served_window_ends_at NULLS FIRST, i.id
        """,
        claim.account_id, claim.external_account_id, claim.lease_token, timedelta(seconds=settings().lease_seconds),
    )  # fmt: skip
    if not rows:
        raise LeaseLost
    if rows[0]["health"] != "HEALTHY" or rows[0]["credentials"] is None:
        return None
    imports = [
        DueImport(
            id=row["id"],
            revision=row["revision"],
            checkpoint=orjson.loads(row["checkpoint"]) if row["checkpoint"] else None,
            criteria=orjson.loads(row["criteria"]),
            has_run=row["has_run"],
            is_settled=row["is_settled"],
        )
        for row in rows
        if row["id"] is not None
    ]
    return CycleWork(
        service=rows[0]["service"],
        credentials=rows[0]["credentials"],
        window_ends_at=rows[0]["window_ends_at"],
        cap_left=left_of_cap(rows[0]["window_used"]),
        has_waiting=rows[0]["has_waiting"],
        imports=imports,
    )


async def renew(claim: Claim) -> None:
    """A sign of life, before anything that takes long. Raises LeaseLost where another worker took over."""
    claim.renewed_at = time.monotonic()
    await _update(claim, "lease_expires_at = now() + $4", timedelta(seconds=settings().lease_seconds))


async def needs_reconnect(claim: Claim, *, reason: str) -> None:
    """The service no longer accepts the credentials: stop polling until someone reconnects (R15)."""
    # Disconnected meanwhile, it stays so: what was revoked there is refused here.
    await _update(
        claim,
        "health = CASE WHEN credentials IS NULL THEN health ELSE 'NEEDS_RECONNECT' END,"
        " health_reason = CASE WHEN credentials IS NULL THEN health_reason ELSE $4 END, next_cycle_at = NULL",
        reason,
    )


async def respect(claim: Claim, *, until: datetime) -> None:
    """The service wants to be left alone until then, whoever asks for a cycle meanwhile."""
    await _update(claim, "not_before = $4", until)


async def back_off(claim: Claim) -> timedelta:
    """How long to leave a service alone that did not say: 30 s, doubled with each failure in a row, at most 15 min."""
    failures = await _update(claim, "transient_failures = transient_failures + 1")
    wait: timedelta = min(FIRST_BACK_OFF * 2 ** min(failures - 1, 10), LONGEST_BACK_OFF)
    # Spread, so that all who found a service down do not come back together.
    return wait * random.uniform(0.8, 1.2)  # noqa: S311


async def _update(claim: Claim, assignments: str, *values: object) -> int:
    """Set columns of the leased row. Returns its number of failures in a row."""
    rows = await database.fetch(
        f"UPDATE external_account SET {assignments} WHERE account_id = $1 AND id = $2 AND lease_token = $3"
        " RETURNING transient_failures",
        claim.account_id, claim.external_account_id, claim.lease_token, *values,
    )  # fmt: skip
    if not rows:
        raise LeaseLost
    failures: int = rows[0]["transient_failures"]
    return failures


async def release(claim: Claim, *, again_at: datetime | None = None) -> None:
    """Give the lease back. `again_at` is when to come back, where that is not the next window.

    No cycle is planned where none of the imports could use it. A lease that is lost already is left alone.
    """
    async with database.transaction() as connection:
        # Held first: the imports are then as the last edit left them, not as they were before we waited for it.
        held = await connection.fetchval(
            "SELECT lease_token FROM external_account WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE",
            claim.account_id, claim.external_account_id,
        )  # fmt: skip
        if held != claim.lease_token:
            return
        await connection.execute(
            f"""
            UPDATE external_account e SET lease_token = NULL, lease_expires_at = NULL,
                next_cycle_at = CASE
                    WHEN NOT {HAS_CYCLES} OR NOT EXISTS (
                        SELECT FROM automatic_import i WHERE i.account_id = e.account_id
                            AND i.external_account_id = e.id AND {RUNS}) THEN NULL
                    -- What was asked for during the cycle ("run now") stays asked for.
                    ELSE greatest(e.not_before,
                        CASE WHEN e.next_cycle_at <= now() OR $3::timestamptz IS NULL THEN e.next_cycle_at
                            ELSE greatest($3, now()) END)
                END
            WHERE account_id = $1 AND id = $2
            """,
            claim.account_id, claim.external_account_id, again_at,
        )  # fmt: skip


async def ask_for(connection: Connection, account_id: UUID, external_account_id: UUID) -> None:
    """A cycle is wanted now, or as soon as the service wants to be asked again."""
    await connection.execute(
        "UPDATE external_account e SET next_cycle_at = greatest(now(), not_before)"
        f" WHERE account_id = $1 AND id = $2 AND {HAS_CYCLES}",
        account_id, external_account_id,
    )  # fmt: skip
