"""What goes wrong while the customers of a Shopify shop are read, and what is then to be done."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from connectors.base import (
    AccessRevokedError,
    TransientError,
    UnexpectedResponseError,
)
from connectors.shopify.api import RefusedError
from tests.connectors.reading import Stored, connect, read, through_json
from tests.connectors.simulators.kit import Fault
from tests.connectors.simulators.shopify import ShopifyShop, make


def questions(shop: ShopifyShop) -> list[Mapping[str, Any]]:
    """What was asked of the API, in order."""
    return [json.loads(each.body) for each in shop.traffic.exchanges if each.url.path.endswith("graphql.json")]


async def read_whole(shop: ShopifyShop) -> dict[str, Any]:
    """The checkpoint once everybody has been read."""
    return through_json((await read(shop))[-1].checkpoint)


async def test_a_page_of_changes_that_repeats_for_ever_is_left() -> None:
    shop = make(10)
    checkpoint = await read_whole(shop)
    for number in shop.matching():
        shop.change(number)
    shop.page_size, shop.repeats = 2, True

    with pytest.raises(UnexpectedResponseError, match="the same page of customers again and again"):
        await read(shop, checkpoint)


async def test_a_page_of_a_sweep_that_repeats_for_ever_is_left() -> None:
    shop = make(10)
    shop.page_size, shop.ignores_ids = 2, True

    with pytest.raises(UnexpectedResponseError, match="the same page of customers again and again"):
        await read(shop)
    assert [each["variables"].get("query") for each in questions(shop)] == [None, None, "id:>7000000002"]


async def test_a_filter_that_does_nothing_is_no_silent_full_reading() -> None:
    shop = make(10)
    shop.now += timedelta(days=3)
    shop.add("later@example.com")
    checkpoint = await read_whole(shop)
    shop.ignores_updated_at = True

    with pytest.raises(UnexpectedResponseError, match="Shopify ignores updated_at"):
        await read(shop, checkpoint)


async def test_a_question_that_is_too_costly_is_asked_for_fewer_from_then_on() -> None:
    shop = make(500)
    shop.most_points = 600

    pages = await read(shop)

    assert [len(page.records) for page in pages] == [99, 99, 99, 99, 99, 5]
    shop.change("7000000001")
    assert len(await read(shop, pages[-1].checkpoint)) == 1
    assert questions(shop)[-1]["variables"]["first"] == 99


async def test_a_busy_shop_is_waited_for_until_the_bucket_holds_enough() -> None:
    shop = make(500)
    shop.bucket.is_limited = True
    shop.bucket.available, shop.bucket.restores = 900.0, 0.001
    with pytest.raises(TransientError, match="its limit of requests is reached") as raised:
        await read(shop)

    assert raised.value.retry_after is not None
    # 997 points for a page; the beginning took 60 of the 900.
    answered = json.loads(shop.traffic.exchanges[-1].answer)["extensions"]["cost"]
    missing = answered["requestedQueryCost"] - answered["throttleStatus"]["currentlyAvailable"]
    assert raised.value.retry_after == timedelta(seconds=missing / 0.001)


async def test_a_shop_with_an_ordinary_limit_is_read_to_the_end_by_waiting_as_long_as_it_asks() -> None:
    shop, stored = make(1000), Stored()
    shop.bucket.is_limited = True
    # As long as a request takes.
    shop.traffic.meanwhile = lambda: shop.bucket.pass_time(0.1)
    waits = list[timedelta | None]()

    # The bucket holds two pages, and five and a bit are to be read.
    for _ in range(20):
        try:
            async for page in connect(shop).pages(stored.checkpoint):
                stored.store(page)
            break
        except TransientError as busy:
            waits.append(busy.retry_after)
            shop.bucket.pass_time(busy.retry_after.total_seconds() if busy.retry_after else 0)

    assert [*stored.records] == [*shop.matching()]
    assert waits == [timedelta(seconds=seconds) for seconds in (1.77, 5.73, 5.73, 5.73)]


@pytest.mark.parametrize(
    ("status", "error", "told", "wait"),
    [
        (401, AccessRevokedError, "no longer accepts the access token", None),
        (402, TransientError, "is frozen until its owner settles the bill", timedelta(hours=1)),
        (403, AccessRevokedError, "refuses access", None),
        (404, UnexpectedResponseError, "There is no shop at sluice-demo.myshopify.com", None),
        (423, TransientError, "is locked by Shopify", timedelta(hours=1)),
        (430, TransientError, "suspects misuse", None),
    ],
)
async def test_a_refusal_by_status_says_what_to_do(
    status: int, error: type[Exception], told: str, wait: timedelta | None
) -> None:
    shop = make(1)
    shop.status = status
    with pytest.raises(error, match=told) as raised:
        await read(shop)

    assert type(raised.value) is error
    assert getattr(raised.value, "retry_after", None) == wait


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ({"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}, TransientError, "x"),
        ({"errors": [{"message": "x", "extensions": {"code": "SHOP_INACTIVE"}}]}, TransientError, "x"),
        (
            {"errors": [{"message": "x", "extensions": {"code": "ACCESS_DENIED"}}], "data": None},
            AccessRevokedError,
            "x",
        ),
        ({"errors": [{"message": "Parse error"}]}, RefusedError, "Parse error"),
        ({"errors": "odd"}, RefusedError, "odd"),
        ({"data": None}, UnexpectedResponseError, "not as documented"),
        ({"errors": [], "data": {"customersCount": None}}, UnexpectedResponseError, "not as documented"),
    ],
)
async def test_an_error_under_status_200_is_no_answer(
    answer: dict[str, Any], error: type[Exception], told: str
) -> None:
    shop = make(1)
    shop.traffic.faults.append(Fault(status=200, body=json.dumps(answer).encode()))

    with pytest.raises(error, match=told) as raised:
        await read(shop)
    assert type(raised.value) is error
    assert len(shop.traffic.exchanges) == 1


async def test_access_that_is_lost_to_some_fields_stops_before_they_are_cleared() -> None:
    shop = make(3)
    shop.hidden = frozenset({"defaultPhoneNumber"})

    with pytest.raises(AccessRevokedError, match="not approved to access the Customer object"):
        await read(shop)


async def test_another_version_of_the_api_is_left_to_the_operator() -> None:
    shop = make(1)
    shop.answers_version = "2027-10"

    with pytest.raises(UnexpectedResponseError, match=r"version 2027-10 of its API instead of 2026-10.*update Sluice"):
        await read(shop)
