"""The transaction of a user's changes of contacts: what it holds, and what it writes, over arrays.

Lock order of the house: lists and tags that are wanted, the account where the number of ACTIVE contacts may change,
contacts by email_key.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

import asyncpg
import orjson

from domain import contact_limit, database, suppressions
from domain.contacts.plan import Change
from domain.contacts.reading import COLUMNS, Contact, contact_of
from domain.database import Connection
from domain.effects import Origin, announce
from domain.enums import ContactStatus

ATTEMPTS = 5
MAX_CONTACTS = 500
"""Per transaction, so that nobody waits long behind it."""

Result = TypeVar("Result")


class ContactAppeared(Exception):
    """Someone created a contact with one of the addresses meanwhile: decide again."""


async def in_transaction(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do `work` in one transaction; again where it met a change of somebody else's."""
    for _ in range(ATTEMPTS):
        try:
            async with database.transaction() as connection:
                return await work(connection)
        except (ContactAppeared, asyncpg.DeadlockDetectedError):
            continue
    message = f"could not change contacts in {ATTEMPTS} attempts: too many concurrent changes of the same ones"
    raise asyncpg.DeadlockDetectedError(message)


async def hold_contacts(
    connection: Connection, account_id: UUID, *, ids: Iterable[UUID] = (), keys: Iterable[str] = ()
) -> list[Contact]:
    """Those of the contacts that there are, held until the transaction ends."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM contact WHERE account_id = $1 AND (id = ANY($2::uuid[]) OR email_key = ANY($3::text[]))"
        " ORDER BY email_key FOR NO KEY UPDATE",
        account_id, list(ids), list(keys),
    )  # fmt: skip
    return [contact_of(row) for row in rows]


async def subscriptions_of(
    connection: Connection, account_id: UUID, contact_ids: Sequence[UUID]
) -> dict[UUID, Mapping[UUID, ContactStatus]]:
    """The status of each subscription, by contact and list."""
    rows = await connection.fetch(
        "SELECT contact_id, list_id, status FROM subscription WHERE account_id = $1 AND contact_id = ANY($2::uuid[])",
        account_id, contact_ids,
    )  # fmt: skip
    found: dict[UUID, dict[UUID, ContactStatus]] = {}
    for row in rows:
        found.setdefault(row["contact_id"], {})[row["list_id"]] = ContactStatus(row["status"])
    return {**found}


async def tags_of(connection: Connection, account_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, frozenset[UUID]]:
    """The tags of each contact."""
    rows = await connection.fetch(
        "SELECT contact_id, array_agg(tag_id) AS tag_ids FROM contact_tag"
        " WHERE account_id = $1 AND contact_id = ANY($2::uuid[]) GROUP BY contact_id",
        account_id, contact_ids,
    )  # fmt: skip
    return {row["contact_id"]: frozenset(row["tag_ids"]) for row in rows}


async def write(connection: Connection, account_id: UUID, changes: Sequence[Change]) -> bool:
    """Write the changes, with what follows from them. The account is held where the number of ACTIVE ones changes.

    Returns whether there may now be work for the workers.
    """
    changes = [change for change in changes if change]
    created = {change.after.id for change in changes if change.before is None}
    # Two wishes may concern the same contact: each is written once, as it ends up.
    final = {change.after.id: change.after for change in changes}
    await _insert(connection, account_id, [contact for key, contact in final.items() if key in created])
    await _update(connection, account_id, [contact for key, contact in final.items() if key not in created])
    await subscribe(connection, account_id, changes)
    await add_tags(connection, account_id, [(change.after.id, tag) for change in changes for tag in change.tags])
    await _keep_low(connection, account_id, changes)
    addresses = [change.new_address for change in changes if change.new_address is not None]
    await suppressions.lift_tombstones(connection, account_id, addresses)
    called = await contact_limit.tell_waiting(connection, account_id, addresses)
    delta = sum(change.active_delta for change in changes)
    await contact_limit.count_active(connection, account_id, delta)
    announce(Origin.API, [change.effect for change in changes])
    return called or delta < 0


async def touch(connection: Connection, account_id: UUID, contact_id: UUID) -> None:
    """A user changed what hangs on the contact."""
    await connection.execute(
        "UPDATE contact SET edited_at = clock_timestamp(), updated_at = clock_timestamp()"
        " WHERE account_id = $1 AND id = $2",
        account_id, contact_id,
    )  # fmt: skip


async def add_tags(connection: Connection, account_id: UUID, tags: Sequence[tuple[UUID, UUID]]) -> None:
    """Give contacts tags, as (contact id, tag id)."""
    if tags:
        await connection.execute(
            "INSERT INTO contact_tag (account_id, contact_id, tag_id)"
            " SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[]) u ON CONFLICT DO NOTHING",
            account_id, *zip(*tags, strict=True),
        )  # fmt: skip


async def _insert(connection: Connection, account_id: UUID, contacts: Sequence[Contact]) -> None:
    if not contacts:
        return
    inserted = await connection.execute(
        """
        INSERT INTO contact (account_id, id, email, email_key, first_name, last_name, phone, status, field_values,
            edited_at)
        SELECT $1, u.*, clock_timestamp() FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::jsonb[]) u
        ON CONFLICT (account_id, email_key) DO NOTHING
        """,
        account_id, *_columns(contacts),
    )  # fmt: skip
    if int(inserted.rpartition(" ")[2]) != len(contacts):
        raise ContactAppeared


async def _update(connection: Connection, account_id: UUID, contacts: Sequence[Contact]) -> None:
    if not contacts:
        return
    try:
        # Whether a user came before or after a page is told by the clock: the transaction may have waited for it.
        await connection.execute(
            """
            UPDATE contact c SET email = u.email, email_key = u.email_key, first_name = u.first_name,
                last_name = u.last_name, phone = u.phone, status = u.status, field_values = u.field_values,
                updated_at = clock_timestamp(), edited_at = clock_timestamp()
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::jsonb[]) u (id, email, email_key, first_name, last_name, phone, status, field_values)
            WHERE c.account_id = $1 AND c.id = u.id
            """,
            account_id, *_columns(contacts),
        )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise ContactAppeared from error


def _columns(contacts: Sequence[Contact]) -> list[list[object]]:
    return [
        [contact.id for contact in contacts],
        [contact.email for contact in contacts],
        [contact.email_key for contact in contacts],
        [contact.first_name for contact in contacts],
        [contact.last_name for contact in contacts],
        [contact.phone for contact in contacts],
        [contact.status.value for contact in contacts],
        [orjson.dumps(contact.field_values).decode() for contact in contacts],
    ]


async def subscribe(connection: Connection, account_id: UUID, changes: Sequence[Change]) -> None:
    """Write the changes' subscriptions. The database refuses a raise unless the transaction names the acting user."""
    statuses = {(change.after.id, list_id): lists for change in changes for list_id, lists in change.lists.items()}
    if statuses:
        await connection.execute(
            "INSERT INTO subscription (account_id, contact_id, list_id, status)"
            " SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u"
            " ON CONFLICT (account_id, contact_id, list_id) DO UPDATE SET status = excluded.status, updated_at = now()",
            account_id, *zip(*statuses, strict=True), list(statuses.values()),
        )  # fmt: skip


async def _keep_low(connection: Connection, account_id: UUID, changes: Sequence[Change]) -> None:
    """Consent belongs to the address: what was declined outlives the contact under the address that it has now (R9)."""
    lowered = {
        change.after.id
        for change in changes
        if change.before is None or change.new_address or change.before.status is not change.after.status
    }
    if lowered:
        await suppressions.suppress_contacts(connection, account_id, list(lowered))
