"""Whoever follows an import hears at once what users do to it (R19): here nobody looks unless told."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api.node import global_id
from domain import progress
from domain.enums import ImportState, LedgerState, RunState
from domain.events import ImportChanged
from domain.models import AutomaticImport
from domain.progress import Pace
from tests.api.conftest import Client
from tests.api.live import Live, message, running_server, socket, subscribe
from tests.api.live import progress as told
from tests.factories import make_external_account, make_import, make_ledger_row, make_run
from tests.fakes import FakeCatalogue, RecordingEvents

OF_IMPORT = "subscription ($id: ID) { importRunProgress(automaticImportId: $id) { id state } }"
OF_RUN = "subscription ($id: ID) { importRunProgress(runId: $id) { id state } }"
OF_ACCOUNT = "subscription { accountImportProgress { state automaticImport { name } } }"
FOLLOWERS = (progress.follow_run, progress.follow_import, progress.follow_account)


@pytest.fixture
async def live(database: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    """A server whose followers look for themselves after a minute only."""
    for follower in FOLLOWERS:
        monkeypatch.setattr(follower, "__kwdefaults__", {"pace": Pace(check=60)})
    async with running_server() as server:
        yield server


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a user does to an import whose last run is `run`, and the states that are told of it."""

    mutation: str
    run: RunState = RunState.RUNNING
    state: ImportState = ImportState.ACTIVE
    told: tuple[str, ...]


CASES = [
    Case(mutation='pauseAutomaticImport(input: {id: "%(import)s"})', told=("CANCELLED",)),
    Case(
        mutation='resumeAutomaticImport(input: {id: "%(import)s"})',
        run=RunState.CANCELLED,
        state=ImportState.PAUSED,
        told=("QUEUED",),
    ),
    Case(mutation='runAutomaticImport(input: {id: "%(import)s"})', run=RunState.COMPLETED, told=("QUEUED",)),
    Case(
        mutation='updateAutomaticImport(input: {id: "%(import)s", criteria: {group: "2"}})',
        run=RunState.NEEDS_REVIEW,
        state=ImportState.NEEDS_REVIEW,
        told=("CANCELLED", "QUEUED"),
    ),
    Case(mutation='deleteAutomaticImport(input: {id: "%(import)s"})', told=("CANCELLED",)),
    Case(mutation='disconnectExternalAccount(input: {externalAccountId: "%(external)s"})', told=("CANCELLED",)),
    Case(mutation='undoImportRun(input: {id: "%(earlier)s"})', told=("CANCELLED",)),
    Case(mutation='cancelImportRun(input: {id: "%(run)s"})', run=RunState.QUEUED, told=("CANCELLED",)),
    Case(
        mutation='approveImportRun(input: {id: "%(run)s", decision: APPROVE})',
        run=RunState.NEEDS_REVIEW,
        state=ImportState.NEEDS_REVIEW,
        told=("QUEUED",),
    ),
    Case(
        mutation='approveImportRun(input: {id: "%(run)s", decision: DROP})',
        run=RunState.NEEDS_REVIEW,
        state=ImportState.NEEDS_REVIEW,
        told=("CANCELLED",),
    ),
    Case(mutation='retryOutcomes(input: {automaticImportId: "%(import)s"})', run=RunState.COMPLETED, told=("QUEUED",)),
]


async def ids_in(automatic_import: AutomaticImport, case: Case) -> dict[str, str]:
    """The import as `case` finds it, with an earlier run, and the ids of what there is."""
    earlier = await make_run(automatic_import)
    review = {"kind": "CHANGES"} if case.run is RunState.NEEDS_REVIEW else None
    run = await make_run(automatic_import, state=case.run, review=review)
    await AutomaticImport.filter(id=automatic_import.id).update(state=case.state)
    await make_ledger_row(automatic_import, "1", state=LedgerState.SKIPPED, code="INVALID_EMAIL", email="none")
    return {
        "import": global_id("AutomaticImport", automatic_import.id),
        "external": global_id("ExternalAccount", automatic_import.external_account_id),
        "earlier": global_id("ImportRun", earlier.id),
        "run": global_id("ImportRun", run.id),
    }


async def do(live: Live, mutation: str) -> None:
    """A mutation that meets no problems, over a socket of its own."""
    async with socket(live) as connection:
        await subscribe(connection, f"mutation {{ {mutation} {{ userErrors {{ message }} }} }}")
        [payload] = (await message(connection))["payload"]["data"].values()
        assert payload == {"userErrors": []}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutation.partition("(")[0])
async def test_whoever_follows_an_import_hears_at_once_what_is_done_to_it(live: Live, case: Case) -> None:
    ids = await ids_in(live.automatic_import, case)
    async with socket(live) as connection:
        await subscribe(connection, OF_IMPORT, id=ids["import"])
        assert await told(connection) == {"id": ids["run"], "state": case.run}

        await do(live, case.mutation % ids)

        assert tuple([(await told(connection))["state"] for _ in case.told]) == case.told


async def test_whoever_follows_a_run_hears_at_once_that_its_import_was_paused(live: Live) -> None:
    ids = await ids_in(live.automatic_import, CASES[0])
    async with socket(live) as connection:
        await subscribe(connection, OF_RUN, id=ids["run"])
        assert (await told(connection))["state"] == "RUNNING"

        await do(live, CASES[0].mutation % ids)

        assert (await told(connection))["state"] == "CANCELLED"


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.COMPLETED])
async def test_nobody_follows_an_import_that_is_deleted(live: Live, state: RunState) -> None:
    delete = replace(CASES[4], run=state)
    ids = await ids_in(live.automatic_import, delete)
    async with socket(live) as connection:
        await subscribe(connection, OF_IMPORT, id=ids["import"])
        await told(connection)

        await do(live, delete.mutation % ids)

        if state is RunState.RUNNING:
            assert (await told(connection))["state"] == "CANCELLED"
        assert await message(connection) == {"id": "1", "type": "complete"}


async def test_whoever_follows_the_account_hears_at_once_of_a_new_import(live: Live) -> None:
    ids = await ids_in(live.automatic_import, CASES[0])
    async with socket(live) as connection:
        await subscribe(connection, OF_ACCOUNT)
        await told(connection)

        account = ids["external"]
        await do(live, f'createAutomaticImport(input: {{externalAccountId: "{account}", name: "New"}})')

        assert await told(connection) == {"state": "QUEUED", "automaticImport": {"name": "New"}}


async def test_a_disconnect_is_told_of_each_of_its_imports_and_of_no_other(
    client: Client, events: RecordingEvents
) -> None:
    external_account = await make_external_account(client.account_id)
    imports = [await make_import(external_account, name=name) for name in ("one", "other")]
    await make_import(await make_external_account(client.account_id), name="elsewhere")

    await client.data(
        "mutation ($id: ID!) { disconnectExternalAccount(input: {externalAccountId: $id}) { userErrors { code } } }",
        id=global_id("ExternalAccount", external_account.id),
    )

    assert events.published == [
        ImportChanged(account_id=client.account_id, automatic_import_id=each.id) for each in imports
    ]


async def test_a_disconnect_is_told_before_the_service_has_answered(
    client: Client, events: RecordingEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    external_account = await make_external_account(client.account_id)
    followed = await make_import(external_account)
    told: list[object] = []

    async def revoke(_: FakeCatalogue, service: str, credentials: Mapping[str, Any]) -> None:
        told.extend(events.published)

    monkeypatch.setattr(FakeCatalogue, "revoke", revoke)
    await client.data(
        "mutation ($id: ID!) { disconnectExternalAccount(input: {externalAccountId: $id}) { userErrors { code } } }",
        id=global_id("ExternalAccount", external_account.id),
    )

    assert told == [ImportChanged(account_id=client.account_id, automatic_import_id=followed.id)]


async def test_what_is_refused_is_told_nobody(client: Client, stranger: Client, events: RecordingEvents) -> None:
    ids = await ids_in(await make_import(await make_external_account(client.account_id)), CASES[0])

    for case in CASES:
        answer = await stranger.data(f"mutation {{ {case.mutation % ids} {{ userErrors {{ code }} }} }}")
        assert list(answer.values()) == [{"userErrors": [{"code": "NOT_FOUND"}]}]

    assert events.published == []
