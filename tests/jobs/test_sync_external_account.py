"""A cycle: pages in turns, the cap, and what users do meanwhile."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from connectors.base import Page
from domain import automatic_imports, cycle, database, external_accounts, import_runs
from domain.account import Viewer
from domain.enums import ImportState, RunState, RunStop, RunTrigger
from domain.events import ImportChanged, RunChanged
from domain.import_inputs import ImportChanges
from domain.models import AutomaticImport, Contact, ExternalAccount, PlanTier
from domain.records import SourceConsent
from jobs import sync_external_account
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.fakes import FakeCatalogue, RecordingQueue
from tests.jobs.scripted import RecordedEvents, Stage, page, record


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=UUID(int=0), scopes=frozenset())


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def test_a_first_run_reads_to_the_end_and_the_next_cycle_is_planned_for_the_window(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"), page("bob", "cid"))

    assert await stage.cycle() == 1

    run = (await stage.runs(import_id))[0]
    account = await stage.external_account()
    assert await emails() == ["ann@example.com", "bob@example.com", "cid@example.com"]
    assert (run.state, run.trigger) == (RunState.COMPLETED, RunTrigger.CREATED)
    assert run.stopped_by is None
    assert (run.read_count, run.created_count) == (3, 3)
    assert account.lease_token is None
    assert account.next_cycle_at == account.window_ends_at
    assert await stage.cycle() == 0
    assert stage.scripts.closed == 1


async def test_a_later_cycle_continues_from_the_stored_checkpoint(stage: Stage) -> None:
    await stage.add_import(page("ann"), page("bob"))
    await stage.cycle()
    stage.scripts.steps["main"] = [page("cid")]
    await stage.next_window()

    await stage.cycle()

    assert stage.scripts.checkpoints == [None, {"at": "bob"}]
    assert await emails() == ["ann@example.com", "bob@example.com", "cid@example.com"]


async def test_cycles_that_find_nothing_share_one_row(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    for _ in range(3):
        await stage.cycle()
        await stage.next_window()

    runs = await stage.runs(import_id)
    assert [(run.checks, run.read_count) for run in runs] == [(1, 1), (2, 0)]


async def test_sweeps_that_read_only_what_is_known_share_one_row(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    for _ in range(3):
        stage.scripts.steps["main"] = [page("ann")]
        await stage.next_window()
        await stage.cycle()
    stage.scripts.steps["main"] = [page("ann", "bob")]
    await stage.next_window()
    await stage.cycle()

    runs = await stage.runs(import_id)
    assert [(run.checks, run.read_count, run.created_count, run.unchanged_count) for run in runs] == [
        (1, 1, 1, 0),
        (3, 3, 0, 3),
        (1, 2, 1, 1),
    ]
    assert {run.state for run in runs} == {RunState.COMPLETED}


async def test_the_cap_ends_the_run_and_the_next_window_goes_on_without_loss(
    stage: Stage, configure: Configure
) -> None:
    configure(cap=2)
    pages = [page("1", "2", "3", at=3), page("4", "5", at=5)]
    import_id = await stage.add_import(*pages)

    await stage.cycle()
    stopped = (await stage.runs(import_id))[0]
    backlog = (await AutomaticImport.get()).backlog
    for remaining in ([*pages], pages[1:]):
        stage.scripts.steps["main"] = list(remaining)
        await stage.next_window()
        await stage.cycle()

    runs = await stage.runs(import_id)
    assert (stopped.state, stopped.stopped_by, stopped.read_count) == (RunState.COMPLETED, RunStop.CAP, 2)
    assert backlog is True
    assert [run.created_count for run in runs] == [2, 2, 1]
    assert runs[-1].stopped_by is None
    assert (await AutomaticImport.get()).backlog is False
    assert stage.scripts.checkpoints == [None, None, {"at": 3}]
    assert await emails() == [f"{n}@example.com" for n in range(1, 6)]


async def test_what_letting_in_leaves_of_the_cap_is_shared_in_fair_turns(stage: Stage, configure: Configure) -> None:
    configure(cap=4)
    await PlanTier.all().update(contact_limit=0)
    one = await stage.add_import(page("ann", "bob"), script="one")
    other = await stage.add_import(script="other")
    await stage.cycle()
    await PlanTier.all().update(contact_limit=1000)
    stage.scripts.steps |= {"one": [page("cid", "dan", "eve")], "other": [page("fay", "gus", "hal")]}
    await stage.next_window()

    await stage.cycle()

    assert await emails() == [f"{name}@example.com" for name in ("ann", "bob", "cid", "fay")]
    assert [(run.trigger, run.created_count) for run in await stage.runs(one)] == [
        (RunTrigger.CREATED, 0),
        (RunTrigger.ROOM, 2),
        (RunTrigger.SCHEDULE, 1),
    ]
    assert (await stage.runs(other))[-1].created_count == 1


async def test_two_imports_share_the_cap_in_fair_turns(stage: Stage, configure: Configure) -> None:
    configure(cap=10)
    large = await stage.add_import(page(*(f"a{n}" for n in range(40))), script="large")
    small = await stage.add_import(page(*(f"b{n}" for n in range(4))), script="small")

    await stage.cycle()

    assert [run.created_count for run in await stage.runs(large)] == [6]
    assert [run.created_count for run in await stage.runs(small)] == [4]
    assert [run.stopped_by for run in await stage.runs(large)] == [RunStop.CAP]
    assert (await stage.runs(small))[0].stopped_by is None
    assert (await stage.external_account()).window_used == 10


async def test_a_page_under_way_when_its_import_is_paused_leaves_no_trace(stage: Stage) -> None:
    async def pause() -> None:
        await automatic_imports.pause(viewer(stage), import_id)

    import_id = await stage.add_import(page("ann"), pause, page("bob"))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    account = await stage.external_account()
    assert await emails() == ["ann@example.com"]
    assert (run.state, run.read_count) == (RunState.CANCELLED, 1)
    assert (account.lease_token, account.next_cycle_at) == (None, None)


async def test_criteria_edited_while_a_page_is_under_way_start_a_backfill(stage: Stage) -> None:
    async def edit() -> None:
        await automatic_imports.update(
            viewer(stage),
            import_id,
            ImportChanges(criteria={"script": "other"}),
            catalogue=ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False),
            queue=RecordingQueue(),
        )

    import_id = await stage.add_import(page("ann"), edit, page("bob"))
    stage.scripts.steps["other"] = [page("cid")]

    await stage.cycle()
    await stage.cycle()

    assert await emails() == ["ann@example.com", "cid@example.com"]
    assert stage.scripts.checkpoints == [None, None]
    assert [run.state for run in await stage.runs(import_id)] == [RunState.COMPLETED]


async def test_a_deleted_import_ends_in_mid_run_and_keeps_its_contacts(stage: Stage) -> None:
    async def delete() -> None:
        await automatic_imports.delete(viewer(stage), import_id)

    import_id = await stage.add_import(page("ann"), delete, page("bob"))

    await stage.cycle()

    assert await emails() == ["ann@example.com"]
    assert (await stage.runs(import_id))[0].state == RunState.CANCELLED
    assert (await stage.external_account()).next_cycle_at is None


async def test_a_disconnect_in_mid_run_erases_the_credentials_and_stops(stage: Stage) -> None:
    async def disconnect() -> None:
        await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=FakeCatalogue())

    import_id = await stage.add_import(page("ann"), disconnect, page("bob"))

    await stage.cycle()

    account = await stage.external_account()
    assert await emails() == ["ann@example.com"]
    assert (account.credentials, account.next_cycle_at, account.lease_token) == (None, None, None)
    assert (await stage.runs(import_id))[0].state == RunState.CANCELLED
    assert (await AutomaticImport.get()).state == ImportState.PAUSED


async def test_a_cancelled_run_stops_after_the_page_under_way(stage: Stage) -> None:
    async def cancel() -> None:
        await import_runs.cancel(stage.account_id, (await stage.runs(import_id))[0].id)

    import_id = await stage.add_import(page("ann"), cancel, page("bob"), page("cid"))

    await stage.cycle()

    assert await emails() == ["ann@example.com", "bob@example.com"]
    assert (await stage.runs(import_id))[0].state == RunState.CANCELLED


async def test_run_now_during_a_cycle_is_not_forgotten(stage: Stage) -> None:
    async def run_now() -> None:
        await automatic_imports.run_now(viewer(stage), import_id, full=False, queue=RecordingQueue())

    import_id = await stage.add_import(page("ann"), run_now)

    await stage.cycle()

    assert await stage.cycle() == 1


async def test_a_worker_whose_lease_ran_out_stores_nothing_more(stage: Stage) -> None:
    async def lose_the_lease() -> None:
        await ExternalAccount.all().update(lease_expires_at=datetime.now(UTC) - timedelta(seconds=1))
        claims.extend(await cycle.claim_due(10))

    claims: list[cycle.Claim] = []
    await stage.add_import(page("ann"), lose_the_lease, page("bob"))

    await stage.cycle()

    assert len(claims) == 1
    assert await emails() == ["ann@example.com"]
    assert (await stage.external_account()).lease_token == claims[0].lease_token


async def test_whoever_takes_over_carries_on_with_the_same_run(stage: Stage) -> None:
    async def die() -> None:
        raise asyncio.CancelledError

    import_id = await stage.add_import(page("ann"), die, page("bob"))
    with suppress(asyncio.CancelledError):
        await stage.cycle()
    stage.scripts.steps["main"] = [page("bob")]

    assert await stage.cycle() == 1

    runs = await stage.runs(import_id)
    assert [(run.state, run.read_count) for run in runs] == [(RunState.COMPLETED, 2)]
    assert stage.scripts.checkpoints == [None, {"at": "ann"}]


async def test_out_of_time_the_cycle_hands_over_to_the_next_job(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import_id = await stage.add_import(*(page(str(n)) for n in range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(sync_external_account, "BUDGET", timedelta(seconds=-1))
        await stage.cycle()
    interrupted = (await stage.runs(import_id))[0].state

    assert await stage.cycle() == 1

    assert interrupted == RunState.RUNNING
    assert stage.queue.woken == 1
    assert [(run.state, run.read_count) for run in await stage.runs(import_id)] == [(RunState.COMPLETED, 3)]


async def test_out_of_time_whoever_is_to_be_let_in_is_by_the_next_job(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await PlanTier.all().update(contact_limit=0)
    await stage.add_import(page("ann"))
    await stage.cycle()
    await PlanTier.all().update(contact_limit=1)
    # Nothing else is due.
    later = datetime.now(UTC) + timedelta(hours=32)
    await AutomaticImport.all().update(state=ImportState.FAILING, next_attempt_at=later)
    await stage.next_window()
    with monkeypatch.context() as patch:
        patch.setattr(sync_external_account, "BUDGET", timedelta(seconds=-1))
        await stage.cycle()
    interrupted = await emails()

    assert await stage.cycle() == 1

    assert interrupted == []
    assert stage.queue.woken == 1
    assert await emails() == ["ann@example.com"]
    assert await stage.cycle() == 0


class Leases(RecordedEvents):
    """Until when the lease is, whenever a change is told."""

    def __init__(self) -> None:
        super().__init__()
        self.until: list[datetime | None] = []

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        """Look at it."""
        self.until.append((await ExternalAccount.get()).lease_expires_at)


async def test_every_step_of_letting_in_is_a_sign_of_life(stage: Stage) -> None:
    await PlanTier.all().update(contact_limit=0)
    for name in ("ann", "bob", "cid"):
        await stage.add_import(page(name), script=name)
    await stage.cycle()
    await PlanTier.all().update(contact_limit=3)
    await stage.next_window()
    stage.events = leases = Leases()

    await stage.cycle()

    assert await emails() == ["ann@example.com", "bob@example.com", "cid@example.com"]
    first, second, third = [until for until in leases.until if until is not None][:3]
    assert first < second < third


async def test_watchers_hear_of_every_change_in_order(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"), page("bob"))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert [event.revision for event in stage.events.published] == [2, 3, 4, 5]
    assert {event.run_id for event in stage.events.published} == {run.id}
    assert run.revision == 5


async def test_a_page_that_asks_to_wait_is_asked_again_then(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", wait=timedelta(minutes=1)))

    await stage.cycle()
    waiting = (await stage.runs(import_id))[0]
    account = await stage.external_account()
    stage.scripts.steps["main"] = [page("bob")]
    await database.fetch("UPDATE external_account SET next_cycle_at = now()")
    await stage.cycle()

    assert (waiting.state, waiting.waiting_until) == (RunState.WAITING_FOR_SERVICE, account.next_cycle_at)
    assert [(run.state, run.read_count) for run in await stage.runs(import_id)] == [(RunState.COMPLETED, 2)]


async def test_who_waits_for_a_contact_that_another_import_just_made_comes_before_anything_new(stage: Stage) -> None:
    await PlanTier.all().update(contact_limit=0)
    await stage.add_import(script="first")
    second = await stage.add_import(page("bob"), script="second")
    await stage.cycle()
    unconfirmed = record("1", "bob@example.com", consent=SourceConsent.PENDING)
    stage.scripts.steps["first"] = [Page(records=[unconfirmed], checkpoint={"at": 1})]
    stage.scripts.steps["second"] = [Page(records=[record("bob", phone="2")], checkpoint={"at": 2})]
    await stage.next_window()

    await stage.cycle()

    assert [(run.read_count, run.waiting_count, run.updated_count) for run in await stage.runs(second)] == [
        (1, 1, 0),
        # Linked as it waited, which changes nothing, then read.
        (2, 0, 1),
    ]
    assert await emails() == ["bob@example.com"]
