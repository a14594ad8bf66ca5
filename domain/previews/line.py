"""The account's waiting room as it would be, and the room that those in it wait for (R11)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from domain.database import Connection
from domain.previews.kept import EXACT_RECORDS
from domain.turns import Turn
from domain.waiting_room import RUNNING

Place = tuple[UUID, str]
"""An import, and the external id of its record."""


@dataclass(slots=True)
class Waiting:
    """Somebody in line. `email_key` is None for a confirmation; `due`: the address has a contact by now."""

    email_key: str | None
    due: bool


@dataclass(slots=True, kw_only=True)
class Line:
    """Those who wait, in their order, `more` of them behind; `active` contacts are there, at last `limit` may be.

    `let_in` is how many became contacts, `cost` what that takes of the external account's cap.
    """

    active: int
    limit: int
    rows: dict[Place, Waiting] = field(default_factory=dict)
    more: int = 0
    let_in: int = 0
    cost: int = 0

    @property
    def free(self) -> int:
        """How many more contacts may be ACTIVE at last; below zero where a lower limit left too many."""
        return self.limit - self.active

    @property
    def ahead(self) -> int:
        """How many whoever is new comes after."""
        return len(self.rows) + self.more

    def move(self, place: Place, *, waited: bool, waits: bool, email_key: str | None) -> None:
        """A record was decided: it joins at the end, keeps its place, or leaves it."""
        if waited and waits and place in self.rows:
            self.rows[place] = Waiting(email_key, due=False)
        elif waits and not waited:
            if self.more:
                self.more += 1
            else:
                self.rows[place] = Waiting(email_key, due=False)
        elif waited and not waits and self.rows.pop(place, None) is None:
            self.more -= 1

    def call(self, email_keys: Collection[str]) -> Sequence[Place]:
        """These addresses have a contact now: whoever waits under one of them, who is returned, need not any more."""
        called = [place for place, row in self.rows.items() if row.email_key in email_keys]
        for place in called:
            self.rows[place].due = True
        return called

    def confirm(self, places: Iterable[Place]) -> None:
        """These records are ingested once more: whose confirmation waits is not held back from that."""
        for row in map(self.rows.get, places):
            if row is not None and row.email_key is None:
                row.due = True

    def head(self, limit: int) -> Sequence[Place]:
        """Up to `limit` records of one import whose turn it is, whoever came first first."""
        free = self.free
        turn = [place for number, (place, row) in enumerate(self.rows.items()) if row.due or number < free]
        return [place for place in turn if place[0] == turn[0][0]][:limit]

    def let_in_unknown(self) -> None:
        """Once those who are known are in, each of the others takes a room, and costs one."""
        if self.rows:
            return
        entering = max(0, min(self.free, self.more))
        self.active += entering
        self.more -= entering
        self.let_in += entering
        self.cost += entering

    def forget(self) -> None:
        """Keep nothing that grows with the records but how many wait."""
        self.more = self.ahead
        self.rows.clear()

    def to_json(self) -> dict[str, int]:
        """As the task keeps it, once it is forgotten who waits."""
        return {"active": self.active, "more": self.ahead, "let_in": self.let_in, "cost": self.cost}

    @classmethod
    def of(cls, stored: Mapping[str, Any], *, limit: int) -> Self:
        """As the task kept it."""
        return cls(**stored, limit=limit)


async def load_line(connection: Connection, turn: Turn, *, active: int, limit: int, starts_over: bool) -> Line:
    """The line of the imports that run, with the one that is previewed, which leaves it where it starts over."""
    rows = await connection.fetch(
        f"""
        SELECT i.id, l.external_id, CASE WHEN l.state = 'WAITING' THEN l.email_key END AS email_key, l.due,
            count(*) OVER () AS number
        FROM automatic_import i JOIN ledger l
            ON l.account_id = i.account_id AND l.automatic_import_id = i.id AND l.code = 'CONTACT_LIMIT'
        WHERE i.account_id = $1 AND i.deleted_at IS NULL
            AND CASE WHEN i.id = $2 THEN NOT $3 ELSE {RUNNING} END
        ORDER BY l.position LIMIT $4
        """,
        turn.account_id, turn.automatic_import_id, starts_over, EXACT_RECORDS,
    )  # fmt: skip
    return Line(
        active=active,
        limit=limit,
        rows={(row["id"], row["external_id"]): Waiting(row["email_key"], row["due"]) for row in rows},
        more=rows[0]["number"] - len(rows) if rows else 0,
    )
