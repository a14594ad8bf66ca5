"""What an import's contacts do to the contact limit, and how long the cap makes them take (R4, R11). Pure but one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from domain.cap import CapUsage
from domain.database import Connection
from domain.settings import settings
from domain.turns import Turn
from domain.waiting_room import RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The account before the import: its ACTIVE contacts, and those who wait in line already.

    `limits` are the limits that it can come to by itself: the present one, then those of auto-upgrade, ascending.
    """

    active: int
    waiting: int
    limits: Sequence[int]

    @property
    def free(self) -> int:
        """How many more contacts may be ACTIVE at last."""
        return max(0, self.limits[-1] - self.active)

    def limit_for(self, active: int) -> int:
        """The limit with so many ACTIVE contacts."""
        return next((limit for limit in self.limits if limit >= active), self.limits[-1])


async def standing(connection: Connection, turn: Turn, *, starts_over: bool) -> Standing:
    """The account as it stands; without the import's own waiting records where it starts over."""
    rows = await connection.fetch(
        """
        SELECT a.active_contacts, t.contact_limit FROM account a
        JOIN plan_tier p ON p.key = a.plan_tier_key
        LEFT JOIN plan_tier c ON c.key = a.auto_upgrade_ceiling_key
        JOIN plan_tier t ON t.key = p.key OR (a.auto_upgrade AND t.contact_limit > p.contact_limit
            AND t.contact_limit <= coalesce(c.contact_limit, t.contact_limit))
        WHERE a.id = $1 ORDER BY t.contact_limit
        """,
        turn.account_id,
    )  # fmt: skip
    waiting = await connection.fetchval(
        f"""
        SELECT count(*) FROM automatic_import i JOIN ledger l
            ON l.account_id = i.account_id AND l.automatic_import_id = i.id AND l.code = 'CONTACT_LIMIT'
        WHERE {RUNNING} AND NOT ($3 AND l.state = 'WAITING' AND i.id = $2)
        """,
        turn.account_id, turn.automatic_import_id, starts_over,
    )  # fmt: skip
    return Standing(active=rows[0]["active_contacts"], waiting=waiting, limits=[row["contact_limit"] for row in rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """In how many windows of the cap so many contacts are written, and when the last of them is under way."""

    cycles: int
    expected_finish_at: datetime


def pace(cost: int, cap: CapUsage, *, now: datetime) -> Pace:
    """What is left of the cap in this window goes first, then whole caps follow; nobody else uses the cap.

    Without a window the first cycle opens one at once, with the whole cap.
    """
    left = cap.remaining if cap.window_ends_at else cap.limit
    later = ceil(max(0, cost - left) / cap.limit)
    if later == 0:
        return Pace(cycles=1, expected_finish_at=now)
    window = timedelta(seconds=settings().cycle_seconds)
    next_window = cap.window_ends_at or now + window
    return Pace(cycles=later + (left > 0), expected_finish_at=next_window + (later - 1) * window)
