"""The task that undoes: in small steps, whoever dies between them, and at the size of a wrong backfill (R14, R20)."""

import asyncio
import contextvars

import pytest

from domain import automatic_imports, background_tasks, database
from domain import contacts as book
from domain.background_tasks import Task
from domain.contacts import Given
from domain.enums import ContactStatus, ImportState, RunState
from domain.models import AutomaticImport, Contact, ImportUndo, Suppression
from domain.undo import step as steps
from tests.domain.source import Source, record
from tests.domain.undoing import (
    ask,
    assert_active_contacts_are_counted,
    contacts,
    results,
    run,
    undo,
    viewer,
)
from tests.fakes import RecordingQueue
from tests.jobs.scripted import make_stage, page


async def claim() -> Task:
    [claimed] = await background_tasks.claim_due(1)
    return await background_tasks.take(*claimed)


async def test_a_worker_that_dies_between_two_steps_loses_nothing_and_repeats_nothing(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MAX_OUTCOMES", 2)
    first = await run(source, *[record(str(n), first_name="A") for n in range(5)])
    await run(source, *[record(str(n), first_name="B") for n in range(5)])
    undo_id = await ask(source, first, and_later=True)
    seen = []

    goes_on = True
    while goes_on:
        # Each worker does one step, and is never heard of again.
        goes_on, _ = await steps.step(await claim())
        seen.append((len(await contacts(source)), len(await results(undo_id))))
        await assert_active_contacts_are_counted(source)
        await database.fetch("UPDATE background_task SET lease_expires_at = now(), attempts = 0")

    done = await ImportUndo.get(id=undo_id)
    assert seen == [(5, 0), (5, 2), (5, 4), (5, 5), (3, 7), (1, 9), (0, 10), (0, 10)]
    assert (done.state, done.total, done.counts) == ("COMPLETED", 10, {"RESTORED": 5, "REMOVED": 5})
    assert sorted(await results(undo_id)) == sorted(
        (str(n), result, None) for n in range(5) for result in ("RESTORED", "REMOVED")
    )


async def test_a_worker_that_dies_in_a_step_has_done_nothing_of_it(source: Source) -> None:
    run_id = await run(source, record("ann"), record("bob"))
    undo_id = await ask(source, run_id)
    task = await claim()
    await steps.step(task)

    outside = contextvars.copy_context()
    async with database.transaction() as connection:
        # Its last statement waits for this row: all others are done by then.
        await connection.execute("SELECT FROM import_undo FOR UPDATE")
        dying = asyncio.create_task(steps.step(task), context=outside)
        await until_it_waits(connection)
        dying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dying
    left = (await contacts(source), await results(undo_id), await source.ledger())
    await steps.step(task)

    assert left[:2] == ({"ann@example.com": "ACTIVE", "bob@example.com": "ACTIVE"}, [])
    assert left[2] == {"ann": ("LINKED", None), "bob": ("LINKED", None)}
    assert await contacts(source) == {}
    assert len(await results(undo_id)) == 2
    await assert_active_contacts_are_counted(source)


async def test_an_address_that_is_taken_while_we_look_is_decided_again(source: Source) -> None:
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))

    outside = contextvars.copy_context()
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO contact (account_id, id, email, email_key, status)"
            " VALUES ($1, gen_random_uuid(), 'ann@old.com', 'ann@old.com', 'UNCONFIRMED')",
            source.account_id,
        )
        undoing = asyncio.create_task(undo(source, second), context=outside)
        await until_it_waits(connection)
    undo_id = await undoing

    assert await results(undo_id) == [("ann", "REFUSED", "EMAIL_TAKEN")]
    assert set(await contacts(source)) == {"ann@old.com", "ann@new.com"}


async def until_it_waits(connection: database.Connection) -> None:
    """Until another transaction waits for this one."""
    while not await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        # In a transaction the statistics are those of its first look.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0.01)


async def test_an_undo_during_a_run_wins_over_it(database: None) -> None:
    stage = await make_stage()
    source = Source(
        account_id=stage.account_id,
        external_account_id=stage.external_account_id,
        automatic_import_id=stage.account_id,
        lease_token=stage.account_id,
    )

    async def undo_it() -> None:
        [begun] = await stage.runs(import_id)
        await ask(source, begun.id)

    import_id = await stage.add_import(page("ann"), undo_it, page("bob"))

    await stage.cycle()
    cycled = await contacts(source)
    await stage.work()

    assert set(cycled) == {"ann@example.com"}
    assert await contacts(source) == {}
    assert [each.state for each in await stage.runs(import_id)] == [RunState.UNDONE]
    assert (await AutomaticImport.get(id=import_id)).state == ImportState.PAUSED
    assert stage.events.published[-1].revision == (await stage.runs(import_id))[0].revision


async def test_a_resumed_import_goes_on_where_it_was_and_leaves_the_undone_alone(database: None) -> None:
    stage = await make_stage()
    source = Source(
        account_id=stage.account_id,
        external_account_id=stage.external_account_id,
        automatic_import_id=stage.account_id,
        lease_token=stage.account_id,
    )
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    await undo(source, (await stage.runs(import_id))[0].id)
    stage.scripts.steps["main"] = [page("ann", "bob")]

    await automatic_imports.resume(viewer(source), import_id, queue=RecordingQueue())
    await stage.cycle()

    assert set(await contacts(source)) == {"bob@example.com"}
    assert stage.scripts.checkpoints == [None, {"at": "ann"}]
    assert [(each.created_count, each.skipped_count) for each in await stage.runs(import_id)] == [(1, 0), (1, 1)]


async def test_a_wrong_backfill_of_20_000_in_40_runs_undone(source: Source) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = 1000000")
    await run(source, *[record(f"known{n}", first_name="Right") for n in range(10)])
    first = None
    for number in range(40):
        names = [f"{number}-{n}" for n in range(500)]
        # The first run's page also moves an address and overwrites a name.
        if number == 0:
            names = names[:498]
            wrong = [record("known0", "known0@wrong.com"), record("known1", first_name="Wrong")]
        else:
            wrong = []
        run_id = await run(source, *wrong, *[record(name) for name in names])
        first = first or run_id
    assert first is not None
    imported = len(await contacts(source))

    edited = await Contact.get(email_key="3-7@example.com")
    await book.update(viewer(source), edited.id, Given(first_name="Ann"), queue=RecordingQueue())
    unsubscribed = await Contact.get(email_key="4-7@example.com")
    await book.update(viewer(source), unsubscribed.id, Given(status=ContactStatus.UNSUBSCRIBED), queue=RecordingQueue())
    await book.create(viewer(source), Given(email="known0@example.com"), queue=RecordingQueue())
    undo_id = await undo(source, first, and_later=True)

    done = await ImportUndo.get(id=undo_id)
    left = await contacts(source)
    assert imported == 10 + 498 + 39 * 500
    assert (done.state, len(done.run_ids), done.total) == ("COMPLETED", 40, 20_000)
    assert done.counts == {"REMOVED": 19_996, "KEPT": 2, "RESTORED": 1, "REFUSED": 1}
    assert set(left) == {
        *[f"known{n}@example.com" for n in range(10)],
        "known0@wrong.com",
        "3-7@example.com",
        "4-7@example.com",
    }
    assert left["4-7@example.com"] == "UNSUBSCRIBED"
    assert (await Contact.get(email_key="known1@example.com")).first_name == "Right"
    assert await Suppression.all().count() == 1
    await assert_active_contacts_are_counted(source)
