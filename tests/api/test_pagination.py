"""Connections: pages by key, and what they say to arguments that make no sense."""

import asyncio
import random
from typing import Any

import pytest

from tests.api.conftest import Client
from tests.factories import make_contact, make_list, make_tag

PAGE = """query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: ContactOrder! = EMAIL_ASC) {
    contacts(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
        edges { cursor node { email } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}"""


async def page(client: Client, **arguments: Any) -> tuple[list[str], Any]:
    connection = (await client.data(PAGE, **arguments))["contacts"]
    return [edge["node"]["email"] for edge in connection["edges"]], connection["pageInfo"]


@pytest.fixture
async def five(client: Client) -> list[str]:
    emails = [f"{letter}@example.com" for letter in "cabed"]
    for email in emails:
        await make_contact(client.account_id, email)
    return emails


@pytest.mark.usefixtures("five")
async def test_pages_go_forward_and_back(client: Client) -> None:
    first, info = await page(client, first=2)
    assert first == ["a@example.com", "b@example.com"]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, False)

    second, info = await page(client, first=2, after=info["endCursor"])
    assert second == ["c@example.com", "d@example.com"]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, True)

    third, last_info = await page(client, first=2, after=info["endCursor"])
    assert third == ["e@example.com"]
    assert (last_info["hasNextPage"], last_info["hasPreviousPage"]) == (False, True)

    back, info = await page(client, last=2, before=last_info["startCursor"])
    assert back == ["c@example.com", "d@example.com"]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, True)

    end, info = await page(client, last=2)
    assert end == ["d@example.com", "e@example.com"]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (False, True)


async def test_an_empty_page_has_no_cursors(client: Client) -> None:
    assert await page(client) == (
        [],
        {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [("EMAIL_ASC", "abcde"), ("EMAIL_DESC", "edcba"), ("CREATED_AT_ASC", "cabed"), ("CREATED_AT_DESC", "debac")],
)
@pytest.mark.usefixtures("five")
async def test_every_order_is_walked_to_its_end(client: Client, order: str, expected: str) -> None:
    assert "".join([email[0] for email in await walk(client, orderBy=order, first=2)]) == expected


async def walk(client: Client, **arguments: Any) -> list[str]:
    seen, cursor, more = [], None, True
    while more:
        emails, info = await page(client, after=cursor, **arguments)
        seen += emails
        cursor, more = info["endCursor"], info["hasNextPage"]
    return seen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["EMAIL_ASC", "EMAIL_DESC", "CREATED_AT_ASC", "CREATED_AT_DESC"])
async def test_a_walk_sees_every_row_that_stays_exactly_once(client: Client, order: str, seed: int) -> None:
    chance = random.Random(seed)
    emails = [f"{chance.randrange(10**6)}.{number}@example.com" for number in range(60)]
    contacts = [await make_contact(client.account_id, email) for email in emails]
    leaving = {contact.email: contact for contact in chance.sample(contacts, 30)}
    staying = [email for email in emails if email not in leaving]

    seen: list[str] = []
    cursor, more = None, True
    while more:
        found, info = await page(client, after=cursor, first=7, orderBy=order)
        seen += found
        cursor, more = info["endCursor"], info["hasNextPage"]
        for email in chance.sample(sorted(leaving), min(4, len(leaving))):
            await leaving.pop(email).filter(account_id=client.account_id, email=email).delete()
        await make_contact(client.account_id, f"{chance.randrange(10**6)}.new@example.com")

    assert len(seen) == len(set(seen))
    assert sorted(email for email in seen if email in staying) == sorted(staying)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": 100000}, "`first` must be between 0 and 100, not 100000. Follow `pageInfo` for more than a page."),
        ({"first": -1}, "`first` must be between 0 and 100, not -1. Follow `pageInfo` for more than a page."),
        ({"last": 101}, "`last` must be between 0 and 100, not 101. Follow `pageInfo` for more than a page."),
        ({"first": 1, "last": 1}, "Give `first` or `last`, not both."),
        ({"after": "%%%"}, "`after` is not a cursor of this API. Take one from `pageInfo` or an edge."),
        ({"after": ""}, "`after` is not a cursor of this API. Take one from `pageInfo` or an edge."),
        ({"after": "ää"}, "`after` is not a cursor of this API. Take one from `pageInfo` or an edge."),
        ({"before": "e30"}, "`before` is not a cursor of this API. Take one from `pageInfo` or an edge."),
        ({"before": "WzEsMl0"}, "`before` is not a cursor of this API. Take one from `pageInfo` or an edge."),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(
    client: Client, arguments: dict[str, object], message: str
) -> None:
    assert await client.error(PAGE, **arguments) == ("BAD_USER_INPUT", message)


@pytest.mark.usefixtures("five")
async def test_a_cursor_of_another_order_is_refused(client: Client) -> None:
    _, info = await page(client, first=1, orderBy="EMAIL_ASC")

    assert await client.error(PAGE, after=info["endCursor"], orderBy="EMAIL_DESC") == (
        "BAD_USER_INPUT",
        "The cursor in `after` belongs to another list or order. Begin without a cursor.",
    )


async def test_a_cursor_of_another_list_is_refused(client: Client) -> None:
    await asyncio.gather(make_list(client.account_id, "News"), make_tag(client.account_id, "vip"))
    cursor = (await client.data("{ lists { pageInfo { endCursor } } }"))["lists"]["pageInfo"]["endCursor"]

    code, _ = await client.error("query ($after: String) { tags(after: $after) { edges { cursor } } }", after=cursor)

    assert code == "BAD_USER_INPUT"


async def test_a_cursor_from_another_account_shows_nothing_of_it(client: Client, stranger: Client) -> None:
    await make_contact(stranger.account_id, "a@example.com")
    await make_contact(client.account_id, "b@example.com")
    _, info = await page(stranger)

    assert (await page(client, after=info["endCursor"]))[0] == ["b@example.com"]


async def test_a_page_has_fifty_items_unless_asked_otherwise(client: Client) -> None:
    for number in range(51):
        await make_contact(client.account_id, f"{number:02}@example.com")

    emails, info = await page(client)

    assert (len(emails), info["hasNextPage"]) == (50, True)
