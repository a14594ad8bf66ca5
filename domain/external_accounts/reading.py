"""Reading external accounts: their health, and how much of the cap is left (R4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from domain import database
from domain.cap import CapUsage, cap_usage
from domain.enums import ExternalAccountHealth
from domain.keyset import Select, Slice, Span

COLUMNS = "id, service, label, health, health_reason, window_used, window_ends_at, created_at"


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
