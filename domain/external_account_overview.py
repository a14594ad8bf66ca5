"""Reading external accounts: their health, and how much of the cap is left (R4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from domain import database
from domain.enums import ExternalAccountHealth
from domain.keyset import Select, Slice, Span
from domain.settings import settings

COLUMNS = "id, service, label, health, health_reason, window_used, window_ends_at, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapUsage:
    """How much of the cap an external account has used; `window_ends_at` is None while no window is open."""

    limit: int
    used: int
    window_ends_at: datetime | None

    @property
    def remaining(self) -> int:
        """How many more contacts may be written before the window ends."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAccountRow:
    """An external account as it is shown: without its credentials."""

    id: UUID
    service: str
    label: str
    health: ExternalAccountHealth
    health_reason: str | None
    cap: CapUsage
    created_at: datetime


async def page(account_id: UUID, span: Span, *, service: str | None) -> Slice[ExternalAccountRow]:
    """A slice of the account's external accounts, oldest first."""
    select = Select(COLUMNS, "external_account", account_id=account_id)
    if service is not None:
        select.where("service = {}", service)
    return await select.slice(span, _row)


async def by_ids(account_id: UUID, external_account_ids: Sequence[UUID]) -> dict[UUID, ExternalAccountRow]:
    """Those of the external accounts that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM external_account WHERE account_id = $1 AND id = ANY($2::uuid[])",
        account_id,
        list(external_account_ids),
    )
    return {row["id"]: _row(row) for row in rows}


async def of_services(account_id: UUID, services: Sequence[str]) -> dict[str, list[ExternalAccountRow]]:
    """The account's external accounts at each service, oldest first."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM external_account WHERE account_id = $1 AND service = ANY($2::text[]) ORDER BY id",
        account_id,
        list(services),
    )
    found: dict[str, list[ExternalAccountRow]] = {service: [] for service in services}
    for row in rows:
        found[row["service"]].append(_row(row))
    return found


def cap_usage(used: int, window_ends_at: datetime | None) -> CapUsage:
    """What is left of the cap now: a window that has ended leaves all of it."""
    if window_ends_at is None or window_ends_at <= datetime.now(UTC):
        return CapUsage(limit=settings().cap, used=0, window_ends_at=None)
    return CapUsage(limit=settings().cap, used=used, window_ends_at=window_ends_at)


def _row(row: asyncpg.Record) -> ExternalAccountRow:
    return ExternalAccountRow(
        id=row["id"],
        service=row["service"],
        label=row["label"],
        health=ExternalAccountHealth(row["health"]),
        health_reason=row["health_reason"],
        cap=cap_usage(row["window_used"], row["window_ends_at"]),
        created_at=row["created_at"],
    )
