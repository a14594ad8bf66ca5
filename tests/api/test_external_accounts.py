"""External accounts, the catalogue and the account over GraphQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.node import global_id
from domain.credentials import unseal_json
from domain.enums import ExternalAccountHealth, ImportState
from domain.models import AutomaticImport, ExternalAccount
from tests.api.conftest import Client
from tests.configuration import Configure
from tests.factories import make_external_account, make_field, make_import, rows_of
from tests.fakes import FakeCatalogue

CONNECT = """mutation ($input: ConnectServiceInput!) { connectService(input: $input) {
    externalAccount { id label health service { key } } userErrors { code field message } } }"""
RECONNECT = """mutation ($input: ReconnectExternalAccountInput!) { reconnectExternalAccount(input: $input) {
    externalAccount { label health healthReason } userErrors { code field message } } }"""


async def connect(client: Client, **values: Any) -> Any:
    answer = await client.data(CONNECT, input={"service": "sample", "credentials": {"token": "good"}, **values})
    return answer["connectService"]


async def test_a_service_is_connected_once_however_often_it_is_asked_for(client: Client) -> None:
    first, second = await connect(client), await connect(client)

    stored = await ExternalAccount.get(account_id=client.account_id)
    assert first == second
    assert first == {
        "externalAccount": {
            "id": global_id("ExternalAccount", stored.id),
            "label": "shop-1.example.com",
            "health": "HEALTHY",
            "service": {"key": "sample"},
        },
        "userErrors": [],
    }
    assert unseal_json(stored.credentials or b"", row=stored.id) == {"token": "good"}


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"service": "nope"}, "NOT_FOUND", ["service"]),
        ({"credentials": {"token": "bad"}}, "CREDENTIALS_REJECTED", ["credentials"]),
        ({"credentials": "good"}, "INVALID", ["credentials"]),
    ],
)
async def test_what_cannot_be_connected_is_refused(
    client: Client, values: dict[str, Any], code: str, field: list[str]
) -> None:
    refused = await connect(client, **values)

    assert refused["externalAccount"] is None
    assert [(error["code"], error["field"]) for error in refused["userErrors"]] == [(code, field)]
    assert await ExternalAccount.all().count() == 0


async def test_a_reconnect_must_open_the_same_account(client: Client, catalogue: FakeCatalogue) -> None:
    connected = await connect(client)
    await ExternalAccount.all().update(health=ExternalAccountHealth.NEEDS_RECONNECT, health_reason="revoked")
    wanted = {"externalAccountId": connected["externalAccount"]["id"], "credentials": {"token": "good"}}

    catalogue.identity = "shop-2"
    before = await rows_of(client.account_id)
    refused = (await client.data(RECONNECT, input=wanted))["reconnectExternalAccount"]
    assert await rows_of(client.account_id) == before
    catalogue.identity = "shop-1"
    accepted = (await client.data(RECONNECT, input=wanted))["reconnectExternalAccount"]

    assert refused == {
        "externalAccount": None,
        "userErrors": [
            {
                "code": "WRONG_EXTERNAL_ACCOUNT",
                "field": ["credentials"],
                "message": "These credentials open shop-2.example.com, not shop-1.example.com."
                " Connect it as a new one.",
            }
        ],
    }
    assert accepted == {
        "externalAccount": {"label": "shop-1.example.com", "health": "HEALTHY", "healthReason": None},
        "userErrors": [],
    }


async def test_a_disconnect_erases_the_credentials_and_pauses_the_imports(client: Client) -> None:
    external_account = await make_external_account(client.account_id)
    await make_import(external_account)

    data = await client.data(
        "mutation ($id: ID!) { disconnectExternalAccount(input: {externalAccountId: $id}) {"
        " externalAccount { health automaticImports { name state } } userErrors { code } } }",
        id=global_id("ExternalAccount", external_account.id),
    )

    assert data["disconnectExternalAccount"] == {
        "externalAccount": {
            "health": "DISCONNECTED",
            "automaticImports": [{"name": "Customers", "state": "PAUSED"}],
        },
        "userErrors": [],
    }
    assert (await ExternalAccount.get(id=external_account.id)).credentials is None
    assert (await AutomaticImport.get(account_id=client.account_id)).state == ImportState.PAUSED


@pytest.mark.parametrize(
    ("used", "ends_in", "cap"),
    [
        (120, 10, {"limit": 500, "used": 120, "remaining": 380}),
        (500, 10, {"limit": 500, "used": 500, "remaining": 0}),
        (500, -1, {"limit": 500, "used": 0, "remaining": 500}),
    ],
)
async def test_the_cap_of_a_window_that_has_ended_is_whole_again(
    client: Client, configure: Configure, used: int, ends_in: int, cap: dict[str, int]
) -> None:
    configure(cap=500)
    ends_at = datetime.now(UTC) + timedelta(minutes=ends_in)
    await make_external_account(client.account_id, window_used=used, window_ends_at=ends_at)

    data = await client.data("{ externalAccounts { edges { node { cap { limit used remaining windowEndsAt } } } } }")

    assert data["externalAccounts"]["edges"] == [
        {"node": {"cap": {**cap, "windowEndsAt": ends_at.isoformat() if ends_in > 0 else None}}}
    ]


CHOICES = """query ($id: ID!, $criterion: String!, $search: String) { node(id: $id) { ... on ExternalAccount {
    criteriaChoices(criterion: $criterion, search: $search) { value label } } } }"""


async def test_criteria_are_offered_as_the_account_has_them(client: Client) -> None:
    key = global_id("ExternalAccount", (await make_external_account(client.account_id)).id)

    everything = await client.data(CHOICES, id=key, criterion="group")
    searched = await client.data(CHOICES, id=key, criterion="group", search="FAM")

    assert everything["node"]["criteriaChoices"] == [
        {"value": "1", "label": "Friends"},
        {"value": "2", "label": "Family"},
    ]
    assert searched["node"]["criteriaChoices"] == [{"value": "2", "label": "Family"}]


async def test_criteria_that_cannot_be_offered_say_why(client: Client) -> None:
    connected = await make_external_account(client.account_id)
    gone = await make_external_account(client.account_id)
    await ExternalAccount.filter(id=gone.id).update(credentials=None)

    unknown = await client.error(CHOICES, id=global_id("ExternalAccount", connected.id), criterion="nope")
    disconnected = await client.error(CHOICES, id=global_id("ExternalAccount", gone.id), criterion="group")

    assert unknown == ("NOT_FOUND", "There is no criterion 'nope'.")
    assert disconnected == ("NEEDS_RECONNECT", "This external account is disconnected. Reconnect it first.")


async def test_external_accounts_are_listed_by_service(client: Client) -> None:
    await make_external_account(client.account_id, label="Shop")
    await make_external_account(client.account_id, service="book", label="Book")

    data = await client.data('{ externalAccounts(service: "book") { edges { node { label service { name } } } } }')

    assert data["externalAccounts"]["edges"] == [{"node": {"label": "Book", "service": {"name": "Address book"}}}]


async def test_the_catalogue_shows_what_a_page_needs_to_connect_a_service(client: Client) -> None:
    external_account = await make_external_account(client.account_id)
    await make_import(external_account)
    await make_import(external_account)

    data = await client.data(
        """{ service(key: "sample") {
            key name category documentationUrl authorization authorizations credentialsSchema authorizationSchema
            criteriaSchema notice automaticImportCount
            fields { key title type options } externalAccounts { label }
        } }"""
    )

    assert data["service"] == {
        "key": "sample",
        "name": "Sample",
        "category": "E_COMMERCE",
        "documentationUrl": "https://example.com/docs",
        "authorization": "OAUTH",
        "authorizations": ["OAUTH", "FORM"],
        "authorizationSchema": {"type": "object", "properties": {"shop": {"type": "string"}}},
        "notice": "It knows no phone numbers.",
        "credentialsSchema": {"type": "object", "properties": {"token": {"type": "string"}}},
        "criteriaSchema": {"type": "object", "properties": {"group": {"type": "string"}}},
        "automaticImportCount": 2,
        "fields": [{"key": "spent", "title": "Total spent", "type": "NUMBER", "options": []}],
        "externalAccounts": [{"label": "Sample shop"}],
    }


async def test_services_are_listed_by_category(client: Client) -> None:
    data = await client.data(
        '{ all: services { key } books: services(category: ADDRESS_BOOK) { key } none: service(key: "x") { key } }'
    )

    assert data == {"all": [{"key": "book"}, {"key": "sample"}], "books": [{"key": "book"}], "none": None}


async def test_fields_are_listed_with_their_service(client: Client) -> None:
    await make_field(client.account_id, "SAMPLE_CITY")

    data = await client.data(
        '{ fields(filter: {service: "sample", type: TEXT}) { edges { node {'
        " title type personalizationTag options sortable service { name } } } }"
        " none: fields(filter: {type: NUMBER}) { edges { cursor } } }"
    )

    assert data == {
        "fields": {
            "edges": [
                {
                    "node": {
                        "title": "Sample_City",
                        "type": "TEXT",
                        "personalizationTag": "SAMPLE_CITY",
                        "options": [],
                        "sortable": False,
                        "service": {"name": "Sample"},
                    }
                }
            ]
        },
        "none": {"edges": []},
    }


async def test_the_same_login_connected_many_times_at_once_is_one_and_nobody_is_refused(client: Client) -> None:
    connect = (
        'mutation { connectService(input: {service: "sample", credentials: {token: "good"}}) {'
        " externalAccount { id } userErrors { code } } }"
    )

    answers = await asyncio.gather(*(client.data(connect) for _ in range(8)))

    payloads = [answer["connectService"] for answer in answers]
    assert [payload["userErrors"] for payload in payloads] == [[]] * 8
    assert len({payload["externalAccount"]["id"] for payload in payloads}) == 1
    assert await ExternalAccount.filter(account_id=client.account_id).count() == 1


async def test_problems_of_credentials_are_named_by_their_place_in_the_input(client: Client) -> None:
    answer = await client.data(
        'mutation { connectService(input: {service: "sample", credentials: {}}) { userErrors { code field } } }'
    )

    assert answer["connectService"]["userErrors"] == [{"code": "INVALID", "field": ["credentials", "token"]}]
