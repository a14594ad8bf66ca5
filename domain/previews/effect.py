"""What an import's contacts do to the contact limit (R11). Pure but one."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The account before the import: its ACTIVE contacts.

    `limits` are the limits that it can come to by itself: the present one, then those of auto-upgrade, ascending.
    """

    active: int
    limits: Sequence[int]

    def limit_for(self, active: int) -> int:
        """The limit with so many ACTIVE contacts."""
        return next((limit for limit in self.limits if limit >= active), self.limits[-1])


async def standing(connection: Connection, account_id: UUID) -> Standing:
    """The account as it stands."""
    rows = await connection.fetch(
        """
        SELECT a.active_contacts, t.contact_limit FROM account a
        JOIN plan_tier p ON p.key = a.plan_tier_key
        LEFT JOIN plan_tier c ON c.key = a.auto_upgrade_ceiling_key
        JOIN plan_tier t ON t.key = p.key OR (a.auto_upgrade AND t.contact_limit > p.contact_limit
            AND t.contact_limit <= coalesce(c.contact_limit, t.contact_limit))
        WHERE a.id = $1 ORDER BY t.contact_limit
        """,
        account_id,
    )  # fmt: skip
    return Standing(active=rows[0]["active_contacts"], limits=[row["contact_limit"] for row in rows])
