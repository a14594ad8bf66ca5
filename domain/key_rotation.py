"""Every stored secret under the first key of SLUICE_SECRET_KEYS, so that the others can be taken away.

What is under that key already is not looked at, so an interrupted rotation goes on where it stopped. A secret that
somebody changes meanwhile is left to them, and looked at again: they, too, encrypt with the first key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from domain import database
from domain.credentials import KeyRing, key_ring
from domain.errors import Misconfigured

BATCH = 500

SEALED: Mapping[tuple[str, str], Sequence[str]] = {
    ("account", "email_hash_key"): ("id",),
    ("external_account", "credentials"): ("account_id", "id"),
    ("service_authorization", "secret"): ("account_id", "id"),
}
"""Every column of secrets, by table and name, with the table's key. A secret is bound to its row's id."""


@dataclass(slots=True, kw_only=True)
class Rotated:
    """How many secrets were encrypted anew, and why others were not, by table and row."""

    count: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


async def rotate() -> Rotated:
    """Encrypt every secret that is under another key with the first, a batch at a time."""
    rotated = Rotated()
    for (table, column), key in SEALED.items():
        after: list[object] = []
        while rows := await _batch(table, column, key, after):
            after = [rows[-1][name] for name in key]
            await _encrypt(table, column, key, rows, rotated)
    return rotated


async def left_behind() -> int:
    """How many secrets are not under the first key."""
    counts = [
        (await database.fetch(f"SELECT count(*) AS n FROM {table} WHERE {_other(column)}", _prefix(key_ring())))[0]["n"]
        for table, column in SEALED
    ]
    return sum(counts)


async def _batch(table: str, column: str, key: Sequence[str], after: Sequence[object]) -> list[asyncpg.Record]:
    names = ", ".join(key)
    beyond = f"AND ({names}) > ({', '.join(f'${number}' for number, _ in enumerate(after, 3))})" if after else ""
    return await database.fetch(
        f"SELECT {names}, {column} AS sealed FROM {table} WHERE {_other(column)} {beyond} ORDER BY {names} LIMIT $2",
        _prefix(key_ring()), BATCH, *after,
    )  # fmt: skip


async def _encrypt(
    table: str, column: str, key: Sequence[str], rows: Sequence[asyncpg.Record], rotated: Rotated
) -> None:
    """One row after the other: whoever needs one of them does not wait for the batch."""
    ring = key_ring()
    here = " AND ".join(f"{name} = ${number}" for number, name in enumerate(key, 3))
    for row in rows:
        try:
            secret = ring.unseal(row["sealed"], row=row["id"])
        except Misconfigured as error:
            rotated.unreadable[f"{table} {row['id']}"] = str(error)
            continue
        written = await database.fetch(
            # As it was read, or somebody's newer secret would be lost.
            f"UPDATE {table} SET {column} = $1 WHERE {column} = $2 AND {here} RETURNING 1",
            ring.seal(secret, row=row["id"]), row["sealed"], *(row[name] for name in key),
        )  # fmt: skip
        rotated.count += len(written)


def _other(column: str) -> str:
    """Whether a column holds a secret under another key than $1."""
    return f"{column} IS NOT NULL AND substring({column} FROM 1 FOR octet_length($1::bytea)) <> $1::bytea"


def _prefix(ring: KeyRing) -> bytes:
    return f"{next(iter(ring.keys))}:".encode()
