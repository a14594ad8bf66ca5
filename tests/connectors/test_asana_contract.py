"""Every request to Asana, and every answer of its simulator, held against the vendor's contract."""

from typing import Any

import pytest

from connectors.asana.connector import SERVICE
from tests.connectors.contracts import contract, violations
from tests.connectors.reading import credentials_of, read
from tests.connectors.simulators.asana import SALES, SUPPORT, WORKSPACE, AsanaApi
from tests.connectors.simulators.kit import open_simulated

WHOLE = {
    "/users": "UserResponse",
    "/workspaces/{workspace_gid}/workspace_memberships": "WorkspaceMembershipResponse",
}
"""What a listing's items are with the fields that are asked for; the contract names what they have by themselves."""


def with_asked_fields(document: dict[str, Any]) -> None:
    for path, schema in WHOLE.items():
        answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answer["properties"]["data"]["items"] = {"$ref": f"#/components/schemas/{schema}"}


@pytest.mark.filterwarnings("ignore:Use of allowEmptyValue property")
async def test_requests_and_answers_keep_the_contract() -> None:
    asana = AsanaApi(page_size=2)
    for number in range(5):
        asana.add(f"person-{number}@example.com", places=[SALES, SUPPORT][: number % 3])
    asana.people[asana.add("guest@example.com")].guest = True
    asana.people[asana.add("plain@example.com")].photo = None
    client, credentials = open_simulated(asana), credentials_of(asana)

    await read(asana)
    asana.criteria = {"workspace": WORKSPACE, "teams": [SALES, SUPPORT], "guests": False, "deactivated": True}
    await read(asana)
    await SERVICE.identify(client, credentials)
    for criterion in ("workspace", "teams"):
        await SERVICE.choices(client, credentials, criterion)
    asana.gone[WORKSPACE] = 403
    await SERVICE.choices(client, credentials, "teams")
    asana.revoke()
    await client.get("https://app.asana.com/api/1.0/users", params={"workspace": WORKSPACE, "limit": "100"})

    held = contract("asana.openapi.json", closed=False, corrected=with_asked_fields)
    assert violations(held, asana.traffic.exchanges) == []
    assert {(each.url.path.removeprefix("/api/1.0"), each.status) for each in asana.traffic.exchanges} == {
        (f"/workspaces/{WORKSPACE}/workspace_memberships", 200),
        ("/users", 200),
        ("/users/me", 200),
        ("/workspaces", 200),
        (f"/workspaces/{WORKSPACE}/teams", 200),
        ("/workspaces/1200000000000200/teams", 403),
        ("/users", 401),
    }
