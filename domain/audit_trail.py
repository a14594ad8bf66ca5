"""Reading the audit entries: who changed what, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain.keyset import Select, Slice, Span

TABLE = """(
    SELECT e.account_id, e.id, e.actor_id, t.name AS actor_name, e.action, e.subject, e.details, e.created_at
    FROM audit_entry e LEFT JOIN api_token t ON t.account_id = e.account_id AND t.id = e.actor_id
) AS audit_entries"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """Who did what, and when. Without `actor_id` it was the engine itself; `actor_name` is the API token's."""

    id: UUID
    actor_id: UUID | None
    actor_name: str | None
    action: str
    subject: str
    details: Mapping[str, Any]
    created_at: datetime


async def page(account_id: UUID, span: Span) -> Slice[AuditRow]:
    """A slice of the account's audit entries, newest first."""
    return await Select("*", TABLE, account_id=account_id, descending=True).slice(span, _row)


def _row(row: asyncpg.Record) -> AuditRow:
    return AuditRow(
        id=row["id"],
        actor_id=row["actor_id"],
        actor_name=row["actor_name"],
        action=row["action"],
        subject=row["subject"],
        details=orjson.loads(row["details"]),
        created_at=row["created_at"],
    )
