"""The credentials to use now: those that end are renewed before, by one process at a time, and stored before use.

Many services take a refresh token once. So whoever renews holds a right to it, a moment in the row, not a lock: the
service's answer can take long, and nothing waits for it but who wants these credentials. The new ones are stored only
where the old ones still are: a reconnect or a disconnect meanwhile wins.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain import database
from domain.catalogue import Renewal
from domain.credentials import seal_json, unseal_json

MARGIN = timedelta(minutes=5)
"""So long before their end credentials are renewed. Clocks may be that far apart; beyond, the service refuses them."""
LONGEST_RENEWAL = timedelta(seconds=15)
"""How long asking the service may take."""
RIGHT = LONGEST_RENEWAL + timedelta(seconds=5)
"""After this long whoever renews is taken for dead."""
LOOK_EVERY = 0.1
"""Seconds, while somebody else renews."""
PAUSES = (0.1, 1.0, 3.0)
"""Seconds, between the attempts to store what the service gave."""

Credentials = dict[str, Any]


async def usable(
    account_id: UUID, external_account_id: UUID, renewal: Renewal | None, *, refused: Mapping[str, Any] | None = None
) -> Credentials | None:
    """The external account's credentials, renewed where they end soon, or are those that the service `refused`.

    None where it is disconnected. Raises what `renewal.renew` raises; what is stored then stays.
    """
    seen: Credentials | None = None
    while True:
        stored = await _stored(account_id, external_account_id)
        if stored is None or renewal is None or not renewal.is_renewable(stored):
            return stored
        # Other ones than before: somebody renewed them, or reconnected.
        is_due = stored == refused if refused is not None else ends_soon(renewal.expires_at(stored))
        if not is_due or (seen is not None and stored != seen):
            return stored
        seen = stored
        until = await _begin(account_id, external_account_id)
        if until is None:
            await asyncio.sleep(LOOK_EVERY)
            continue
        work = asyncio.create_task(_renew(account_id, external_account_id, renewal, seen, until))
        return await _finished(work)


def ends_soon(expires_at: datetime | None) -> bool:
    """Whether credentials that end then are renewed before they are used."""
    return expires_at is not None and expires_at - MARGIN <= datetime.now(UTC)


async def _finished(work: "asyncio.Task[Credentials | None]") -> Credentials | None:
    """Its result. Whoever is cancelled waits for it too: what the service gave by then would be lost."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            # Also whoever is cancelled again.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            # Nobody is left to be told of a failure, and asyncio complains of one that nobody looked at.
            work.exception()
        raise


async def _renew(
    account_id: UUID, external_account_id: UUID, renewal: Renewal, old: Credentials, until: datetime
) -> Credentials | None:
    try:
        # Between the look and the right to renew somebody may have renewed them.
        current = await _stored(account_id, external_account_id)
        if current != old:
            return current
        new = await renewal.renew(old)
        for pause in PAUSES:
            # Without a database for a moment the only pair that the service still takes would be lost.
            with suppress(*database.UNAVAILABLE):
                return await _keep(account_id, external_account_id, old, new)
            await asyncio.sleep(pause)
        return await _keep(account_id, external_account_id, old, new)
    finally:
        await database.fetch(
            "UPDATE external_account SET renewing_until = NULL"
            " WHERE account_id = $1 AND id = $2 AND renewing_until = $3",
            account_id, external_account_id, until,
        )  # fmt: skip


async def _stored(account_id: UUID, external_account_id: UUID) -> Credentials | None:
    rows = await database.fetch(
        "SELECT credentials FROM external_account WHERE account_id = $1 AND id = $2 AND credentials IS NOT NULL",
        account_id, external_account_id,
    )  # fmt: skip
    return unseal_json(rows[0]["credentials"], row=external_account_id) if rows else None


async def _begin(account_id: UUID, external_account_id: UUID) -> datetime | None:
    """The right to renew, by the moment that it ends; None while somebody else has it."""
    rows = await database.fetch(
        "UPDATE external_account SET renewing_until = clock_timestamp() + $3"
        " WHERE account_id = $1 AND id = $2 AND coalesce(renewing_until <= clock_timestamp(), true)"
        " RETURNING renewing_until",
        account_id, external_account_id, RIGHT,
    )  # fmt: skip
    return rows[0]["renewing_until"] if rows else None


async def _keep(
    account_id: UUID, external_account_id: UUID, old: Credentials, new: Mapping[str, Any]
) -> Credentials | None:
    """Store the new credentials where the old ones still are. Returns what is stored then."""
    async with database.transaction() as connection:
        sealed = await connection.fetchval(
            "SELECT credentials FROM external_account WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE",
            account_id, external_account_id,
        )  # fmt: skip
        current = unseal_json(sealed, row=external_account_id) if sealed is not None else None
        # By their content: under another key of the ring they are still the same.
        if current != old:
            return current
        fresh = seal_json(new, row=external_account_id)
        await connection.execute(
            "UPDATE external_account SET credentials = $3 WHERE account_id = $1 AND id = $2",
            account_id, external_account_id, fresh,
        )  # fmt: skip
    return unseal_json(fresh, row=external_account_id)
