"""Lists and tags: what an account sorts its contacts by.

One that is deleted is gone at once for everybody; who was on it, or had it, is forgotten in the background.
"""

from dataclasses import dataclass
from uuid import UUID

import asyncpg
from tortoise.exceptions import IntegrityError

from domain import background_tasks, database
from domain.account import Viewer
from domain.audit import record_audit
from domain.background_tasks import Task
from domain.database import Connection
from domain.enums import TaskKind
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.models import ContactList, Tag
from domain.names import check_name
from domain.queue import Queue

BATCH = 500
"""Contacts that leave a deleted list or tag in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where lists, or tags, are kept: they, what imports have of them, and what contacts have. Texts are ours."""

    noun: str
    table: str
    column: str
    of_imports: str
    of_contacts: tuple[str, ...]
    task: TaskKind


LIST = Kind(
    noun="list",
    table="contact_list",
    column="list_id",
    of_imports="automatic_import_list",
    of_contacts=("subscription", "suppression"),
    task=TaskKind.DELETE_LIST,
)
TAG = Kind(
    noun="tag",
    table="tag",
    column="tag_id",
    of_imports="automatic_import_tag",
    of_contacts=("contact_tag",),
    task=TaskKind.DELETE_TAG,
)


async def create_list(account_id: UUID, *, name: str) -> ContactList:
    """A new, empty list. Names are unique in an account, whatever their case."""
    try:
        return await ContactList.create(account_id=account_id, name=check_name(name))
    except IntegrityError:
        raise _taken(LIST, name) from None


async def create_tag(account_id: UUID, *, name: str) -> Tag:
    """A new tag. Names are unique in an account, whatever their case."""
    try:
        return await Tag.create(account_id=account_id, name=check_name(name))
    except IntegrityError:
        raise _taken(TAG, name) from None


async def rename(viewer: Viewer, kind: Kind, target_id: UUID, *, name: str) -> None:
    """Give a list or tag another name."""
    try:
        async with database.transaction() as connection:
            if not await _hold(connection, viewer.account_id, kind, target_id):
                raise not_found(kind.noun, "id")
            await connection.execute(
                f"UPDATE {kind.table} SET name = $3 WHERE account_id = $1 AND id = $2",
                viewer.account_id, target_id, check_name(name),
            )  # fmt: skip
            await record_audit(viewer, f"{kind.noun.upper()}_RENAMED", target_id, name=name.strip())
    except asyncpg.UniqueViolationError:
        raise _taken(kind, name) from None


async def delete(viewer: Viewer, kind: Kind, target_id: UUID, *, queue: Queue) -> None:
    """Delete a list or tag. Its contacts stay, and imports go on without it.

    Refused where an import tags what was deleted at its service with it (R16).
    """
    async with database.transaction() as connection:
        await _hold_imports(connection, viewer.account_id, kind, target_id)
        if not await _hold(connection, viewer.account_id, kind, target_id):
            raise not_found(kind.noun, "id")
        await _require_unused(connection, viewer.account_id, kind, target_id)
        # It is as if each import had been edited: a page under way is dropped, and the edit wins (R14).
        await connection.execute(
            f"WITH removed AS (DELETE FROM {kind.of_imports} WHERE account_id = $1 AND {kind.column} = $2"
            " RETURNING automatic_import_id) UPDATE automatic_import SET revision = revision + 1"
            " WHERE account_id = $1 AND id IN (SELECT automatic_import_id FROM removed)",
            viewer.account_id, target_id,
        )  # fmt: skip
        await connection.execute(
            f"UPDATE {kind.table} SET deleted_at = now() WHERE account_id = $1 AND id = $2",
            viewer.account_id, target_id,
        )  # fmt: skip
        await background_tasks.enqueue(connection, viewer.account_id, kind.task, subject=target_id)
        await record_audit(viewer, f"{kind.noun.upper()}_DELETED", target_id)
    await queue.wake()


async def forget_step(task: Task) -> bool:
    """Take the next contacts off the deleted list or tag. Returns whether there are more."""
    kind = LIST if task.kind is LIST.task else TAG
    async with background_tasks.step(task) as connection:
        for table in kind.of_contacts:
            gone = await connection.execute(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"
                f" WHERE account_id = $1 AND {kind.column} = $2 LIMIT {BATCH}))",
                task.account_id, task.subject,
            )  # fmt: skip
            if gone == f"DELETE {BATCH}":
                return True
    return False


async def _hold(connection: Connection, account_id: UUID, kind: Kind, target_id: UUID) -> bool:
    """Whether it is there; it then is until the transaction ends."""
    found = await connection.fetchval(
        f"SELECT true FROM {kind.table} WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE",
        account_id, target_id,
    )  # fmt: skip
    return bool(found)


async def _hold_imports(connection: Connection, account_id: UUID, kind: Kind, target_id: UUID) -> None:
    """Hold the external accounts, then the imports, that the list or tag is a target of."""
    of_target = f"SELECT automatic_import_id FROM {kind.of_imports} WHERE account_id = $1 AND {kind.column} = $2"
    await connection.execute(
        "SELECT FROM external_account WHERE account_id = $1 AND id IN"
        f" (SELECT external_account_id FROM automatic_import WHERE account_id = $1 AND id IN ({of_target}))"
        " ORDER BY id FOR NO KEY UPDATE",
        account_id, target_id,
    )  # fmt: skip
    await connection.execute(
        f"SELECT FROM automatic_import WHERE account_id = $1 AND id IN ({of_target}) ORDER BY id FOR NO KEY UPDATE",
        account_id, target_id,
    )  # fmt: skip


async def _require_unused(connection: Connection, account_id: UUID, kind: Kind, target_id: UUID) -> None:
    if kind is not TAG:
        return
    names = await connection.fetch(
        "SELECT name FROM automatic_import WHERE account_id = $1 AND deletion_tag_id = $2 AND deletion_policy = 'TAG'"
        " AND deleted_at IS NULL ORDER BY name, id",
        account_id, target_id,
    )  # fmt: skip
    if names:
        users = ", ".join(row["name"] for row in names)
        message = f"Contacts that are deleted at the service get this tag: choose another one for {users} first."
        raise Refused(Problem(ErrorCode.IN_USE, message, ("id",)))


def _taken(kind: Kind, name: str) -> Refused:
    return Refused(Problem(ErrorCode.TAKEN, f"There is already a {kind.noun} called {name!r}.", ("name",)))
