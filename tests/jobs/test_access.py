"""Tokens that end, or are refused, while a service is read: renewed once, and read on from where it stopped."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from domain import external_accounts, previews
from domain.account import Viewer
from domain.credentials import seal_json, unseal_json
from domain.enums import ExternalAccountHealth, RunState, TaskState
from domain.errors import ErrorCode, Refused
from domain.models import Contact, ExternalAccount
from domain.previews import PreviewRequest
from domain.settings import client_registration
from jobs.access import Access, open_connector
from tests.factories import make_account, make_external_account
from tests.jobs import vendor
from tests.jobs.vendor import PEOPLE, VendorStage, register, vendor_stage

TAKEN_BACK = (
    "POST https://vendor.example/token: 400 invalid_grant: the service no longer accepts what the user agreed to."
    " Reconnect the external account."
)
NOT_REGISTERED = (
    "This server is not registered at Vendor: its operator must set SLUICE_VENDOR_CLIENT_ID and"
    " SLUICE_VENDOR_CLIENT_SECRET."
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def stage(database: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VendorStage]:
    """An external account at a service whose tokens end and rotate."""
    register(monkeypatch)
    async with vendor_stage() as made:
        yield made
    monkeypatch.undo()
    client_registration.cache_clear()


def viewer(stage: VendorStage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=stage.account_id, scopes=frozenset())


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def test_tokens_that_end_soon_are_renewed_before_anything_is_read(stage: VendorStage) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(minutes=4))
    import_id = await stage.add_import()

    await stage.cycle()

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    assert stage.vendor.pages_asked == [("a1", 0), ("a1", 2), ("a1", 4), ("a1", 6)]
    assert await stage.tokens() == ("a1", "r1")
    assert [run.state for run in await stage.runs(import_id)] == [RunState.COMPLETED]
    assert await emails() == PEOPLE


async def test_tokens_that_last_are_used_as_they_are(stage: VendorStage) -> None:
    await stage.add_import()

    await stage.cycle()

    assert (stage.vendor.token_requests, await stage.tokens(), await emails()) == ([], ("a0", "r0"), PEOPLE)


async def test_a_token_refused_in_mid_run_is_renewed_and_the_run_goes_on_behind_the_last_page(
    stage: VendorStage,
) -> None:
    stage.vendor.ends_after = 2
    import_id = await stage.add_import()

    await stage.cycle()

    # By the clock it had an hour left: ours, or the service's, is wrong.
    assert stage.vendor.pages_asked == [("a0", 0), ("a0", 2), ("a0", 4), ("a1", 4), ("a1", 6)]
    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    run = (await stage.runs(import_id))[0]
    assert (run.state, run.read_count, run.created_count, run.error_code) == (RunState.COMPLETED, 6, 6, None)
    assert await emails() == PEOPLE
    assert (await stage.external_account()).health == ExternalAccountHealth.HEALTHY


async def test_imports_of_one_external_account_renew_once_together(stage: VendorStage) -> None:
    stage.vendor.ends_after = 3
    first, second = await stage.add_import(script="first"), await stage.add_import(script="second")

    await stage.cycle()

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    for import_id in (first, second):
        run = (await stage.runs(import_id))[0]
        assert (run.state, run.read_count) == (RunState.COMPLETED, 6)


async def test_an_import_that_is_refused_while_another_renews_reads_on_with_what_that_one_gets(
    stage: VendorStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages of this size are fetched ahead, while the other import has its turn.
    monkeypatch.setattr(vendor, "PEOPLE", [f"person-{number}@example.com" for number in range(360)])
    monkeypatch.setattr(vendor, "PER_PAGE", 120)
    stage.vendor.ends_after, stage.vendor.hesitates = 1, 0.3
    first, second = await stage.add_import(script="first"), await stage.add_import(script="second")

    await stage.cycle()

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    assert (await stage.external_account()).health == ExternalAccountHealth.HEALTHY
    for import_id in (first, second):
        run = (await stage.runs(import_id))[0]
        assert (run.state, run.read_count, run.error_code) == (RunState.COMPLETED, 360, None)


async def test_imports_that_are_refused_at_once_renew_once_together(stage: VendorStage) -> None:
    stage.vendor.access, stage.vendor.hesitates = "another", 0.3
    sealed = (await stage.external_account()).credentials or b""
    async with stage.context["open_client"]() as client:
        access = Access(
            service=vendor.VENDOR,
            client=client,
            account_id=stage.account_id,
            external_account_id=stage.external_account_id,
            credentials=unseal_json(sealed, row=stage.external_account_id),
        )

        async def read() -> int:
            return sum([len(page.records) async for page in open_connector(access, {}).pages(None)])

        assert [*await asyncio.gather(read(), read())] == [6, 6]

    assert stage.vendor.pages_asked[:2] == [("a0", 0), ("a0", 0)]
    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]


async def test_a_service_that_refuses_renewed_tokens_too_needs_a_reconnect(stage: VendorStage) -> None:
    stage.vendor.always_refuses = True
    import_id = await stage.add_import()

    await stage.cycle()
    await stage.next_window()

    assert len(stage.vendor.token_requests) == 1
    assert stage.vendor.pages_asked == [("a0", 0), ("a1", 0)]
    assert (await stage.external_account()).health == ExternalAccountHealth.NEEDS_RECONNECT
    assert (await stage.runs(import_id))[0].error_code == "ACCESS_REVOKED"
    assert await stage.cycle() == 0


@pytest.mark.parametrize("ends_in", [timedelta(minutes=1), timedelta(hours=1)], ids=["by the clock", "in mid-run"])
async def test_a_grant_that_the_user_took_back_needs_a_reconnect_and_is_polled_no_more(
    stage: VendorStage, ends_in: timedelta
) -> None:
    await stage.give("a0", "r0", ends_in=ends_in)
    stage.vendor.is_revoked = True
    import_id = await stage.add_import()

    await stage.cycle()
    await stage.next_window()

    account = await stage.external_account()
    assert (account.health, account.health_reason) == (
        ExternalAccountHealth.NEEDS_RECONNECT,
        TAKEN_BACK,
    )
    run = (await stage.runs(import_id))[0]
    assert (run.state, run.error_code) == (RunState.FAILED, "ACCESS_REVOKED")
    assert await stage.cycle() == 0
    assert len(stage.vendor.token_requests) == 1


async def test_a_token_endpoint_that_does_not_answer_costs_time_alone(stage: VendorStage) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(minutes=1))
    await ExternalAccount.all().update(next_cycle_at=LONG_AGO)
    stage.vendor.busy = 1
    import_id = await stage.add_import()

    await stage.cycle()
    assert (await stage.tokens(), (await stage.external_account()).transient_failures) == (("a0", "r0"), 1)
    await ExternalAccount.all().update(next_cycle_at=LONG_AGO, not_before=None)
    await stage.cycle()

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0", "r0"]
    assert (await stage.runs(import_id))[-1].state == RunState.COMPLETED
    assert await emails() == PEOPLE


async def test_a_server_that_is_not_registered_any_more_says_what_its_operator_must_set(
    stage: VendorStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(minutes=1))
    monkeypatch.delenv("SLUICE_VENDOR_CLIENT_SECRET")
    client_registration.cache_clear()
    import_id = await stage.add_import()

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert (run.state, run.error_code, run.error_message) == (
        RunState.FAILED,
        "UNEXPECTED_RESPONSE",
        NOT_REGISTERED,
    )


async def test_tokens_without_a_refresh_token_are_used_until_they_are_refused(stage: VendorStage) -> None:
    await stage.give("a0", None, ends_in=timedelta(minutes=-1))
    stage.vendor.ends_after = 2
    await stage.add_import()

    await stage.cycle()

    account = await stage.external_account()
    assert (account.health, account.health_reason) == (
        ExternalAccountHealth.NEEDS_RECONNECT,
        f"GET http://{stage.address}/people: 401. Reconnect the external account.",
    )
    assert stage.vendor.token_requests == []
    assert await emails() == PEOPLE[:4]


async def test_a_preview_renews_as_a_cycle_does(stage: VendorStage) -> None:
    stage.vendor.ends_after = 1
    request = PreviewRequest(external_account_id=stage.external_account_id)
    preview_id = await previews.request(viewer(stage), request, catalogue=stage.catalogue, queue=stage.queue)

    await stage.work()

    preview = (await previews.by_ids(stage.account_id, [preview_id]))[preview_id]
    assert (preview.state, preview.records_read, await stage.tokens()) == (TaskState.COMPLETED, 6, ("a1", "r1"))


async def test_choices_are_offered_with_renewed_tokens(stage: VendorStage) -> None:
    stage.vendor.access = "another"

    found = await external_accounts.criteria_choices(
        stage.account_id, stage.external_account_id, criterion="group", search=None, catalogue=stage.catalogue
    )

    assert ([choice.value for choice in found], await stage.tokens()) == (["me"], ("a1", "r1"))


async def test_choices_that_only_a_reconnect_can_offer_say_so(stage: VendorStage) -> None:
    stage.vendor.is_revoked = True

    with pytest.raises(Refused) as refused:
        await external_accounts.criteria_choices(
            stage.account_id, stage.external_account_id, criterion="group", search=None, catalogue=stage.catalogue
        )

    [problem] = refused.value.problems
    assert (problem.code, problem.message) == (
        ErrorCode.CREDENTIALS_REJECTED,
        TAKEN_BACK,
    )


async def test_a_cycle_a_preview_and_choices_at_once_renew_once(stage: VendorStage) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(minutes=1))
    await stage.add_import()
    request = PreviewRequest(external_account_id=stage.external_account_id)
    await previews.request(viewer(stage), request, catalogue=stage.catalogue, queue=stage.queue)

    await asyncio.gather(
        stage.cycle(),
        stage.work(),
        external_accounts.criteria_choices(
            stage.account_id, stage.external_account_id, criterion="group", search=None, catalogue=stage.catalogue
        ),
    )

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    assert (await stage.tokens(), await emails()) == (("a1", "r1"), PEOPLE)


async def test_a_disconnect_revokes_what_was_given_once_it_is_erased_here(stage: VendorStage) -> None:
    warnings = await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=stage.catalogue)

    assert (warnings, stage.vendor.given_back, await stage.tokens()) == ([], ["a0"], None)


async def test_what_has_ended_is_renewed_to_be_revoked(stage: VendorStage) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(hours=-1))
    stage.vendor.access = "another"

    warnings = await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=stage.catalogue)

    assert [asked["refresh_token"] for asked in stage.vendor.token_requests] == ["r0"]
    assert (warnings, stage.vendor.given_back, await stage.tokens()) == ([], ["a1"], None)


async def test_what_has_ended_and_cannot_be_renewed_is_told(stage: VendorStage) -> None:
    await stage.give("a0", "r0", ends_in=timedelta(hours=-1))
    stage.vendor.is_revoked = True

    warnings = await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=stage.catalogue)

    said = f"POST http://{stage.address}/revoke: 401"
    assert warnings == [f"Its access could not be revoked at the service. {said} Revoke it there yourself."]
    assert (stage.vendor.given_back, await stage.tokens()) == ([], None)


async def test_what_another_account_reads_with_is_left_to_the_last_one_that_disconnects(stage: VendorStage) -> None:
    ours = await stage.external_account()
    theirs = await make_external_account((await make_account()).id, service="vendor")
    sealed = seal_json({"access_token": "a0", "refresh_token": "r0", "expires_at": None}, row=theirs.id)
    await ExternalAccount.filter(id=theirs.id).update(remote_identity=ours.remote_identity, credentials=sealed)
    # Of the same name at other services, and long disconnected: neither counts.
    for values in ({"service": "sample"}, {"service": "vendor", "credentials": None}):
        other = await make_external_account((await make_account()).id)
        await ExternalAccount.filter(id=other.id).update(remote_identity=ours.remote_identity, **values)
    them = Viewer(account_id=theirs.account_id, token_id=theirs.account_id, scopes=frozenset())

    first = await external_accounts.disconnect(viewer(stage), ours.id, catalogue=stage.catalogue)
    between = list(stage.vendor.given_back)
    last = await external_accounts.disconnect(them, theirs.id, catalogue=stage.catalogue)

    assert first == ["Its access could not be revoked at the service. Revoke it there yourself."]
    assert (between, await stage.tokens()) == ([], None)
    assert (last, stage.vendor.given_back) == ([], ["a0"])


async def test_what_cannot_be_revoked_is_erased_here_and_told(stage: VendorStage) -> None:
    stage.vendor.busy = 1

    warnings = await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=stage.catalogue)

    said = f"POST http://{stage.address}/revoke: 503"
    assert warnings == [f"Its access could not be revoked at the service. {said} Revoke it there yourself."]
    assert (stage.vendor.given_back, await stage.tokens()) == ([], None)


async def test_a_cycle_that_a_disconnect_shuts_out_leaves_it_disconnected(stage: VendorStage) -> None:
    stage.vendor.always_refuses = True
    await stage.add_import()
    stage.vendor.lets_answer.clear()
    cycle = asyncio.create_task(stage.cycle())
    await stage.vendor.was_asked.wait()

    await external_accounts.disconnect(viewer(stage), stage.external_account_id, catalogue=stage.catalogue)
    stage.vendor.lets_answer.set()
    await cycle

    assert (await stage.external_account()).health == ExternalAccountHealth.DISCONNECTED
