"""The account over GraphQL: its plan, its contact limit, and who changed what."""

from typing import Any

import pytest

from domain import account, database
from domain.audit import record_engine_audit
from domain.enums import ImportState, LedgerState
from domain.models import Account
from tests.api.conftest import Client
from tests.factories import make_external_account, make_import, make_ledger_row
from tests.fakes import RecordingQueue

USAGE = """{ account {
    plan { key }
    contactUsage { active limit waiting autoUpgrade nextTier { key contactLimit } ceiling { key } warning }
} }"""
CHANGE = """mutation ($input: ChangePlanInput!) { changePlan(input: $input) {
    account { plan { key } contactUsage { nextTier { key } } } userErrors { code field message } warnings
} }"""
AUTO_UPGRADE = """mutation ($input: SetAutoUpgradeInput!) { setAutoUpgrade(input: $input) {
    account { contactUsage { autoUpgrade ceiling { key } } } userErrors { code field message } warnings
} }"""
ENTRIES = """query ($first: Int, $after: String) { account { auditEntries(first: $first, after: $after) {
    edges { node { action actor subject details } } pageInfo { hasNextPage endCursor }
} } }"""


@pytest.mark.parametrize(
    ("active", "warning"),
    [
        (8999, None),
        (9000, "9,000 of 10,000 contacts of your plan are used; new ones wait when there is no room."),
        (10000, "10,000 of 10,000 contacts of your plan are used; new ones wait when there is no room."),
    ],
)
async def test_the_usage_tells_how_full_the_account_is(client: Client, active: int, warning: str | None) -> None:
    await Account.filter(id=client.account_id).update(active_contacts=active)
    external_account = await make_external_account(client.account_id)
    for automatic_import in (await make_import(external_account), await make_import(external_account)):
        await make_ledger_row(
            automatic_import, "1", state=LedgerState.WAITING, code="CONTACT_LIMIT", email="ann@example.com"
        )
        await make_ledger_row(automatic_import, "2", state=LedgerState.SKIPPED, code="NO_EMAIL")

    data = await client.data(USAGE)

    assert data["account"] == {
        "plan": {"key": "contacts-10000"},
        "contactUsage": {
            "active": active,
            "limit": 10000,
            "waiting": 1,
            "autoUpgrade": False,
            "nextTier": {"key": "contacts-25000", "contactLimit": 25000},
            "ceiling": None,
            "warning": warning,
        },
    }


async def test_the_highest_plan_has_none_above_it(client: Client) -> None:
    await Account.filter(id=client.account_id).update(plan_tier_key="contacts-1000000")

    assert (await client.data(USAGE))["account"]["contactUsage"]["nextTier"] is None


async def test_the_plans_are_the_ladder(client: Client) -> None:
    plans = (await client.data("{ plans { key name contactLimit } }"))["plans"]

    assert (len(plans), plans[0]) == (10, {"key": "contacts-1000", "name": "1,000 contacts", "contactLimit": 1000})


async def test_a_plan_is_changed_with_a_warning_where_it_is_nearly_full(
    client: Client, stranger: Client, queue: RecordingQueue
) -> None:
    await Account.filter(id=client.account_id).update(active_contacts=950)

    answer = (await client.data(CHANGE, input={"planKey": "contacts-1000"}))["changePlan"]

    assert answer == {
        "account": {"plan": {"key": "contacts-1000"}, "contactUsage": {"nextTier": {"key": "contacts-2500"}}},
        "userErrors": [],
        "warnings": ["950 of 1,000 contacts of your plan are used; new ones wait when there is no room."],
    }
    assert queue.woken == 1
    assert (await Account.get(id=stranger.account_id)).plan_tier_key == "contacts-10000"


async def test_a_plan_that_does_not_exist_is_a_user_error(client: Client) -> None:
    answer = (await client.data(CHANGE, input={"planKey": "free"}))["changePlan"]

    assert (answer["account"], answer["warnings"]) == (None, [])
    assert [(error["code"], error["field"]) for error in answer["userErrors"]] == [("NOT_FOUND", ["planKey"])]


async def test_auto_upgrade_is_set_with_its_ceiling(client: Client) -> None:
    async def set_to(**values: Any) -> Any:
        return (await client.data(AUTO_UPGRADE, input=values))["setAutoUpgrade"]

    on = await set_to(enabled=True, ceilingPlanKey="contacts-25000")
    below = await set_to(enabled=True, ceilingPlanKey="contacts-1000")
    off = await set_to(enabled=False)

    assert on == {
        "account": {"contactUsage": {"autoUpgrade": True, "ceiling": {"key": "contacts-25000"}}},
        "userErrors": [],
        "warnings": [],
    }
    assert below["userErrors"] == [
        {
            "code": "INVALID",
            "field": ["ceilingPlanKey"],
            "message": "The account is on the plan 'contacts-10000': the ceiling cannot be below it.",
        }
    ]
    assert off["account"] == {"contactUsage": {"autoUpgrade": False, "ceiling": None}}


async def test_the_audit_entries_tell_who_changed_what(client: Client, stranger: Client) -> None:
    integrator = Client(
        client.http, client.account_id, await account.create_token(client.account_id, name="integrator")
    )
    await integrator.data(CHANGE, input={"planKey": "contacts-25000"})
    async with database.transaction() as connection:
        await record_engine_audit(
            connection, client.account_id, "PLAN_UPGRADED", client.account_id, before="a", after="b"
        )

    newest = (await client.data(ENTRIES, first=1))["account"]["auditEntries"]
    older = (await client.data(ENTRIES, after=newest["pageInfo"]["endCursor"]))["account"]["auditEntries"]

    assert newest["pageInfo"]["hasNextPage"] is True
    assert [edge["node"] for edge in newest["edges"] + older["edges"]] == [
        {
            "action": "PLAN_UPGRADED",
            "actor": None,
            "subject": str(client.account_id),
            "details": {"before": "a", "after": "b"},
        },
        {
            "action": "PLAN_CHANGED",
            "actor": "integrator",
            "subject": str(client.account_id),
            "details": {"before": "contacts-10000", "after": "contacts-25000", "ceiling": None},
        },
    ]
    assert (await stranger.data(ENTRIES))["account"]["auditEntries"]["edges"] == []


async def test_a_paused_import_keeps_its_place_in_line_and_shows_none(client: Client) -> None:
    external_account = await make_external_account(client.account_id)
    one, other = await make_import(external_account), await make_import(external_account)
    await make_ledger_row(other, "1", state=LedgerState.WAITING, code="CONTACT_LIMIT")
    for external_id in ("2", "3"):
        await make_ledger_row(one, external_id, state=LedgerState.WAITING, code="CONTACT_LIMIT")
    await make_ledger_row(one, "4", state=LedgerState.SKIPPED, code="NO_EMAIL")
    query = "{ automaticImports { edges { node { records { edges { node { externalId waitingPosition } } } } } } }"

    async def places() -> dict[str, int | None]:
        imports = (await client.data(query))["automaticImports"]["edges"]
        nodes = [record["node"] for each in imports for record in each["node"]["records"]["edges"]]
        return {node["externalId"]: node["waitingPosition"] for node in nodes}

    before = await places()
    await database.fetch("UPDATE automatic_import SET state = $2 WHERE id = $1", other.id, ImportState.PAUSED)

    assert before == {"1": 1, "2": 2, "3": 3, "4": None}
    assert await places() == {"1": None, "2": 1, "3": 2, "4": None}
