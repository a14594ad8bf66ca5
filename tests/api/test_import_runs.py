"""Runs, their outcomes, and the ledger's records over GraphQL."""

from typing import Any
from uuid import UUID

import pytest

from api.node import global_id
from domain.enums import ImportState, LedgerState, Outcome, RunState, RunTrigger
from domain.models import AutomaticImport, ExternalAccount, ImportRun, LedgerEntry, RecordOutcome
from domain.records import FieldType
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_ledger_row,
    make_list,
    make_outcome,
    make_run,
    make_tag,
    rows_of,
)
from tests.fakes import RecordingQueue

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


async def test_an_outcome_shows_what_changed_of_the_contact(client: Client, automatic_import: AutomaticImport) -> None:
    spent, news, vip = (
        await make_field(client.account_id, "SAMPLE_SPENT", field_type=FieldType.NUMBER),
        await make_list(client.account_id, "News"),
        await make_tag(client.account_id, "VIP"),
    )
    run = await make_run(automatic_import)
    await make_outcome(run, "1", outcome=Outcome.UPDATED)
    await make_outcome(run, "2")
    deleted_field = str(UUID(int=2**128 - 1))
    await RecordOutcome.filter(external_id="1").update(
        before={"email": "ann@example.com", "email_key": "k", "field_values": {str(spent.id): 3}},
        after={
            "email": "ann@example.org",
            "email_key": "l",
            "phone": "+46",
            "field_values": {str(spent.id): 5, deleted_field: ["a"]},
            "lists": [str(news.id), deleted_field],
            "tags": [str(vip.id)],
        },
    )

    data = await client.data(
        """{ importRuns { edges { node { outcomes { edges { node {
            changes { name field { personalizationTag } before after } listsAdded { name } tagsAdded { name }
        } } } } } } }"""
    )

    first, second = [edge["node"] for edge in data["importRuns"]["edges"][0]["node"]["outcomes"]["edges"]]
    assert first == {
        "changes": [
            {"name": "email", "field": None, "before": "ann@example.com", "after": "ann@example.org"},
            {"name": "phone", "field": None, "before": None, "after": "+46"},
            {"name": "Sample_Spent", "field": {"personalizationTag": "SAMPLE_SPENT"}, "before": 3, "after": 5},
            {"name": "a deleted field", "field": None, "before": None, "after": ["a"]},
        ],
        "listsAdded": [{"name": "News"}],
        "tagsAdded": [{"name": "VIP"}],
    }
    assert second == {"changes": [], "listsAdded": [], "tagsAdded": []}


async def test_records_and_outcomes_are_found_by_id_and_by_address(
    client: Client, automatic_import: AutomaticImport
) -> None:
    run = await make_run(automatic_import)
    ann = await make_contact(client.account_id, "ann@example.com")
    await make_ledger_row(automatic_import, "1", contact=ann)
    await make_ledger_row(automatic_import, "2", state=LedgerState.SKIPPED, code="INVALID_EMAIL", email="Bob@")
    await make_outcome(run, "1")
    await make_outcome(run, "2", outcome=Outcome.SKIPPED, code="INVALID_EMAIL")
    query = """query ($id: ID!, $records: RecordFilter, $outcomes: OutcomeFilter) { node(id: $id) {
        ... on AutomaticImport {
            records(filter: $records) { edges { node { externalId } } }
            lastRun { outcomes(filter: $outcomes) { edges { node { externalId } } } }
        }
    } }"""

    async def found(**filters: dict[str, str]) -> tuple[list[str], list[str]]:
        node = (await client.data(query, id=global_id("AutomaticImport", automatic_import.id), **filters))["node"]
        records, outcomes = node["records"], node["lastRun"]["outcomes"]
        return (
            [edge["node"]["externalId"] for edge in records["edges"]],
            [edge["node"]["externalId"] for edge in outcomes["edges"]],
        )

    assert await found(records={"email": " ANN@Example.com "}) == (["1"], ["1", "2"])
    assert await found(records={"email": "Bob@"}) == (["2"], ["1", "2"])
    assert await found(records={"email": "cid@example.com"}) == ([], ["1", "2"])
    assert await found(records={"externalId": "2"}, outcomes={"externalId": "1"}) == (["2"], ["1"])


async def test_a_run_tells_what_it_kept_silent_what_was_deleted_and_what_is_to_be_judged(
    client: Client, automatic_import: AutomaticImport
) -> None:
    await make_run(
        automatic_import,
        state=RunState.NEEDS_REVIEW,
        deleted_count=4,
        silenced_autoresponders=1,
        silenced_webhooks=2,
        silenced_notifications=3,
        review={
            "kind": "CHANGES",
            "known": 100,
            "affected": 60,
            "blanked": 50,
            "address_changed": 10,
            "examples": [
                {
                    "external_id": "1",
                    "email": "ann@example.com",
                    "before": {"first_name": "Ann", "city": "Malmö"},
                    "after": {"city": None, "email": "x@example.com"},
                }
            ],
        },
    )
    query = """{ importRuns { edges { node {
        deletedCount keptSilent { autoresponders webhooks notifications }
        review {
            kind known affected blanked addressChanged consentLowered missing
            examples { externalId email changes { name before after } }
        }
    } } } }"""

    [edge] = (await client.data(query))["importRuns"]["edges"]

    assert edge["node"] == {
        "deletedCount": 4,
        "keptSilent": {"autoresponders": 1, "webhooks": 2, "notifications": 3},
        "review": {
            "kind": "CHANGES",
            "known": 100,
            "affected": 60,
            "blanked": 50,
            "addressChanged": 10,
            "consentLowered": 0,
            "missing": 0,
            "examples": [
                {
                    "externalId": "1",
                    "email": "ann@example.com",
                    "changes": [
                        {"name": "city", "before": "Malmö", "after": None},
                        {"name": "firstName", "before": "Ann", "after": None},
                        {"name": "email", "before": None, "after": "x@example.com"},
                    ],
                }
            ],
        },
    }


APPROVE = """mutation ($input: ApproveImportRunInput!) { approveImportRun(input: $input) {
    importRun { state review { kind } } userErrors { code field message }
} }"""


@pytest.mark.parametrize(
    ("decision", "run_state", "import_state"),
    [("APPROVE", "QUEUED", ImportState.ACTIVE), ("DROP", "CANCELLED", ImportState.PAUSED)],
)
async def test_a_run_that_stopped_for_a_review_is_approved_or_dropped(
    client: Client, external_account: ExternalAccount, decision: str, run_state: str, import_state: ImportState
) -> None:
    automatic_import = await make_import(external_account, state=ImportState.NEEDS_REVIEW)
    run = await make_run(automatic_import, state=RunState.NEEDS_REVIEW, review={"kind": "CHANGES", "known": 1})
    wish = {"id": global_id("ImportRun", run.id), "decision": decision}

    judged = (await client.data(APPROVE, input=wish))["approveImportRun"]
    again = (await client.data(APPROVE, input=wish))["approveImportRun"]

    assert judged == {"importRun": {"state": run_state, "review": {"kind": "CHANGES"}}, "userErrors": []}
    assert (await AutomaticImport.get(id=automatic_import.id)).state == import_state
    assert again["importRun"] is None
    assert [(error["code"], error["field"]) for error in again["userErrors"]] == [("INVALID", ["id"])]


RETRY = """mutation ($input: RetryOutcomesInput!) { retryOutcomes(input: $input) {
    automaticImport { lastRun { trigger state } } retriedCount notRetryableCounts { code count }
    userErrors { code field message } warnings
} }"""


async def test_records_are_retried_in_a_run_that_starts_at_once(
    client: Client, automatic_import: AutomaticImport, queue: RecordingQueue
) -> None:
    run = await make_run(automatic_import)
    for external_id, code in (("1", "INVALID_EMAIL"), ("2", "NO_EMAIL"), ("3", "INVALID_EMAIL")):
        await make_ledger_row(automatic_import, external_id, state=LedgerState.SKIPPED, code=code, email="none")
        await make_outcome(run, external_id, outcome=Outcome.SKIPPED, code=code)

    by_run = await client.data(RETRY, input={"importRunId": global_id("ImportRun", run.id), "externalIds": ["1", "2"]})

    assert by_run["retryOutcomes"] == {
        "automaticImport": {"lastRun": {"trigger": "RETRY", "state": "QUEUED"}},
        "retriedCount": 1,
        "notRetryableCounts": [{"code": "NO_EMAIL", "count": 1}],
        "userErrors": [],
        "warnings": ["1 without an email address: add one at the service, and they come in by themselves."],
    }
    assert queue.woken == 1
    assert [row.external_id async for row in LedgerEntry.filter(due=True)] == ["1"]


@pytest.mark.parametrize("both", [True, False])
async def test_a_retry_needs_one_of_run_and_import(
    client: Client, automatic_import: AutomaticImport, both: bool
) -> None:
    run = await make_run(automatic_import)
    ids = {
        "importRunId": global_id("ImportRun", run.id),
        "automaticImportId": global_id("AutomaticImport", automatic_import.id),
    }

    answer = (await client.data(RETRY, input=ids if both else {}))["retryOutcomes"]

    assert answer["userErrors"] == [
        {"code": "INVALID", "field": [], "message": "Give either `importRunId` or `automaticImportId`."}
    ]


async def test_nothing_of_another_account_is_retried_or_judged(
    client: Client, stranger: Client, automatic_import: AutomaticImport
) -> None:
    run = await make_run(automatic_import, state=RunState.NEEDS_REVIEW, review={"kind": "CHANGES"})
    await make_ledger_row(automatic_import, "1", state=LedgerState.SKIPPED, code="INVALID_EMAIL", email="none")
    before = await rows_of(client.account_id)
    run_id = global_id("ImportRun", run.id)

    by_run = await stranger.data(RETRY, input={"importRunId": run_id})
    by_import = await stranger.data(
        RETRY, input={"automaticImportId": global_id("AutomaticImport", automatic_import.id)}
    )
    judged = await stranger.data(APPROVE, input={"id": run_id, "decision": "DROP"})

    errors = [answer["userErrors"] for payload in (by_run, by_import, judged) for answer in payload.values()]
    assert [(error["code"], error["field"]) for [error] in errors] == [
        ("NOT_FOUND", ["importRunId"]),
        ("NOT_FOUND", ["automaticImportId"]),
        ("NOT_FOUND", ["id"]),
    ]
    assert await rows_of(client.account_id) == before
