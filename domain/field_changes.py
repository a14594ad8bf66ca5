"""What users change about custom fields (R7). A field's tag and type never change, and its deletion is remembered.

The values of a deleted field stay with the contacts, and are not shown: a field that is restored has them again.
"""

from uuid import UUID

from domain import database
from domain.account import Viewer
from domain.audit import record_audit
from domain.database import Connection
from domain.errors import Problem, Refused, not_found
from domain.names import check_name


async def rename(viewer: Viewer, field_id: UUID, *, title: str) -> None:
    """Give the field another title. What it is at its service, and its tag, stay."""
    problems: list[Problem] = []
    try:
        title = check_name(title)
    except Refused as refused:
        problems += [Problem(problem.code, problem.message, ("title",)) for problem in refused.problems]
    async with database.transaction() as connection:
        await _hold(connection, viewer.account_id, field_id, "deleted_at IS NULL", problems)
        await connection.execute(
            "UPDATE field SET title = $3 WHERE account_id = $1 AND id = $2", viewer.account_id, field_id, title
        )
        await record_audit(viewer, "FIELD_RENAMED", field_id, title=title)


async def delete(viewer: Viewer, field_id: UUID) -> None:
    """Delete the field: it is not shown, imports do not write it and do not make it again."""
    async with database.transaction() as connection:
        await _hold(connection, viewer.account_id, field_id, "deleted_at IS NULL")
        await connection.execute(
            "UPDATE field SET deleted_at = now() WHERE account_id = $1 AND id = $2", viewer.account_id, field_id
        )
        await record_audit(viewer, "FIELD_DELETED", field_id)


async def restore(viewer: Viewer, field_id: UUID) -> None:
    """Have a deleted field again, with the values that it had. Nothing happens to one that is there."""
    async with database.transaction() as connection:
        deleted = await _hold(connection, viewer.account_id, field_id, "true")
        if deleted:
            # As if it had been made now: what records brought meanwhile is new to it.
            await connection.execute(
                "UPDATE field SET deleted_at = NULL, activated_at = now() WHERE account_id = $1 AND id = $2",
                viewer.account_id, field_id,
            )  # fmt: skip
            await record_audit(viewer, "FIELD_RESTORED", field_id)


async def _hold(
    connection: Connection, account_id: UUID, field_id: UUID, condition: str, problems: list[Problem] | None = None
) -> bool:
    """Whether the field is deleted; Refused where there is none, or for other `problems`."""
    row = await connection.fetchrow(
        "SELECT deleted_at FROM field WHERE account_id = $1 AND id = $2 AND personalization_tag IS NOT NULL"
        f" AND {condition} FOR NO KEY UPDATE",
        account_id, field_id,
    )  # fmt: skip
    found = [] if row else not_found("field", "id").problems
    if found or problems:
        raise Refused(*found, *(problems or ()))
    return row is not None and row["deleted_at"] is not None
