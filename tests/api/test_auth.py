"""Who may ask."""

from datetime import UTC, datetime

import httpx
import pytest

from domain import account
from domain.errors import Misconfigured
from domain.models import ApiToken, Tag
from tests.api.conftest import Client

UNKNOWN = "This token is unknown or was revoked. Ask for a new one."
MISSING = "Send your token as `Authorization: Bearer slc_…`."


def refusal(message: str) -> dict[str, object]:
    return {"errors": [{"message": message, "extensions": {"code": "UNAUTHENTICATED"}}]}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, MISSING),
        ({"Authorization": ""}, MISSING),
        ({"Authorization": "slc_abc"}, MISSING),
        ({"Authorization": "Basic slc_abc"}, MISSING),
        ({"Authorization": "Bearer abc"}, MISSING),
        ({"Authorization": "Bearer slc_abc"}, UNKNOWN),
    ],
)
async def test_nobody_is_told_anything_without_a_token_that_we_know(
    http: httpx.AsyncClient, headers: dict[str, str], message: str
) -> None:
    response = await http.post("/graphql", json={"query": "{ account { name } }"}, headers=headers)

    assert (response.status_code, response.json()) == (401, refusal(message))
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_revoked_token_is_refused(client: Client) -> None:
    await ApiToken.filter(account_id=client.account_id).update(revoked_at=datetime.now(UTC))

    response = await client.http.post("/graphql", json={"query": "{ account { name } }"}, headers=client.headers)

    assert (response.status_code, response.json()) == (401, refusal(UNKNOWN))


async def test_a_second_token_still_works_when_the_first_is_revoked(client: Client) -> None:
    await ApiToken.filter(account_id=client.account_id).update(revoked_at=datetime.now(UTC))
    second = await account.create_token(client.account_id)

    response = await client.http.post(
        "/graphql", json={"query": "{ __typename }"}, headers={"Authorization": f"bearer {second}"}
    )

    assert response.json() == {"data": {"__typename": "Query"}}


async def test_a_token_shows_its_own_account_only(client: Client, stranger: Client) -> None:
    names = [(await each.data("{ account { name } }"))["account"]["name"] for each in (client, stranger)]

    assert len(set(names)) == 2


async def test_queries_are_not_taken_from_the_address_line(client: Client) -> None:
    response = await client.http.get("/graphql", params={"query": "{ __typename }"}, headers=client.headers)

    assert response.status_code == 400
    assert response.json() == {
        "errors": [{"message": "queries are not allowed when using GET", "extensions": {"code": "BAD_REQUEST"}}]
    }


@pytest.mark.parametrize(
    ("scopes", "document", "allowed"),
    [
        (["read"], "{ account { name } }", True),
        (["read"], 'mutation { createTag(input: {name: "x"}) { tag { id } } }', False),
        (["write"], "{ account { name } }", False),
        (["write"], 'mutation { createTag(input: {name: "x"}) { tag { id } } }', True),
        (["read", "write"], 'mutation { createTag(input: {name: "x"}) { tag { id } } }', True),
    ],
)
async def test_a_token_does_what_its_scopes_allow_and_nothing_else(
    client: Client, scopes: list[str], document: str, allowed: bool
) -> None:
    token = await account.create_token(client.account_id, scopes=scopes)

    answer = await client.http.post("/graphql", json={"query": document}, headers={"Authorization": f"Bearer {token}"})

    codes = [error["extensions"]["code"] for error in answer.json().get("errors", [])]
    assert codes == ([] if allowed else ["FORBIDDEN"])
    assert await Tag.filter(account_id=client.account_id).count() == int(allowed and "mutation" in document)


async def test_a_scope_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(Misconfigured, match=r"There is no scope 'admin'\. Scopes: read, write\."):
        await account.create_token(client.account_id, scopes=["admin"])

    assert await ApiToken.filter(account_id=client.account_id).count() == 1


@pytest.mark.parametrize("body", ["null", "1", '"x"', "true", "[1]"])
async def test_a_body_that_is_no_object_is_a_bad_request(client: Client, body: str) -> None:
    answer = await client.http.post(
        "/graphql", content=body, headers=client.headers | {"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


async def test_a_subscription_over_plain_http_is_a_bad_request(client: Client) -> None:
    answer = await client.http.post(
        "/graphql", json={"query": "subscription { accountImportProgress { id } }"}, headers=client.headers
    )

    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (
        400,
        "subscriptions are not allowed when using POST",
    )
