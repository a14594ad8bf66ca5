"""Asking to undo: what is refused, what it pauses, and undoing a whole import with its deletion (R13, R20)."""

from collections.abc import Awaitable
from uuid import UUID, uuid4

import pytest

from domain import automatic_imports, database
from domain.enums import ImportState, RunState, TaskState
from domain.errors import ErrorCode, Refused, TurnSuperseded
from domain.models import AuditEntry, AutomaticImport, BackgroundTask, Contact, ExternalAccount, ImportRun, ImportUndo
from domain.undo.request import undo_run
from tests.domain.source import Source, make_source, record
from tests.domain.undoing import ask, contacts, results, run, undo, viewer, work
from tests.fakes import RecordingQueue


async def code_of(asking: Awaitable[object]) -> ErrorCode:
    """Why it was refused; nothing was asked for then."""
    before = (await ImportUndo.all().count(), await BackgroundTask.all().count())
    with pytest.raises(Refused) as refused:
        await asking
    assert (await ImportUndo.all().count(), await BackgroundTask.all().count()) == before
    [problem] = refused.value.problems
    assert problem.field == ("id",)
    return problem.code


async def test_a_page_that_is_under_way_is_dropped(source: Source) -> None:
    stored = await source.send(record("ann"))
    assert stored.run is not None
    turn_before = source.revision

    await ask(source, stored.run.run_id)
    source.revision = turn_before
    with pytest.raises(TurnSuperseded):
        await source.send(record("bob"))
    await work(source)

    undone = await ImportRun.get(id=stored.run.run_id)
    assert await contacts(source) == {}
    assert undone.state == RunState.UNDONE
    assert undone.finished_at is not None
    assert (await AutomaticImport.get(id=source.automatic_import_id)).state == ImportState.PAUSED


async def test_the_workers_are_woken_and_the_wish_is_on_record(source: Source) -> None:
    run_id, queue = await run(source, record("ann")), RecordingQueue()

    undo_id = await undo_run(viewer(source), run_id, and_later=False, queue=queue)

    actions = {entry.action: entry.details async for entry in AuditEntry.all()}
    assert queue.woken == 1
    assert actions["IMPORT_RUNS_UNDONE"] == {"undo": str(undo_id), "runs": 1}
    assert "AUTOMATIC_IMPORT_PAUSED" in actions


async def test_a_run_is_undone_once(source: Source) -> None:
    run_id = await run(source, record("ann"))
    await undo(source, run_id)

    assert await code_of(ask(source, run_id)) is ErrorCode.ALREADY_UNDONE


async def test_an_import_is_undone_by_one_undo_at_a_time(source: Source) -> None:
    first, second = await run(source, record("ann")), await run(source, record("bob"))
    await ask(source, first)

    assert await code_of(ask(source, second)) is ErrorCode.UNDO_UNDER_WAY
    await work(source)
    await undo(source, second)
    assert await contacts(source) == {}


async def test_an_import_is_resumed_when_its_undo_is_done(source: Source) -> None:
    await ExternalAccount.all().update(health="HEALTHY")
    run_id, queue = await run(source, record("ann")), RecordingQueue()
    await ask(source, run_id)

    resuming = automatic_imports.resume(viewer(source), source.automatic_import_id, queue=queue)
    assert await code_of(resuming) is ErrorCode.UNDO_UNDER_WAY
    stopped = await AutomaticImport.get(id=source.automatic_import_id)
    await work(source)
    resumed = await automatic_imports.resume(viewer(source), source.automatic_import_id, queue=queue)

    assert (stopped.state, resumed.state) == (ImportState.PAUSED, ImportState.ACTIVE)
    assert queue.woken == 1


async def test_a_run_whose_outcomes_are_not_kept_any_more_cannot_be_undone(source: Source) -> None:
    old, new = await run(source, record("ann")), await run(source, record("bob"))
    await database.fetch("UPDATE import_run SET started_at = now() - interval '31 days' WHERE id = $1", old)
    await database.fetch("UPDATE import_run SET started_at = now() - interval '30 days' WHERE id = $1", new)

    assert await code_of(ask(source, old)) is ErrorCode.UNDO_EXPIRED
    await undo(source, new)
    assert await contacts(source) == {"ann@example.com": "ACTIVE"}


async def test_an_undo_that_came_too_late_for_some_outcomes_says_so_and_undoes_the_rest(source: Source) -> None:
    long, short = await run(source, record("ann"), record("bob")), await run(source, record("cid"))
    undo_id = await ask(source, long, and_later=True)
    # Its first day is dropped before a worker comes to it.
    await database.fetch("UPDATE import_run SET started_at = now() - interval '31 days' WHERE id = $1", long)
    await database.fetch("DELETE FROM outcome WHERE external_id = 'ann'")

    await work(source)

    told = await ImportUndo.get(id=undo_id)
    states = {each.id: each.state async for each in ImportRun.all()}
    assert (told.state, told.counts, told.finished_at is not None) == (TaskState.FAILED, {"REMOVED": 2}, True)
    assert told.error_message == (
        "Some of what these runs did was not kept long enough to be undone: correct that by hand. The rest is undone."
    )
    assert await contacts(source) == {"ann@example.com": "ACTIVE"}
    assert states == {long: RunState.COMPLETED, short: RunState.UNDONE}
    assert await code_of(ask(source, long)) is ErrorCode.UNDO_EXPIRED


async def test_a_run_of_another_account_is_unknown(source: Source) -> None:
    stranger = await make_source("Other")
    run_id = await run(stranger, record("ann"))

    assert await code_of(ask(source, run_id)) is ErrorCode.NOT_FOUND
    assert await code_of(ask(source, uuid4())) is ErrorCode.NOT_FOUND
    assert await contacts(stranger) == {"ann@example.com": "ACTIVE"}


async def test_an_import_that_is_deleted_can_take_its_contacts_along(source: Source) -> None:
    for name in ("ann", "bob"):
        await run(source, record(name))
    await database.fetch(
        "UPDATE import_run SET started_at = now() - interval '31 days' WHERE id = $1", await first_run()
    )

    undo_id = await automatic_imports.delete(viewer(source), source.automatic_import_id, undo=True)
    gone = (await AutomaticImport.get(id=source.automatic_import_id)).deleted_at is not None
    await work(source)

    assert undo_id is not None
    assert gone
    assert await contacts(source) == {"ann@example.com": "ACTIVE"}
    assert await results(undo_id) == [("bob", "REMOVED", None)]
    assert [each.state async for each in ImportRun.all().order_by("id")] == [RunState.COMPLETED, RunState.UNDONE]


async def first_run() -> UUID:
    first = await ImportRun.all().order_by("id").first()
    assert first is not None
    return first.id


async def test_an_import_that_is_deleted_leaves_its_contacts_unless_asked(source: Source) -> None:
    await run(source, record("ann"))

    assert await automatic_imports.delete(viewer(source), source.automatic_import_id) is None
    await work(source)

    assert await contacts(source) == {"ann@example.com": "ACTIVE"}
    assert await ImportUndo.all().count() == 0


async def test_a_run_of_a_deleted_import_can_still_be_undone(source: Source) -> None:
    run_id = await run(source, record("ann"))
    await automatic_imports.delete(viewer(source), source.automatic_import_id)

    await undo(source, run_id)

    assert await contacts(source) == {}


async def test_an_undo_that_is_given_up_says_so_and_can_be_asked_for_again(source: Source) -> None:
    await run(source, record("ann", first_name="A"))
    second = await run(source, record("ann", first_name="B"))
    await database.fetch('UPDATE outcome SET before = before || \'{"status": "NONE"}\' WHERE run_id = $1', second)
    undo_id = await ask(source, second)
    while await ImportUndo.exists(id=undo_id, finished_at=None):
        await work(source)
        await database.fetch("UPDATE background_task SET lease_expires_at = now()")
    failed = await ImportUndo.get(id=undo_id)

    await database.fetch("UPDATE outcome SET before = before - 'status' WHERE run_id = $1", second)
    await undo(source, second)

    assert failed.state == TaskState.FAILED
    assert failed.error_message == "Something went wrong on our side. What is not undone yet can be undone again."
    assert (await Contact.get(email_key="ann@example.com")).first_name == "A"
