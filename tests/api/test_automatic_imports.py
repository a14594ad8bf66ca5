"""Automatic imports over GraphQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.node import global_id
from domain.enums import ExternalAccountHealth, ImportState, LedgerState
from domain.models import Account, AutomaticImport, ExternalAccount
from tests.api.conftest import Client
from tests.configuration import Configure
from tests.factories import (
    make_external_account,
    make_import,
    make_ledger_row,
    make_list,
    make_tag,
)
from tests.fakes import RecordingQueue

CREATE = """mutation ($input: CreateAutomaticImportInput!) { createAutomaticImport(input: $input) {
    automaticImport {
        name criteria state namePolicy phonePolicy importedContactCount
        externalAccount { label service { name } } lists { name } tags { name }
        lastRun { trigger state counts { read } } backlog { remaining expectedFinishAt }
    }
    userErrors { code field message } warnings
} }"""
NODE = "query ($id: ID!) { node(id: $id) { ... on AutomaticImport { %s } } }"


@pytest.fixture
async def external_account(client: Client) -> ExternalAccount:
    return await make_external_account(client.account_id)


@pytest.fixture
async def automatic_import(external_account: ExternalAccount) -> AutomaticImport:
    return await make_import(external_account)


async def shown(client: Client, automatic_import: AutomaticImport, fields: str) -> Any:
    return (await client.data(NODE % fields, id=global_id("AutomaticImport", automatic_import.id)))["node"]


async def change(client: Client, mutation: str, automatic_import: AutomaticImport, **values: Any) -> Any:
    type_name = mutation[0].upper() + mutation[1:]
    answer = await client.data(
        f"mutation ($input: {type_name}Input!) {{ {mutation}(input: $input) {{"
        " automaticImport { name criteria state namePolicy lists { name } lastRun { state trigger } }"
        " userErrors { code field message } } }",
        input={"id": global_id("AutomaticImport", automatic_import.id), **values},
    )
    return answer[mutation]


async def test_a_new_import_starts_at_once(
    client: Client, external_account: ExternalAccount, queue: RecordingQueue
) -> None:
    news, vip = await make_list(client.account_id, "News"), await make_tag(client.account_id, "vip")

    data = await client.data(
        CREATE,
        input={
            "externalAccountId": global_id("ExternalAccount", external_account.id),
            "name": " Customers ",
            "criteria": {"group": "1"},
            "listIds": [global_id("ContactList", news.id)],
            "tagIds": [global_id("Tag", vip.id)],
            "namePolicy": "IF_EMPTY",
        },
    )

    assert data["createAutomaticImport"] == {
        "automaticImport": {
            "name": "Customers",
            "criteria": {"group": "1"},
            "state": "ACTIVE",
            "namePolicy": "IF_EMPTY",
            "phonePolicy": "ALWAYS",
            "importedContactCount": 0,
            "externalAccount": {"label": "Sample shop", "service": {"name": "Sample"}},
            "lists": [{"name": "News"}],
            "tags": [{"name": "vip"}],
            "lastRun": {"trigger": "CREATED", "state": "QUEUED", "counts": {"read": 0}},
            "backlog": {"remaining": None, "expectedFinishAt": None},
        },
        "userErrors": [],
        "warnings": [],
    }
    assert queue.woken == 1


async def test_the_third_import_of_a_service_and_a_full_account_bring_warnings(
    client: Client, external_account: ExternalAccount
) -> None:
    await make_import(external_account)
    await make_import(external_account)
    await Account.filter(id=client.account_id).update(active_contacts=9000)

    data = await client.data(
        CREATE, input={"externalAccountId": global_id("ExternalAccount", external_account.id), "name": "Third"}
    )

    assert data["createAutomaticImport"]["userErrors"] == []
    assert data["createAutomaticImport"]["warnings"] == [
        "You now have 3 automatic imports of sample; more than 2 are rarely needed.",
        "9,000 of 10,000 contacts of your plan are used; new ones wait when there is no room.",
    ]


async def test_every_problem_of_an_input_is_told_at_once(
    client: Client, external_account: ExternalAccount, queue: RecordingQueue
) -> None:
    data = await client.data(
        CREATE,
        input={
            "externalAccountId": global_id("ExternalAccount", external_account.id),
            "name": " ",
            "criteria": {"nope": 1},
        },
    )

    assert data["createAutomaticImport"] == {
        "automaticImport": None,
        "userErrors": [
            {"code": "BLANK", "field": ["name"], "message": "Give it a name."},
            {"code": "INVALID", "field": ["criteria", "nope"], "message": "There is no such criterion."},
        ],
        "warnings": [],
    }
    assert (await AutomaticImport.all().count(), queue.woken) == (0, 0)


async def test_criteria_must_be_an_object(client: Client, automatic_import: AutomaticImport) -> None:
    refused = await change(client, "updateAutomaticImport", automatic_import, criteria=[1])

    assert refused["userErrors"] == [
        {"code": "INVALID", "field": ["criteria"], "message": "`criteria` must be a JSON object."}
    ]


async def test_an_edit_changes_what_it_names_and_nothing_else(
    client: Client, automatic_import: AutomaticImport
) -> None:
    news = await make_list(client.account_id, "News")

    answer = await change(
        client,
        "updateAutomaticImport",
        automatic_import,
        name="Renamed",
        listIds=[global_id("ContactList", news.id)],
        namePolicy="IF_EMPTY",
    )

    assert answer == {
        "automaticImport": {
            "name": "Renamed",
            "criteria": {},
            "state": "ACTIVE",
            "namePolicy": "IF_EMPTY",
            "lists": [{"name": "News"}],
            "lastRun": None,
        },
        "userErrors": [],
    }


async def test_an_import_is_paused_resumed_run_and_deleted(
    client: Client, automatic_import: AutomaticImport, queue: RecordingQueue
) -> None:
    paused = await change(client, "pauseAutomaticImport", automatic_import)
    not_run = await change(client, "runAutomaticImport", automatic_import)
    resumed = await change(client, "resumeAutomaticImport", automatic_import)
    run = await change(client, "runAutomaticImport", automatic_import, full=True)
    deleted = await client.data(
        "mutation ($id: ID!) { deleteAutomaticImport(input: {id: $id}) {"
        " deletedAutomaticImportId userErrors { code } } }",
        id=global_id("AutomaticImport", automatic_import.id),
    )

    assert paused["automaticImport"]["state"] == "PAUSED"
    assert not_run == {
        "automaticImport": None,
        "userErrors": [{"code": "PAUSED", "field": ["id"], "message": "This import is paused. Resume it first."}],
    }
    assert resumed["automaticImport"]["state"] == "ACTIVE"
    assert resumed["automaticImport"]["lastRun"] == {"state": "QUEUED", "trigger": "USER"}
    assert run["userErrors"] == []
    assert deleted["deleteAutomaticImport"] == {
        "deletedAutomaticImportId": global_id("AutomaticImport", automatic_import.id),
        "userErrors": [],
    }
    assert await shown(client, automatic_import, "name") is None
    assert queue.woken == 2


@pytest.mark.parametrize(
    ("health", "state", "expected"),
    [
        (ExternalAccountHealth.HEALTHY, ImportState.ACTIVE, "ACTIVE"),
        (ExternalAccountHealth.HEALTHY, ImportState.PAUSED, "PAUSED"),
        (ExternalAccountHealth.HEALTHY, ImportState.FAILING, "FAILING"),
        (ExternalAccountHealth.HEALTHY, ImportState.NEEDS_REVIEW, "NEEDS_REVIEW"),
        (ExternalAccountHealth.NEEDS_RECONNECT, ImportState.ACTIVE, "NEEDS_RECONNECT"),
        (ExternalAccountHealth.DISCONNECTED, ImportState.ACTIVE, "NEEDS_RECONNECT"),
        (ExternalAccountHealth.DISCONNECTED, ImportState.PAUSED, "PAUSED"),
    ],
)
async def test_the_state_is_what_the_owner_has_to_see(
    client: Client, health: ExternalAccountHealth, state: ImportState, expected: str
) -> None:
    external_account = await make_external_account(
        client.account_id, health=health, health_reason="revoked" if expected == "NEEDS_RECONNECT" else None
    )
    automatic_import = await make_import(external_account, state=state, state_reason="stored reason")

    answer = await shown(client, automatic_import, "state stateReason")
    listed = await client.data(
        "query ($s: AutomaticImportState) { automaticImports(filter: {state: $s}) { edges { node { state } } } }",
        s=expected,
    )

    reason = "revoked" if expected == "NEEDS_RECONNECT" else "stored reason"
    assert answer == {"state": expected, "stateReason": reason}
    assert listed["automaticImports"]["edges"] == [{"node": {"state": expected}}]


async def test_the_next_run_is_the_next_cycle_or_when_a_failing_import_is_tried_again(client: Client) -> None:
    cycle = datetime(2030, 1, 1, tzinfo=UTC)
    external_account = await make_external_account(client.account_id, next_cycle_at=cycle)
    later = cycle + timedelta(hours=3)
    healthy = await make_import(external_account)
    failing = await make_import(external_account, state=ImportState.FAILING, next_attempt_at=later)
    paused = await make_import(external_account, state=ImportState.PAUSED)

    moments = [(await shown(client, each, "nextRunAt"))["nextRunAt"] for each in (healthy, failing, paused)]

    assert moments == [cycle.isoformat(), later.isoformat(), None]


async def test_a_backlog_tells_what_is_left_and_when_it_will_be_in(client: Client, configure: Configure) -> None:
    configure(cap=500, cycle_seconds=1800)
    window_ends_at = datetime.now(UTC) + timedelta(minutes=10)
    external_account = await make_external_account(client.account_id, window_used=499, window_ends_at=window_ends_at)
    automatic_import = await make_import(external_account, source_remaining=1501)
    for number in range(2):
        await make_ledger_row(automatic_import, f"r{number}", state=LedgerState.SKIPPED, code="NO_EMAIL")

    answer = await shown(client, automatic_import, "backlog { remaining expectedFinishAt }")

    # One fits into this window, 500 each into the next three, of which the first begins when this one ends.
    assert answer == {
        "backlog": {
            "remaining": 1501,
            "expectedFinishAt": (window_ends_at + timedelta(seconds=2 * 1800)).isoformat(),
        }
    }


async def test_an_import_that_has_caught_up_has_no_backlog(client: Client, external_account: ExternalAccount) -> None:
    automatic_import = await make_import(external_account, backlog=False, source_remaining=10)

    assert await shown(client, automatic_import, "backlog { remaining }") == {"backlog": None}


async def test_imports_are_filtered_by_service_and_external_account(
    client: Client, external_account: ExternalAccount
) -> None:
    book = await make_external_account(client.account_id, service="book")
    await make_import(external_account, name="Customers")
    await make_import(book, name="Friends")
    query = "query ($f: AutomaticImportFilter) { automaticImports(filter: $f) { edges { node { name } } } }"

    by_service = await client.data(query, f={"service": "book"})
    by_account = await client.data(query, f={"externalAccountId": global_id("ExternalAccount", external_account.id)})

    assert by_service["automaticImports"]["edges"] == [{"node": {"name": "Friends"}}]
    assert by_account["automaticImports"]["edges"] == [{"node": {"name": "Customers"}}]
