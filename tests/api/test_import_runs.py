"""Runs, their outcomes, and the ledger's records over GraphQL."""

from typing import Any

import pytest

from api.node import global_id
from domain.enums import LedgerState, Outcome, RunState, RunTrigger
from domain.models import AutomaticImport, ExternalAccount, ImportRun
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_import,
    make_ledger_row,
    make_outcome,
    make_run,
)

NODE = "query ($id: ID!) { node(id: $id) { ... on AutomaticImport { %s } } }"


@pytest.fixture
async def external_account(client: Client) -> ExternalAccount:
    return await make_external_account(client.account_id)


@pytest.fixture
async def automatic_import(external_account: ExternalAccount) -> AutomaticImport:
    return await make_import(external_account)


async def shown(client: Client, automatic_import: AutomaticImport, fields: str) -> Any:
    return (await client.data(NODE % fields, id=global_id("AutomaticImport", automatic_import.id)))["node"]


async def test_records_tell_the_present_state_of_each_with_its_reason(
    client: Client, automatic_import: AutomaticImport
) -> None:
    ann = await make_contact(client.account_id, "ann@example.com")
    await make_ledger_row(automatic_import, "2", contact=ann)
    await make_ledger_row(automatic_import, "1", state=LedgerState.SKIPPED, code="INVALID_EMAIL", email="ann@")
    fields = "externalId state code email contact { email }"

    everything = await shown(
        client, automatic_import, f"importedContactCount records(first: 1) {{ edges {{ node {{ {fields} }} }} }}"
    )
    linked = await shown(
        client, automatic_import, f"records(filter: {{state: LINKED}}) {{ edges {{ node {{ {fields} }} }} }}"
    )
    invalid = await shown(
        client, automatic_import, "records(filter: {code: INVALID_EMAIL}) { edges { node { externalId } } }"
    )

    skipped = {"externalId": "1", "state": "SKIPPED", "code": "INVALID_EMAIL", "email": "ann@", "contact": None}
    assert everything == {"importedContactCount": 1, "records": {"edges": [{"node": skipped}]}}
    assert linked["records"]["edges"] == [
        {
            "node": {
                "externalId": "2",
                "state": "LINKED",
                "code": None,
                "email": "ann@example.com",
                "contact": {"email": "ann@example.com"},
            }
        }
    ]
    assert invalid["records"]["edges"] == [{"node": {"externalId": "1"}}]


async def test_records_are_paged_by_external_id(client: Client, automatic_import: AutomaticImport) -> None:
    for external_id in ("b", "a", "c"):
        await make_ledger_row(automatic_import, external_id, state=LedgerState.SKIPPED)
    query = "records(first: 2, after: %s) { edges { node { externalId } } pageInfo { endCursor hasNextPage } }"

    first = (await shown(client, automatic_import, query % "null"))["records"]
    second = (await shown(client, automatic_import, query % f'"{first["pageInfo"]["endCursor"]}"'))["records"]

    assert [edge["node"]["externalId"] for edge in first["edges"] + second["edges"]] == ["a", "b", "c"]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)


async def test_runs_are_listed_newest_first_with_their_outcomes(
    client: Client, automatic_import: AutomaticImport
) -> None:
    ann = await make_contact(client.account_id, "ann@example.com")
    await make_run(automatic_import, state=RunState.FAILED, error_code="BROKEN", error_message="Try later.")
    run = await make_run(
        automatic_import,
        trigger=RunTrigger.USER,
        read_count=3,
        created_count=1,
        skipped_count=2,
        protected_count=1,
    )
    await make_outcome(run, "1", contact=ann, notes=["PROTECTED"])
    await make_outcome(run, "2", outcome=Outcome.SKIPPED, code="NO_EMAIL")

    data = await client.data(
        """query { importRuns { edges { node {
            state trigger stoppedBy error { code message } automaticImport { name }
            counts { read created updated unchanged skipped waiting failed protected }
            outcomes { edges { node { externalId outcome code notes contact { email } } } }
        } } } }"""
    )

    newest, oldest = [edge["node"] for edge in data["importRuns"]["edges"]]
    assert [edge["node"] for edge in newest.pop("outcomes")["edges"]] == [
        {
            "externalId": "1",
            "outcome": "CREATED",
            "code": None,
            "notes": ["PROTECTED"],
            "contact": {"email": "ann@example.com"},
        },
        {"externalId": "2", "outcome": "SKIPPED", "code": "NO_EMAIL", "notes": [], "contact": None},
    ]
    assert newest == {
        "state": "COMPLETED",
        "trigger": "USER",
        "stoppedBy": None,
        "error": None,
        "automaticImport": {"name": "Customers"},
        "counts": {
            "read": 3,
            "created": 1,
            "updated": 0,
            "unchanged": 0,
            "skipped": 2,
            "waiting": 0,
            "failed": 0,
            "protected": 1,
        },
    }
    assert (oldest["state"], oldest["error"]) == ("FAILED", {"code": "BROKEN", "message": "Try later."})


async def test_runs_and_outcomes_are_filtered(client: Client, external_account: ExternalAccount) -> None:
    one, other = await make_import(external_account), await make_import(external_account)
    failed = await make_run(one, state=RunState.FAILED, trigger=RunTrigger.USER)
    await make_run(other)
    await make_outcome(failed, "1")
    await make_outcome(failed, "2", outcome=Outcome.SKIPPED, code="NO_EMAIL")
    query = """query ($filter: ImportRunFilter, $outcomes: OutcomeFilter) {
        importRuns(filter: $filter) { edges { node {
            state outcomes(filter: $outcomes) { edges { node { externalId } } }
        } } }
    }"""

    async def found(outcomes: dict[str, str] | None = None, **filter_: str) -> list[tuple[str, list[str]]]:
        data = await client.data(query, filter=filter_, outcomes=outcomes)
        return [
            (edge["node"]["state"], [each["node"]["externalId"] for each in edge["node"]["outcomes"]["edges"]])
            for edge in data["importRuns"]["edges"]
        ]

    assert await found(state="FAILED") == [("FAILED", ["1", "2"])]
    assert await found(trigger="SCHEDULE") == [("COMPLETED", [])]
    assert await found(automaticImportId=global_id("AutomaticImport", one.id)) == [("FAILED", ["1", "2"])]
    assert await found({"outcome": "SKIPPED"}, state="FAILED") == [("FAILED", ["2"])]
    assert await found({"code": "NO_EMAIL"}, state="FAILED") == [("FAILED", ["2"])]


@pytest.mark.parametrize(
    ("state", "becomes", "requested"),
    [
        (RunState.QUEUED, "CANCELLED", True),
        (RunState.WAITING_FOR_SERVICE, "CANCELLED", True),
        (RunState.RUNNING, "RUNNING", True),
        (RunState.COMPLETED, "COMPLETED", False),
    ],
)
async def test_a_run_that_no_worker_is_busy_with_is_cancelled_at_once(
    client: Client, automatic_import: AutomaticImport, state: RunState, becomes: str, requested: bool
) -> None:
    run = await make_run(automatic_import, state=state)
    finished = becomes == "CANCELLED"

    data = await client.data(
        "mutation ($id: ID!) { cancelImportRun(input: {id: $id}) {"
        " importRun { state finishedAt } userErrors { code } } }",
        id=global_id("ImportRun", run.id),
    )

    assert data["cancelImportRun"]["userErrors"] == []
    assert data["cancelImportRun"]["importRun"]["state"] == becomes
    assert (data["cancelImportRun"]["importRun"]["finishedAt"] is not None) is finished
    stored = await ImportRun.get(account_id=client.account_id, id=run.id)
    assert stored.cancel_requested is requested
