"""What users and other workers do while a worker reads, at every way that reading can end (R14)."""

import asyncio
import contextvars
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import pytest

from connectors.base import AccessRevokedError, Page, TransientError, UnexpectedResponseError
from domain import automatic_imports, contact_limit, cycle, database, external_accounts, import_runs
from domain.account import Viewer
from domain.credentials import key_ring
from domain.cycle import Claim
from domain.enums import ExternalAccountHealth, ImportState, RunState, TaskState
from domain.import_inputs import ImportChanges
from domain.models import AutomaticImport, BackgroundTask, Contact, ExternalAccount, ImportRun, LedgerEntry, PlanTier
from jobs import pages, sync_external_account
from jobs.catalogue import ConnectorCatalogue
from tests import databases
from tests.fakes import FakeCatalogue, RecordingQueue
from tests.jobs.scripted import Stage, Step, page

ENDINGS: list[Step | None] = [
    None,
    TransientError("busy", retry_after=timedelta(seconds=1)),
    UnexpectedResponseError("broken"),
]


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=UUID(int=0), scopes=frozenset())


def edit(stage: Stage, import_id: UUID) -> Awaitable[AutomaticImport]:
    catalogue = ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False)
    changes = ImportChanges(criteria={"script": "other"})
    return automatic_imports.update(viewer(stage), import_id, changes, catalogue=catalogue, queue=RecordingQueue())


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def come_back_now() -> None:
    await database.fetch("UPDATE external_account SET next_cycle_at = now(), not_before = NULL")


@pytest.mark.parametrize("ending", ENDINGS, ids=["end", "busy", "broken"])
async def test_new_criteria_are_read_however_the_old_ones_end(stage: Stage, ending: Step | None) -> None:
    async def change() -> None:
        await edit(stage, import_id)

    import_id = await stage.add_import(page("ann"), change, *([ending] if ending else []))
    stage.scripts.steps["other"] = [page("bob")]

    await stage.cycle()
    await come_back_now()
    await stage.cycle()

    row = await AutomaticImport.get(id=import_id)
    runs = await stage.runs(import_id)
    assert await emails() == ["ann@example.com", "bob@example.com"]
    assert (row.state, row.backlog, row.checkpoint) == (ImportState.ACTIVE, False, {"at": "bob"})
    assert [(run.state, run.error_code or "") for run in runs] == [(RunState.COMPLETED, "")]


@pytest.mark.parametrize("ending", ENDINGS, ids=["end", "busy", "broken"])
async def test_a_pause_during_the_last_read_wins(stage: Stage, ending: Step | None) -> None:
    async def pause() -> None:
        await automatic_imports.pause(viewer(stage), import_id)

    import_id = await stage.add_import(page("ann"), pause, *([ending] if ending else []))

    await stage.cycle()

    row = await AutomaticImport.get(id=import_id)
    assert row.state == ImportState.PAUSED
    assert [run.state for run in await stage.runs(import_id)] == [RunState.CANCELLED]
    assert (await stage.external_account()).lease_token is None


async def test_a_full_run_asked_for_during_the_last_read_is_not_forgotten(stage: Stage) -> None:
    async def again() -> None:
        await automatic_imports.run_now(viewer(stage), import_id, full=True, queue=RecordingQueue())

    import_id = await stage.add_import(page("ann"), again)
    await stage.cycle()
    stage.scripts.steps["main"] = [page("ann", "bob")]

    assert await stage.cycle() == 1

    assert stage.scripts.checkpoints == [None, None]
    assert await emails() == ["ann@example.com", "bob@example.com"]
    assert (await AutomaticImport.get(id=import_id)).backlog is False


@pytest.mark.parametrize(
    "ending",
    [None, TransientError("busy"), UnexpectedResponseError("broken"), AccessRevokedError("401"), KeyError("bug")],
    ids=["end", "busy", "broken", "revoked", "bug"],
)
async def test_a_worker_that_was_taken_over_writes_nothing_however_its_reading_ends(
    stage: Stage, ending: Step | None
) -> None:
    async def take_over() -> None:
        await ExternalAccount.all().update(lease_token=uuid4(), lease_expires_at=datetime.now(UTC) + timedelta(hours=1))
        before.append(await snapshot())

    before: list[object] = []
    await stage.add_import(page("ann"), take_over, *([ending] if ending else []))

    await stage.cycle()

    assert [await snapshot()] == before


async def snapshot() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for model in (ExternalAccount, AutomaticImport, ImportRun):
        rows += await model.all().values()
    return rows


async def test_a_reconnect_is_not_undone_by_the_old_password(stage: Stage) -> None:
    async def reconnect() -> None:
        catalogue = ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False)
        await external_accounts.reconnect(viewer(stage), stage.external_account_id, credentials={}, catalogue=catalogue)

    await stage.add_import(page("ann"), reconnect, AccessRevokedError("401 for the old password"))
    await stage.cycle()
    stage.scripts.steps["main"] = [page("bob")]

    assert await stage.cycle() == 1

    assert (await stage.external_account()).health == ExternalAccountHealth.HEALTHY
    assert await emails() == ["ann@example.com", "bob@example.com"]


async def test_a_disconnect_between_claim_and_start_is_no_failure(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    claims = await cycle.claim_due(1)
    await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=FakeCatalogue())

    await run(stage, claims[0])

    account = await stage.external_account()
    assert (account.lease_token, account.next_cycle_at) == (None, None)
    assert [each.state for each in await stage.runs(import_id)] == [RunState.CANCELLED]


async def test_what_is_asked_for_while_a_lease_is_given_back_is_not_lost(stage: Stage) -> None:
    outside = contextvars.copy_context()
    import_id = await stage.add_import()
    claims = await cycle.claim_due(1)
    await automatic_imports.pause(viewer(stage), import_id)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM external_account FOR NO KEY UPDATE")
        # In a context of its own: else it would share this transaction.
        releasing = asyncio.create_task(cycle.release(claims[0]), context=outside)
        await asyncio.sleep(0.1)
        await connection.execute("UPDATE automatic_import SET state = 'ACTIVE'")
        await connection.execute("UPDATE external_account SET next_cycle_at = now()")
    await releasing

    assert len(await cycle.claim_due(1)) == 1


async def test_corrected_criteria_start_at_once_after_failures(stage: Stage) -> None:
    import_id = await stage.add_import(UnexpectedResponseError("broken"))
    await stage.cycle()
    await database.fetch(
        "UPDATE automatic_import SET consecutive_failures = 6, next_attempt_at = now() + interval '1 day'"
    )
    stage.scripts.steps["other"] = [page("bob")]

    await edit(stage, import_id)
    await stage.cycle()

    row = await AutomaticImport.get(id=import_id)
    assert await emails() == ["bob@example.com"]
    assert (row.state, row.consecutive_failures) == (ImportState.ACTIVE, 0)


async def test_a_page_that_takes_too_long_is_given_up_and_backed_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fetch("UPDATE external_account SET window_ends_at = now() + interval '30 minutes'")
    monkeypatch.setattr(pages, "READ_TIMEOUT", timedelta(seconds=0.05))
    import_id = await stage.add_import(lambda: asyncio.sleep(60))

    await stage.cycle()

    found = (await stage.runs(import_id))[0]
    assert found.state == RunState.WAITING_FOR_SERVICE
    assert found.error_message == "The service took longer than 0 seconds for a page."
    assert (await stage.external_account()).transient_failures == 1


async def test_an_os_error_of_a_connector_is_not_taken_for_a_lost_database(stage: Stage) -> None:
    import_id = await stage.add_import(OSError("disk"))

    await stage.cycle()

    assert [(each.state, each.error_code) for each in await stage.runs(import_id)] == [(RunState.FAILED, "INTERNAL")]
    assert (await stage.external_account()).lease_token is None


async def test_a_service_that_wants_to_be_left_alone_is_whoever_asks(stage: Stage) -> None:
    await database.fetch("UPDATE external_account SET window_ends_at = now() + interval '30 minutes'")
    import_id = await stage.add_import(TransientError("429", retry_after=timedelta(minutes=10)))
    await stage.cycle()

    await automatic_imports.run_now(viewer(stage), import_id, full=False, queue=RecordingQueue())

    assert await stage.cycle() == 0


async def test_a_service_that_is_down_when_a_cycle_begins_is_shown(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    await stage.next_window()
    await database.fetch("UPDATE external_account SET window_ends_at = now() + interval '30 minutes'")
    stage.scripts.steps["main"] = [TransientError("503")]

    await stage.cycle()

    runs = await stage.runs(import_id)
    assert [each.state for each in runs] == [RunState.COMPLETED, RunState.WAITING_FOR_SERVICE]
    assert runs[-1].error_message == "503"


async def test_a_service_that_is_busy_heals_no_failing_import(stage: Stage) -> None:
    import_id = await stage.add_import(TransientError("503", retry_after=timedelta(hours=9)))
    await database.fetch("UPDATE automatic_import SET state = 'FAILING', consecutive_failures = 3, backlog = false")

    await stage.cycle()

    row = await AutomaticImport.get(id=import_id)
    assert (row.state, row.consecutive_failures, row.backlog) == (ImportState.FAILING, 3, False)


async def test_control_characters_of_a_service_reach_no_table(stage: Stage) -> None:
    import_id = await stage.add_import(UnexpectedResponseError("a\0b\x1bc\nd"))

    await stage.cycle()

    assert [each.error_message for each in await stage.runs(import_id)] == ["a b c d"]


async def test_a_cancelled_run_that_reads_no_records_ends_as_cancelled(stage: Stage) -> None:
    async def cancel() -> None:
        await import_runs.cancel(stage.account_id, (await stage.runs(import_id))[0].id)

    import_id = await stage.add_import(cancel)

    await stage.cycle()

    assert [each.state for each in await stage.runs(import_id)] == [RunState.CANCELLED]


async def test_a_run_cancelled_while_it_waits_stays_cancelled_in_this_window(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", wait=timedelta(minutes=1)))
    await stage.cycle()
    [waiting] = await stage.runs(import_id)

    await import_runs.cancel(stage.account_id, waiting.id)
    stage.scripts.steps["main"] = [page("bob")]
    await database.fetch("UPDATE external_account SET next_cycle_at = now()")
    await stage.cycle()

    assert waiting.state == RunState.WAITING_FOR_SERVICE
    assert [each.state for each in await stage.runs(import_id)] == [RunState.CANCELLED]
    assert len(stage.scripts.steps["main"]) == 1


@pytest.mark.parametrize("patience", [page("ann", wait=timedelta(minutes=1)), TransientError("Busy.")])
async def test_a_run_cancelled_before_it_would_wait_ends_for_this_window(
    stage: Stage, patience: Page | TransientError
) -> None:
    async def cancel() -> None:
        await import_runs.cancel(stage.account_id, (await stage.runs(import_id))[0].id)

    import_id = await stage.add_import(cancel, patience)
    await stage.cycle()

    stage.scripts.steps["main"] = [page("bob")]
    await database.fetch("UPDATE external_account SET next_cycle_at = now(), not_before = NULL")
    await stage.cycle()

    assert [each.state for each in await stage.runs(import_id)] == [RunState.CANCELLED]
    assert len(stage.scripts.steps["main"]) == 1


async def test_an_operators_mistake_is_held_against_no_import(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    other = key_ring().seal(orjson.dumps({}), row=uuid4())
    await ExternalAccount.all().update(credentials=other)

    await stage.cycle()

    assert (await AutomaticImport.get(id=import_id)).state == ImportState.ACTIVE
    assert [each.state for each in await stage.runs(import_id)] == [RunState.QUEUED]
    assert (await stage.external_account()).lease_token is None


async def test_an_edit_at_the_moment_when_somebody_is_let_in_is_no_failure(stage: Stage) -> None:
    await PlanTier.all().update(contact_limit=0)
    await stage.add_import(page("ann"))
    await stage.cycle()
    await PlanTier.all().update(contact_limit=1)
    outside = contextvars.copy_context()
    async with database.transaction() as connection:
        await contact_limit.ask_for_draining(connection, stage.account_id)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM external_account FOR NO KEY UPDATE")
        # Each in a context of its own: else it would share this transaction.
        working = asyncio.create_task(stage.work(), context=outside.copy())
        await asyncio.create_task(databases.somebody_waits(), context=outside.copy())
        await connection.execute("UPDATE automatic_import SET revision = revision + 1")
    await working

    assert (await BackgroundTask.get()).state == TaskState.COMPLETED
    assert await emails() == ["ann@example.com"]


async def test_a_deleted_import_leaves_the_waiting_room(stage: Stage) -> None:
    await PlanTier.all().update(contact_limit=0)
    import_id = await stage.add_import(page("ann", "bob"))
    await stage.cycle()
    waiting = await LedgerEntry.filter(state="WAITING").count()

    await automatic_imports.delete(viewer(stage), import_id)

    assert waiting == 2
    assert await LedgerEntry.filter(state="WAITING").count() == 0


async def run(stage: Stage, claim: Claim) -> None:
    await sync_external_account.sync_external_account(
        stage.context, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token)
    )
