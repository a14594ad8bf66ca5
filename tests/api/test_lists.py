"""Lists and tags over GraphQL."""

from typing import Any
from unittest.mock import ANY

import pytest
from uuid_utils.compat import uuid7

from api.node import global_id
from domain import database
from domain.enums import ContactStatus, DeletionPolicy
from domain.models import AutomaticImport, Contact, ContactList, ContactTag, Subscription
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_import,
    make_list,
    make_tag,
    rows_of,
    subscribe,
    tag_contact,
)
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Stage

CREATE = {
    "list": """mutation ($name: String!) { createList(input: {name: $name}) {
        list { name } userErrors { code field message } } }""",
    "tag": """mutation ($name: String!) { createTag(input: {name: $name}) {
        tag { name } userErrors { code field message } } }""",
}


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_one_is_made_and_listed(client: Client, noun: str) -> None:
    [made] = (await client.data(CREATE[noun], name=" News ")).values()
    [listed] = (await client.data(f"{{ {noun}s {{ edges {{ node {{ name }} }} }} }}")).values()

    assert made == {noun: {"name": "News"}, "userErrors": []}
    assert listed == {"edges": [{"node": {"name": "News"}}]}


@pytest.mark.parametrize("noun", ["list", "tag"])
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("  ", "BLANK", "Give it a name."),
        ("x" * 201, "TOO_LONG", "Use at most 200 characters, not 201."),
        ("a\0b", "INVALID", "Remove the control characters and line breaks from the name."),
    ],
)
async def test_a_name_that_cannot_be_is_refused(client: Client, noun: str, name: str, code: str, message: str) -> None:
    [refused] = (await client.data(CREATE[noun], name=name)).values()

    assert refused == {noun: None, "userErrors": [{"code": code, "field": ["name"], "message": message}]}


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_a_name_is_taken_whatever_its_case(client: Client, stranger: Client, noun: str) -> None:
    await client.data(CREATE[noun], name="News")

    [refused] = (await client.data(CREATE[noun], name="NEWS")).values()
    [theirs] = (await stranger.data(CREATE[noun], name="News")).values()

    assert [error["code"] for error in refused["userErrors"]] == ["TAKEN"]
    assert theirs["userErrors"] == []


async def change(client: Client, mutation: str, **given: Any) -> Any:
    """The payload of updateList, deleteTag and the like."""
    name = f"{mutation[0].upper()}{mutation[1:]}Input"
    text = f"mutation ($input: {name}!) {{ {mutation}(input: $input) {{ userErrors {{ code field message }} }} }}"
    return (await client.data(text, input=given))[mutation]["userErrors"]


async def names(client: Client, noun: str) -> list[str]:
    edges = (await client.data(f"{{ {noun}s {{ edges {{ node {{ name }} }} }} }}"))[f"{noun}s"]["edges"]
    return [edge["node"]["name"] for edge in edges]


async def made(client: Client, noun: str, name: str) -> str:
    """The id of a new list or tag."""
    if noun == "list":
        return global_id("ContactList", (await make_list(client.account_id, name)).id)
    return global_id("Tag", (await make_tag(client.account_id, name)).id)


async def on_it(client: Client, noun: str, target: str) -> list[Any]:
    """The contacts that a filter by it finds."""
    query = "query ($filter: ContactFilter) { contacts(filter: $filter) { edges { cursor } } }"
    edges: list[Any] = (await client.data(query, filter={f"{noun}Id": target}))["contacts"]["edges"]
    return edges


async def targets_of_contacts(client: Client) -> list[str]:
    """The names of all lists and tags that contacts are shown with."""
    query = "{ contacts { edges { node { tags { name } listSubscriptions { list { name } } } } } }"
    nodes = [edge["node"] for edge in (await client.data(query))["contacts"]["edges"]]
    return [tag["name"] for node in nodes for tag in node["tags"]] + [
        subscription["list"]["name"] for node in nodes for subscription in node["listSubscriptions"]
    ]


async def work(client: Client) -> None:
    """Let a worker do the background tasks that are due."""
    while await Stage(account_id=client.account_id, external_account_id=uuid7()).work():
        pass


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_one_gets_another_name(client: Client, noun: str) -> None:
    news, _ = await made(client, noun, "News"), await made(client, noun, "Offers")
    mutation = f"update{noun.title()}"

    assert [error["code"] for error in await change(client, mutation, id=news, name="OFFERS")] == ["TAKEN"]
    assert [error["code"] for error in await change(client, mutation, id=news, name=" ")] == ["BLANK"]
    assert await change(client, mutation, id=news, name=" NEWS ") == []

    assert await names(client, noun) == ["NEWS", "Offers"]


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_one_that_is_deleted_is_gone_at_once_and_forgotten_in_the_background(
    client: Client, queue: RecordingQueue, noun: str
) -> None:
    news, offers = [await (make_list if noun == "list" else make_tag)(client.account_id, name) for name in ("a", "b")]
    contact = await make_contact(client.account_id)
    for target in (news, offers):
        if isinstance(target, ContactList):
            await subscribe(contact, target)
        else:
            await tag_contact(contact, target)
    kept = Subscription if noun == "list" else ContactTag
    type_name = "ContactList" if noun == "list" else "Tag"

    assert await change(client, f"delete{noun.title()}", id=global_id(type_name, news.id)) == []

    assert queue.woken == 1
    assert await names(client, noun) == ["b"]
    assert await on_it(client, noun, global_id(type_name, news.id)) == []
    assert await on_it(client, noun, global_id(type_name, offers.id)) == [{"cursor": ANY}]
    assert await targets_of_contacts(client) == ["b"]
    await work(client)
    assert await kept.all().count() == 1
    assert await Contact.all().count() == 1
    assert (await client.data(CREATE[noun], name="a"))[f"create{noun.title()}"]["userErrors"] == []
    again = await change(client, f"delete{noun.title()}", id=global_id(type_name, news.id))
    assert [error["code"] for error in again] == ["NOT_FOUND"]


async def test_many_leave_a_deleted_list_in_steps(client: Client) -> None:
    news = await make_list(client.account_id)
    await database.fetch(
        "WITH made AS (INSERT INTO contact (account_id, id, email, email_key, status)"
        " SELECT $1, gen_random_uuid(), n::text, n::text, 'ACTIVE' FROM generate_series(1, 1001) n RETURNING id)"
        " INSERT INTO subscription (account_id, contact_id, list_id, status) SELECT $1, id, $2, 'ACTIVE' FROM made",
        client.account_id, news.id,
    )  # fmt: skip
    await change(client, "deleteList", id=global_id("ContactList", news.id))

    await work(client)

    assert await Subscription.all().count() == 0
    assert await Contact.all().count() == 1001


@pytest.mark.parametrize("noun", ["list", "tag"])
async def test_an_import_goes_on_without_a_deleted_target_and_drops_the_page_under_way(
    client: Client, noun: str
) -> None:
    external_account = await make_external_account(client.account_id)
    news, vip = await make_list(client.account_id, "News"), await make_tag(client.account_id, "vip")
    automatic_import = await make_import(external_account, contact_list=news, tag=vip)
    other = await make_import(external_account)
    target = global_id("ContactList", news.id) if noun == "list" else global_id("Tag", vip.id)

    assert await change(client, f"delete{noun.title()}", id=target) == []

    shown = await client.data(
        "query ($id: ID!) { node(id: $id) { ... on AutomaticImport { lists { name } tags { name } } } }",
        id=global_id("AutomaticImport", automatic_import.id),
    )
    left = {"lists": [{"name": "News"}], "tags": [{"name": "vip"}]} | {f"{noun}s": []}
    assert shown["node"] == left
    revisions = {row.id: row.revision async for row in AutomaticImport.all()}
    assert revisions == {automatic_import.id: 2, other.id: 1}


async def test_a_tag_that_an_import_needs_is_not_deleted(client: Client) -> None:
    gone = await make_tag(client.account_id, "gone")
    automatic_import = await make_import(
        await make_external_account(client.account_id), deletion_policy=DeletionPolicy.TAG, deletion_tag_id=gone.id
    )
    before = await rows_of(client.account_id)
    tag = global_id("Tag", gone.id)

    assert await change(client, "deleteTag", id=tag) == [
        {
            "code": "IN_USE",
            "field": ["id"],
            "message": "Contacts that are deleted at the service get this tag: choose another one for Customers first.",
        }
    ]

    assert await rows_of(client.account_id) == before
    await AutomaticImport.filter(id=automatic_import.id).update(deletion_policy=DeletionPolicy.KEEP)
    assert await change(client, "deleteTag", id=tag) == []


async def test_a_page_of_lists_and_tags_shows_how_many_contacts_each_has(client: Client) -> None:
    news, vip = await make_list(client.account_id), await make_tag(client.account_id)
    await make_list(client.account_id)
    for status in (ContactStatus.ACTIVE, ContactStatus.UNSUBSCRIBED):
        contact = await make_contact(client.account_id)
        await subscribe(contact, news, status)
        await tag_contact(contact, vip)
    counted = "edges { node { contactCount { count isExact } } }"

    data = await client.data(f"{{ lists {{ {counted} }} tags {{ {counted} }} }}")

    counts = {name: [edge["node"]["contactCount"] for edge in data[name]["edges"]] for name in data}
    two, none = {"count": 2, "isExact": True}, {"count": 0, "isExact": True}
    assert counts == {"lists": [two, none], "tags": [two]}


async def test_counting_ends_at_10000(client: Client) -> None:
    news = await make_list(client.account_id)
    await database.fetch(
        "WITH made AS (INSERT INTO contact (account_id, id, email, email_key, status)"
        " SELECT $1, gen_random_uuid(), n::text, n::text, 'ACTIVE' FROM generate_series(1, 10001) n RETURNING id)"
        " INSERT INTO subscription (account_id, contact_id, list_id, status) SELECT $1, id, $2, 'ACTIVE' FROM made",
        client.account_id, news.id,
    )  # fmt: skip

    data = await client.data("{ lists { edges { node { contactCount { count isExact } } } } }")

    assert data["lists"]["edges"] == [{"node": {"contactCount": {"count": 10_000, "isExact": False}}}]
