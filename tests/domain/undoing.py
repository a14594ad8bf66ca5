"""Runs that were, undone as a worker undoes them, and what came of it."""

from typing import Any
from uuid import UUID

from domain import database, import_runs
from domain.account import Viewer
from domain.models import ImportUndo
from domain.records import Record
from domain.undo.request import undo_run
from tests.domain.source import Source
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Stage


def viewer(source: Source) -> Viewer:
    """Whoever asks to undo."""
    return Viewer(account_id=source.account_id, token_id=UUID(int=0), scopes=frozenset())


async def run(source: Source, *records: Record, **page: Any) -> UUID:
    """A whole run that reads one page. Returns its id."""
    await source.next_window()
    stored = await source.send(*records, **page)
    assert stored.run is not None
    await finish(source)
    return stored.run.run_id


async def finish(source: Source) -> None:
    """The run under way is over."""
    async with database.transaction() as connection:
        await import_runs.finish(connection, source.account_id, source.automatic_import_id)


async def ask(source: Source, run_id: UUID, *, and_later: bool = False) -> UUID:
    """Ask to undo. The pages that are sent afterwards are read under the import's new revision."""
    undo_id = await undo_run(viewer(source), run_id, and_later=and_later, queue=RecordingQueue())
    source.revision += 1
    return undo_id


async def undo(source: Source, run_id: UUID, *, and_later: bool = False) -> UUID:
    """Undo, to the end."""
    undo_id = await ask(source, run_id, and_later=and_later)
    # A long one is handed from worker to worker.
    while await ImportUndo.exists(id=undo_id, finished_at=None) and await work(source):
        pass
    return undo_id


async def work(source: Source) -> int:
    """Let a worker do the background tasks that are due. Returns how many there were."""
    return await Stage(account_id=source.account_id, external_account_id=source.external_account_id).work()


async def results(undo_id: UUID) -> list[tuple[str, str, str | None]]:
    """External id, result and code for each outcome, in the order in which they were undone."""
    rows = await database.fetch(
        "SELECT external_id, result, code FROM undone_record WHERE undo_id = $1 ORDER BY id", undo_id
    )
    return [(row["external_id"], row["result"], row["code"]) for row in rows]


async def contacts(source: Source) -> dict[str, str]:
    """The status of every contact, by address."""
    rows = await database.fetch("SELECT email, status FROM contact WHERE account_id = $1", source.account_id)
    return {row["email"]: row["status"] for row in rows}


async def assert_active_contacts_are_counted(source: Source) -> None:
    """The account's own number is the true one."""
    rows = await database.fetch(
        "SELECT active_contacts, (SELECT count(*) FROM contact WHERE account_id = a.id AND status = 'ACTIVE') AS active"
        " FROM account a WHERE id = $1",
        source.account_id,
    )
    assert rows[0]["active_contacts"] == rows[0]["active"]
