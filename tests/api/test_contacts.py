"""Contacts over GraphQL."""

from typing import Any

import pytest

from api.node import global_id
from domain.enums import ContactStatus
from domain.models import Contact
from domain.records import FieldType
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_ledger_row,
    make_list,
    make_tag,
    subscribe,
    tag_contact,
)

EMAILS = "query ($filter: ContactFilter) { contacts(filter: $filter, orderBy: EMAIL_ASC) { edges { node { email } } } }"


async def emails(client: Client, **filter_: Any) -> list[str]:
    connection = (await client.data(EMAILS, filter=filter_))["contacts"]
    return [edge["node"]["email"] for edge in connection["edges"]]


async def test_a_contact_is_shown_with_all_that_hangs_on_it(client: Client) -> None:
    spent = await make_field(client.account_id, "SAMPLE_SPENT", field_type=FieldType.NUMBER)
    await make_field(client.account_id, "SAMPLE_CITY")
    contact = await make_contact(
        client.account_id, "Ann@example.com", first_name="Ann", last_name="Lee", field_values={str(spent.id): 12.5}
    )
    news = await make_list(client.account_id, "News")
    await subscribe(contact, news, ContactStatus.UNSUBSCRIBED)
    await tag_contact(contact, await make_tag(client.account_id, "vip"))
    automatic_import = await make_import(await make_external_account(client.account_id), name="Customers")
    await make_ledger_row(automatic_import, "r1", contact=contact)

    data = await client.data(
        """query ($id: ID!) { contact(id: $id) {
            id email firstName lastName phone status
            fieldValues { personalizationTag value field { title type } }
            chosen: fieldValues(keys: ["SAMPLE_CITY", "NO_SUCH", "SAMPLE_SPENT"]) { personalizationTag value }
            listSubscriptions { status list { name } }
            tags { name }
            origins { externalId automaticImport { name } }
        } }""",
        id=global_id("Contact", contact.id),
    )

    assert data["contact"] == {
        "id": global_id("Contact", contact.id),
        "email": "Ann@example.com",
        "firstName": "Ann",
        "lastName": "Lee",
        "phone": None,
        "status": "ACTIVE",
        "fieldValues": [
            {
                "personalizationTag": "SAMPLE_SPENT",
                "value": 12.5,
                "field": {"title": "Sample_Spent", "type": "NUMBER"},
            }
        ],
        "chosen": [
            {"personalizationTag": "SAMPLE_CITY", "value": None},
            {"personalizationTag": "SAMPLE_SPENT", "value": 12.5},
        ],
        "listSubscriptions": [{"status": "UNSUBSCRIBED", "list": {"name": "News"}}],
        "tags": [{"name": "vip"}],
        "origins": [{"externalId": "r1", "automaticImport": {"name": "Customers"}}],
    }


async def test_a_contact_is_found_by_its_address_whatever_the_case(client: Client) -> None:
    await make_contact(client.account_id, "ann@example.com")

    data = await client.data('{ contact(email: " ANN@Example.com ") { email } }')

    assert data == {"contact": {"email": "ann@example.com"}}


@pytest.mark.parametrize("arguments", ["", '(id: "x", email: "ann@example.com")'])
async def test_a_contact_is_asked_for_by_exactly_one_key(client: Client, arguments: str) -> None:
    assert await client.error(f"{{ contact{arguments} {{ id }} }}") == (
        "BAD_USER_INPUT",
        "Give either `id` or `email`.",
    )


@pytest.fixture
async def people(client: Client) -> list[Contact]:
    rows = [
        ("ann@example.com", "Ann", "Lee", ContactStatus.ACTIVE),
        ("bob@example.com", "Bob", "Anders", ContactStatus.UNSUBSCRIBED),
        ("per_cent%@example.com", "Per", "Cent", ContactStatus.BOUNCED),
    ]
    return [
        await make_contact(client.account_id, email, first_name=first, last_name=last, status=status)
        for email, first, last, status in rows
    ]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("an", ["ann@example.com", "bob@example.com"]),
        ("BOB@", ["bob@example.com"]),
        ("ann l", ["ann@example.com"]),
        ("lee", ["ann@example.com"]),
        ("example", []),
        ("per_cent%", ["per_cent%@example.com"]),
        ("%", []),
        ("per\\", []),
    ],
)
@pytest.mark.usefixtures("people")
async def test_search_finds_what_begins_with_the_text(client: Client, search: str, found: list[str]) -> None:
    assert await emails(client, search=search) == found


@pytest.mark.usefixtures("people")
async def test_contacts_are_filtered_by_status_and_by_address(client: Client) -> None:
    assert await emails(client, status="UNSUBSCRIBED") == ["bob@example.com"]
    assert await emails(client, email="ANN@example.com") == ["ann@example.com"]
    assert await emails(client, email="ann@example.com", status="BOUNCED") == []


async def test_contacts_are_filtered_by_list_and_by_tag(client: Client, people: list[Contact]) -> None:
    news, vip = await make_list(client.account_id), await make_tag(client.account_id)
    await subscribe(people[0], news)
    await subscribe(people[1], news, ContactStatus.UNSUBSCRIBED)
    await tag_contact(people[1], vip)

    assert await emails(client, listId=global_id("ContactList", news.id)) == ["ann@example.com", "bob@example.com"]
    assert await emails(client, tagId=global_id("Tag", vip.id)) == ["bob@example.com"]


async def test_contacts_are_filtered_by_the_exact_value_of_a_field(client: Client) -> None:
    city = await make_field(client.account_id, "SAMPLE_CITY")
    likes = await make_field(client.account_id, "SAMPLE_LIKES", field_type=FieldType.MULTISELECT)
    await make_contact(
        client.account_id, "ann@example.com", field_values={str(city.id): "Rome", str(likes.id): ["tea", "jam"]}
    )
    await make_contact(client.account_id, "bob@example.com", field_values={str(city.id): "Romeo"})

    assert await emails(client, fields=[{"personalizationTag": "SAMPLE_CITY", "value": "Rome"}]) == ["ann@example.com"]
    assert await emails(client, fields=[{"personalizationTag": "SAMPLE_LIKES", "value": ["tea", "jam"]}]) == [
        "ann@example.com"
    ]


async def test_a_filter_by_an_unknown_field_says_so(client: Client) -> None:
    answer = await client.error(EMAILS, filter={"fields": [{"personalizationTag": "NOPE", "value": 1}]})

    assert answer == (
        "NOT_FOUND",
        "There is no field with the personalization tag 'NOPE'. `fields` lists those there are.",
    )


async def test_a_filter_with_a_nul_character_is_refused(client: Client) -> None:
    assert (await client.error(EMAILS, filter={"search": "a\0b"}))[0] == "INVALID"
    await make_field(client.account_id, "SAMPLE_CITY")
    value = ["a", {"b\0": 1}]
    assert (await client.error(EMAILS, filter={"fields": [{"personalizationTag": "SAMPLE_CITY", "value": value}]}))[
        0
    ] == "INVALID"
    assert (await client.error('{ contact(email: "a\\u0000b") { id } }'))[0] == "INVALID"
