"""Reading the customers of a WooCommerce shop: nobody is lost while others come and go."""

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.base import Page, UnexpectedResponseError
from connectors.woocommerce.connector import Criteria, State
from connectors.woocommerce.listing import Place
from tests.connectors.reading import Stored, connect, ids, read, through_json
from tests.connectors.simulators.kit import Fault
from tests.connectors.simulators.woocommerce import WooShop, make


def asked(shop: WooShop, parameter: str) -> list[str | None]:
    """What a parameter was in each request."""
    return [each.url.params.get(parameter) for each in shop.traffic.exchanges]


async def test_everybody_with_an_account_is_read_unless_a_role_is_chosen() -> None:
    shop = make(2)
    shop.add("wholesaler@example.com", role="wholesale_customer")
    everybody = ids(await read(shop))
    shop.criteria = {"role": "wholesale_customer"}

    assert (everybody, ids(await read(shop))) == (["1", "2", "3"], ["3"])


async def test_a_role_that_no_longer_exists_asks_for_another() -> None:
    shop = make(2)
    shop.criteria = {"role": "vip"}

    with pytest.raises(UnexpectedResponseError, match="the role may not exist any more, choose another"):
        await read(shop)


def test_criteria_that_are_not_understood_are_refused() -> None:
    assert Criteria() == Criteria(role="all", guests=False)
    with pytest.raises(ValidationError):
        Criteria.model_validate({"role": ""})


async def test_a_thousand_customers_take_eleven_requests_each_time() -> None:
    shop = make(1000)

    pages = await read(shop)
    again = await read(shop, through_json(pages[-1].checkpoint))

    assert (len(ids(pages)), len(ids(again)), len(shop.traffic.exchanges)) == (1000, 1000, 22)
    assert [page.remaining for page in pages] == [900, 801, 702, 603, 504, 405, 306, 207, 108, 9, 0]
    assert [(page.sweep, page.complete) for page in pages] == [(True, False)] * 10 + [(True, True)]


async def test_customers_are_asked_for_by_id_a_hundred_at_a_time() -> None:
    shop = make(150)

    await read(shop)

    assert [str(each.url.params) for each in shop.traffic.exchanges] == [
        "role=all&per_page=100&orderby=id&order=asc",
        "role=all&per_page=100&orderby=id&order=asc&offset=99",
    ]


async def test_an_empty_shop_is_one_complete_page() -> None:
    (page,) = await read(make(0))

    assert (page.records, page.sweep, page.complete, page.checkpoint) == ([], True, True, _fresh())


def _fresh() -> dict[str, Any]:
    return State(version=2).model_dump(mode="json")


async def test_whoever_follows_those_who_were_deleted_between_two_pages_is_found() -> None:
    shop = make(250)

    def meanwhile() -> None:
        if len(shop.traffic.exchanges) == 1:
            for number in range(1, 61):
                shop.remove(str(number))

    shop.traffic.meanwhile = meanwhile
    found = ids(await read(shop))

    assert found == [str(number) for number in range(1, 251)]
    assert asked(shop, "offset") == [None, "99", None, "99"]


async def test_a_step_back_may_find_the_very_same_rows() -> None:
    shop = make(4)
    shop.page_size = 2
    leaving = iter([None, "1", "2"])

    def meanwhile() -> None:
        if gone := next(leaving, None):
            shop.remove(gone)

    shop.traffic.meanwhile = meanwhile

    assert ids(await read(shop)) == ["1", "2", "3", "4"]
    assert asked(shop, "offset") == [None, "1", None]


async def test_a_shop_that_loses_most_of_its_customers_meanwhile_is_still_read_to_its_end() -> None:
    shop = make(900)
    pages = await read(shop)
    for number in range(1, 841):
        shop.remove(str(number))

    rest = await read(shop, through_json(pages[7].checkpoint))

    assert ids(rest) == [str(number) for number in range(841, 901)]
    assert rest[-1].complete


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    people=st.integers(0, 40),
    page_size=st.integers(2, 7),
    history=st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=6), max_size=25),
)
async def test_nobody_who_stays_is_lost_while_others_come_and_go(
    people: int, page_size: int, history: list[list[tuple[bool, int]]]
) -> None:
    shop = make(people)
    shop.page_size = page_size
    stays = {*shop.matching()}
    moments: Iterator[list[tuple[bool, int]]] = iter(history)

    def meanwhile() -> None:
        for adds, choice in next(moments, []):
            there = sorted(shop.customers)
            if adds:
                shop.add("new@example.com")
            elif there:
                gone = str(there[choice % len(there)])
                shop.remove(gone)
                stays.discard(gone)

    shop.traffic.meanwhile = meanwhile
    found = ids(await read(shop))

    assert len(found) == len({*found})
    assert stays <= {*found}


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 199, 250])
async def test_without_totals_the_end_is_found_too(count: int) -> None:
    shop = make(count)
    shop.tells_totals = False

    pages = await read(shop)

    assert ids(pages) == [str(number) for number in range(1, count + 1)]
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("totals", [True, False])
async def test_a_cached_page_is_not_read_for_ever(totals: bool) -> None:
    shop = make(199)
    shop.tells_totals, shop.traffic.replays = totals, True

    with pytest.raises(UnexpectedResponseError, match="the same page of wc/v3/customers again and again: is it cached"):
        await read(shop)

    assert len(shop.traffic.exchanges) == 2


async def test_a_shop_that_shows_far_less_than_it_counts_is_not_taken_for_read() -> None:
    shop = make(250)
    shop.hidden = {*range(11, 251)}

    with pytest.raises(UnexpectedResponseError, match="says that it has 250 wc/v3/customers, and shows but 10"):
        await read(shop)


async def job(shop: WooShop, stored: Stored, *, requests: int) -> None:
    """A worker that is ended after so many requests."""
    last = len(shop.traffic.exchanges) + requests
    async with aclosing(connect(shop).pages(stored.checkpoint)) as reading:
        async for page in reading:
            stored.store(page)
            if len(shop.traffic.exchanges) == last:
                return


async def test_a_shop_that_shows_nobody_new_is_not_asked_for_ever_by_jobs_that_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connectors.woocommerce.listing.MOST_WITHOUT_NEWS", 12)
    shop, stored = make(250), Stored()
    shop.shows_the_first = True

    for _ in range(2):
        await job(shop, stored, requests=5)
    with pytest.raises(UnexpectedResponseError, match="the same page of wc/v3/customers again and again: is it cached"):
        await job(shop, stored, requests=5)
    # One with news, thirteen without.
    assert len(shop.traffic.exchanges) == 1 + 13

    shop.shows_the_first = False
    shop.remove("1")
    await stored.cycle(shop)
    assert [*stored.records] == [str(number) for number in range(1, 251)]


async def test_a_shop_that_orders_otherwise_is_not_trusted() -> None:
    shop = make(0)
    shop.traffic.faults.append(Fault(status=200, body=b'[{"id": 2}, {"id": 1}]'))

    with pytest.raises(UnexpectedResponseError, match="in another order than that of their ids"):
        await read(shop)


async def test_a_reading_goes_on_from_the_last_id_wherever_that_is_now() -> None:
    shop = make(10)
    checkpoint = State(version=2, place=Place(last_id=4, offset=9)).model_dump(mode="json")

    rest: list[Page] = await read(shop, checkpoint)

    assert ids(rest) == ["5", "6", "7", "8", "9", "10"]
