"""R15: one reaction for each way that reading fails."""

from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import AccessRevokedError, CheckpointExpiredError, TransientError, UnexpectedResponseError
from domain import database
from domain.enums import ExternalAccountHealth, ImportState, RunState, RunStop
from domain.models import AutomaticImport, Contact
from tests.jobs.scripted import Stage, page


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


async def far_window_end() -> None:
    """The window is far from its end, wherever the external account's phase is."""
    await database.fetch("UPDATE external_account SET window_ends_at = now() + interval '30 minutes'")


async def test_waits_as_long_as_the_service_asks(stage: Stage) -> None:
    await far_window_end()
    import_id = await stage.add_import(page("ann"), TransientError("429", retry_after=timedelta(seconds=90)))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    account = await stage.external_account()
    assert (run.state, run.waiting_until, run.error_message) == (
        RunState.WAITING_FOR_SERVICE,
        account.next_cycle_at,
        "429",
    )
    assert seconds_from_now(account.next_cycle_at) == pytest.approx(90, abs=5)
    assert await stage.cycle() == 0


async def test_a_service_that_asks_for_years_is_looked_at_again_after_a_day(stage: Stage) -> None:
    # A moment where seconds are due.
    await stage.add_import(page("ann"), TransientError("429", retry_after=timedelta(seconds=1_795_000_000)))

    await stage.cycle()

    account = await stage.external_account()
    assert seconds_from_now(account.not_before) == pytest.approx(86_400, abs=30)
    # By then, or with the window that holds that moment.
    assert seconds_from_now(account.next_cycle_at) == pytest.approx(86_400, abs=3600)


async def test_a_page_that_wants_to_be_asked_again_in_years_is_asked_after_a_day(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", wait=timedelta(days=20_000)))

    await stage.cycle()

    assert seconds_from_now((await stage.runs(import_id))[0].waiting_until) == pytest.approx(86_400, abs=30)


async def test_resumes_after_the_last_stored_page(stage: Stage) -> None:
    await far_window_end()
    import_id = await stage.add_import(page("ann"), page("bob"), TransientError("503"), page("cid"))

    await stage.cycle()
    await database.fetch("UPDATE external_account SET next_cycle_at = now()")
    await stage.cycle()

    assert stage.scripts.checkpoints == [None, {"at": "bob"}]
    assert await emails() == ["ann@example.com", "bob@example.com", "cid@example.com"]
    runs = await stage.runs(import_id)
    assert [run.state for run in runs] == [RunState.COMPLETED]
    assert runs[0].error_message is None


async def test_backs_off_twice_as_long_each_time_and_starts_over_after_an_answer(stage: Stage) -> None:
    await stage.add_import()
    waits = []
    for steps in (
        [TransientError("x")],
        [TransientError("x")],
        [TransientError("x")],
        [page("ann")],
        [TransientError("x")],
    ):
        await far_window_end()
        await database.fetch("UPDATE external_account SET next_cycle_at = now(); ")
        await database.fetch("UPDATE automatic_import SET served_window_ends_at = NULL")
        stage.scripts.steps["main"] = [*steps]
        await stage.cycle()
        waits.append(seconds_from_now((await stage.external_account()).next_cycle_at))

    assert waits[:3] == [pytest.approx(30, rel=0.25), pytest.approx(60, rel=0.25), pytest.approx(120, rel=0.25)]
    assert waits[4] == pytest.approx(30, rel=0.25)


async def test_a_wait_of_zero_is_a_second(stage: Stage) -> None:
    await far_window_end()
    await stage.add_import(TransientError("429", retry_after=timedelta(0)))

    await stage.cycle()

    assert seconds_from_now((await stage.external_account()).next_cycle_at) == pytest.approx(1, abs=0.9)


async def test_a_wait_beyond_the_window_ends_the_run(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"), TransientError("429", retry_after=timedelta(hours=2)))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert (run.state, run.stopped_by, run.error_message) == (RunState.COMPLETED, RunStop.SERVICE, "429")
    assert seconds_from_now((await stage.external_account()).next_cycle_at) == pytest.approx(7200, abs=5)


async def test_revoked_access_stops_the_polling_until_someone_reconnects(stage: Stage) -> None:
    first = await stage.add_import(page("ann"), AccessRevokedError("401 from the service"), script="first")
    second = await stage.add_import(page("bob"), page("cid"), script="second")

    await stage.cycle()
    await stage.next_window()

    account = await stage.external_account()
    assert (account.health, account.health_reason) == (
        ExternalAccountHealth.NEEDS_RECONNECT,
        "401 from the service. Reconnect the external account.",
    )
    assert await stage.cycle() == 0
    for import_id in (first, second):
        run = (await stage.runs(import_id))[0]
        assert (run.state, run.error_code) == (RunState.FAILED, "ACCESS_REVOKED")
    assert (await AutomaticImport.get(id=first)).checkpoint == {"at": "ann"}


async def test_an_expired_checkpoint_means_one_full_sweep(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    stage.scripts.steps["main"] = [CheckpointExpiredError("410"), page("ann", "bob")]
    await stage.next_window()

    await stage.cycle()

    assert stage.scripts.checkpoints == [None, {"at": "ann"}, None]
    assert await emails() == ["ann@example.com", "bob@example.com"]
    assert [run.state for run in await stage.runs(import_id)] == [RunState.COMPLETED, RunState.COMPLETED]


async def test_a_checkpoint_that_expires_in_a_full_sweep_fails_the_run_instead_of_looping(stage: Stage) -> None:
    import_id = await stage.add_import(CheckpointExpiredError("410"), CheckpointExpiredError("410"))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert (run.state, run.error_code, run.error_message) == (RunState.FAILED, "UNEXPECTED_RESPONSE", "410")
    assert len(stage.scripts.checkpoints) == 1


async def test_a_broken_contract_fails_the_run_and_leaves_the_other_imports_alone(stage: Stage) -> None:
    broken = await stage.add_import(page("ann"), UnexpectedResponseError("not JSON"), script="broken")
    sound = await stage.add_import(page("bob"), page("cid"), script="sound")

    await stage.cycle()

    failed = (await stage.runs(broken))[0]
    assert (failed.state, failed.error_code, failed.error_message) == (
        RunState.FAILED,
        "UNEXPECTED_RESPONSE",
        "not JSON",
    )
    assert [run.state for run in await stage.runs(sound)] == [RunState.COMPLETED]
    assert await emails() == ["ann@example.com", "bob@example.com", "cid@example.com"]
    assert (await AutomaticImport.get(id=broken)).state == ImportState.FAILING


async def test_failures_are_tried_again_farther_apart_each_time_until_one_succeeds(stage: Stage) -> None:
    import_id = await stage.add_import()
    distances = []
    for _ in range(4):
        await database.fetch("UPDATE automatic_import SET next_attempt_at = now() - interval '1 second'")
        stage.scripts.steps["main"] = [UnexpectedResponseError("no")]
        await stage.next_window()
        await stage.cycle()
        row = await AutomaticImport.get(id=import_id)
        window_ends_at = (await stage.external_account()).window_ends_at
        assert row.next_attempt_at is not None
        assert window_ends_at is not None
        distances.append((row.next_attempt_at - window_ends_at).total_seconds())
    await database.fetch("UPDATE automatic_import SET next_attempt_at = now() - interval '1 second'")
    await stage.next_window()
    await stage.cycle()

    recovered = await AutomaticImport.get(id=import_id)
    assert distances == [0, 1800, 5400, 12600]
    assert (recovered.state, recovered.consecutive_failures, recovered.next_attempt_at) == (ImportState.ACTIVE, 0, None)
    assert (await stage.runs(import_id))[-1].state == RunState.COMPLETED


async def test_a_bug_in_a_connector_fails_its_run_without_telling_internals(stage: Stage) -> None:
    broken = await stage.add_import(KeyError("s3cret"), script="broken")
    await stage.add_import(page("bob"), script="sound")

    await stage.cycle()

    run = (await stage.runs(broken))[0]
    assert (run.state, run.error_code) == (RunState.FAILED, "INTERNAL")
    assert "s3cret" not in (run.error_message or "")
    assert await emails() == ["bob@example.com"]


async def test_a_service_without_a_connector_fails_with_its_name(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await database.fetch("UPDATE external_account SET service = 'gone'")

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert (run.state, run.error_message) == (RunState.FAILED, "This version of Sluice has no connector for gone.")


async def test_a_run_that_the_service_stopped_stays_in_the_history_as_it_was(stage: Stage) -> None:
    import_id = await stage.add_import(TransientError("429", retry_after=timedelta(hours=2)))
    await stage.cycle()
    await database.fetch("UPDATE external_account SET not_before = NULL, next_cycle_at = now()")
    await stage.next_window()

    await stage.cycle()

    runs = await stage.runs(import_id)
    assert [run.state for run in runs] == [RunState.COMPLETED, RunState.COMPLETED]
    assert (runs[0].stopped_by, runs[0].error_message, runs[0].checks) == (RunStop.SERVICE, "429", 1)
    assert runs[1].stopped_by is None
    assert runs[1].error_message is None
