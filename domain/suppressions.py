"""What outlives a contact: suppressions and tombstones, kept under keyed hashes of the address (R9, R13, R23)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.account import email_hash
from domain.credentials import key_ring
from domain.database import Connection
from domain.enums import ContactStatus

Suppressed = Mapping[tuple[str, UUID | None], ContactStatus]
"""The status that an address carries, by email key and list; None stands for all mail."""


async def are_there(connection: Connection, account_id: UUID) -> bool:
    """Whether the account remembers anybody, be it by a suppression or a tombstone."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM suppression WHERE account_id = $1)"
        " OR EXISTS (SELECT FROM tombstone WHERE account_id = $1)",
        account_id,
    )
    return found


async def load(connection: Connection, account_id: UUID, email_keys: Iterable[str]) -> Suppressed:
    """The suppressions of these addresses."""
    hashed = await _hasher(connection, account_id)
    key_of = {hashed(key): key for key in email_keys}
    rows = await connection.fetch(
        "SELECT email_hash, list_id, status FROM suppression WHERE account_id = $1 AND email_hash = ANY($2::bytea[])",
        account_id, list(key_of),
    )  # fmt: skip
    return {(key_of[row["email_hash"]], row["list_id"]): ContactStatus(row["status"]) for row in rows}


async def suppress(connection: Connection, account_id: UUID, low: Suppressed) -> None:
    """Keep what these addresses have declined, or that they bounce; the last word counts."""
    if not low:
        return
    hashed = await _hasher(connection, account_id)
    for conflict, chosen in (
        ("(account_id, email_hash) WHERE list_id IS NULL", [each for each in low if each[1] is None]),
        ("(account_id, email_hash, list_id) WHERE list_id IS NOT NULL", [each for each in low if each[1] is not None]),
    ):
        if chosen:
            await connection.execute(
                "INSERT INTO suppression (account_id, id, email_hash, list_id, status)"
                " SELECT $1, u.* FROM unnest($2::uuid[], $3::bytea[], $4::uuid[], $5::text[]) u"
                f" ON CONFLICT {conflict} DO UPDATE SET status = excluded.status",
                account_id,
                [uuid7() for _ in chosen],
                [hashed(key) for key, _ in chosen],
                [list_id for _, list_id in chosen],
                [low[each] for each in chosen],
            )


async def suppress_contacts(connection: Connection, account_id: UUID, contact_ids: Sequence[UUID]) -> None:
    """Keep what the contacts, and their subscriptions, are held low for under the addresses that they have now."""
    rows = await connection.fetch(
        "SELECT email_key, NULL::uuid AS list_id, status FROM contact"
        " WHERE account_id = $1 AND id = ANY($2::uuid[]) AND status IN ('UNSUBSCRIBED', 'BOUNCED')"
        " UNION ALL SELECT c.email_key, s.list_id, s.status FROM subscription s"
        " JOIN contact c ON c.account_id = s.account_id AND c.id = s.contact_id"
        " WHERE s.account_id = $1 AND s.contact_id = ANY($2::uuid[]) AND s.status IN ('UNSUBSCRIBED', 'BOUNCED')",
        account_id, contact_ids,
    )  # fmt: skip
    low = {(row["email_key"], row["list_id"]): ContactStatus(row["status"]) for row in rows}
    await suppress(connection, account_id, low)


async def lift(connection: Connection, account_id: UUID, email_key: str, list_id: UUID | None) -> None:
    """A user raised consent: the address is free again for the list, or for all mail."""
    hashed = await _hasher(connection, account_id)
    await connection.execute(
        "DELETE FROM suppression WHERE account_id = $1 AND email_hash = $2 AND list_id IS NOT DISTINCT FROM $3",
        account_id, hashed(email_key), list_id,
    )  # fmt: skip


async def bury(connection: Connection, account_id: UUID, email_keys: Iterable[str]) -> None:
    """Contacts with these addresses were deleted by a user: no automatic import brings them back."""
    hashed = await _hasher(connection, account_id)
    hashes = [hashed(key) for key in email_keys]
    await connection.execute(
        "INSERT INTO tombstone (account_id, id, email_hash) SELECT $1, u.* FROM unnest($2::uuid[], $3::bytea[]) u"
        " ON CONFLICT (account_id, email_hash) DO NOTHING",
        account_id, [uuid7() for _ in hashes], hashes,
    )  # fmt: skip


async def buried(connection: Connection, account_id: UUID, email_keys: Iterable[str]) -> set[str]:
    """Those of the addresses whose contact a user deleted here."""
    hashed = await _hasher(connection, account_id)
    key_of = {hashed(key): key for key in email_keys}
    rows = await connection.fetch(
        "SELECT email_hash FROM tombstone WHERE account_id = $1 AND email_hash = ANY($2::bytea[])",
        account_id, list(key_of),
    )  # fmt: skip
    return {key_of[row["email_hash"]] for row in rows}


async def lift_tombstones(connection: Connection, account_id: UUID, email_keys: Collection[str]) -> None:
    """A user wants contacts with these addresses again."""
    if not email_keys:
        return
    hashed = await _hasher(connection, account_id)
    await connection.execute(
        "DELETE FROM tombstone WHERE account_id = $1 AND email_hash = ANY($2::bytea[])",
        account_id, [hashed(key) for key in email_keys],
    )  # fmt: skip


async def _hasher(connection: Connection, account_id: UUID) -> Callable[[str], bytes]:
    sealed = await connection.fetchval("SELECT email_hash_key FROM account WHERE id = $1", account_id)
    key = hash_key(sealed, account_id)
    return lambda email_key: email_hash(key, email_key)


@lru_cache(maxsize=1024)
def hash_key(sealed: bytes, account_id: UUID) -> bytes:
    """The account's key for hashing addresses, in the clear; from its column `email_hash_key`."""
    return key_ring().unseal(sealed, row=account_id)
