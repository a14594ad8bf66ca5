"""Those who bought in a WooCommerce shop without an account: found by its orders, and by what changed in them since."""

import hashlib
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import Page, UnexpectedResponseError
from domain.records import Record, SourceConsent
from tests.connectors.reading import Stored, ids, read, through_json
from tests.connectors.simulators.kit import Fault
from tests.connectors.simulators.woocommerce import WooShop, make


def shop_with(*emails: str, customers: int = 0) -> WooShop:
    """A shop of which guests are wanted too, with an order from each of these."""
    shop = make(customers)
    shop.criteria = {"role": "all", "guests": True}
    for email in emails:
        shop.order(email)
    return shop


def guest(email: str) -> str:
    return f"guest:{hashlib.sha256(email.encode()).hexdigest()[:32]}"


def records(pages: list[Page]) -> list[Record]:
    return [record for page in pages for record in page.records]


def orders_asked(shop: WooShop) -> list[dict[str, str]]:
    return [dict(each.url.params) for each in shop.traffic.exchanges if each.url.path.endswith("/orders")]


async def cycles(shop: WooShop, *changes: Any) -> list[list[Record]]:
    """What each cycle brings: at first, and after each change. The shop's clock goes on by an hour in between."""
    pages = await read(shop)
    found = [records(pages)]
    for change in changes:
        shop.now += timedelta(hours=1)
        change()
        pages = await read(shop, through_json(pages[-1].checkpoint))
        found.append(records(pages))
    return found


async def test_guests_follow_the_customers() -> None:
    pages = await read(shop_with("Ada@Example.com", "grace@example.com", customers=1))

    assert ids(pages) == ["1", guest("ada@example.com"), guest("grace@example.com")]
    assert [(page.sweep, page.complete) for page in pages] == [(True, False), (True, True)]
    assert [page.remaining for page in pages] == [None, None]


async def test_a_guest_becomes_a_record_of_the_order_s_addresses() -> None:
    shop = shop_with()
    number = shop.order("ada.lovelace@example.com", city="London", phone="+44 20 1")
    shop.edit_order(number, shipping={"city": "Ockham"}, meta_data=[
        {"id": 1, "key": "gift_note", "value": "Happy birthday"},
        {"id": 2, "key": "mailchimp_woocommerce_is_subscribed", "value": "1"},
    ])  # fmt: skip

    (record,) = records(await read(shop))

    assert record == Record(
        external_id=guest("ada.lovelace@example.com"),
        email="ada.lovelace@example.com",
        first_name="Ada",
        last_name="Lovelace",
        phone="+44 20 1",
        consent=SourceConsent.GRANTED,
        values={
            "billing.company": None,
            "billing.address_1": None,
            "billing.address_2": None,
            "billing.city": "London",
            "billing.state": None,
            "billing.postcode": None,
            "billing.country": "DE",
            "billing.email": "ada.lovelace@example.com",
            "billing.phone": "+44 20 1",
            "shipping.city": "Ockham",
        },
    )


async def test_without_the_criterion_no_order_is_read() -> None:
    shop = shop_with("ada@example.com", customers=1)
    shop.criteria = {"role": "all", "guests": False}

    assert (ids(await read(shop)), orders_asked(shop)) == (["1"], [])


async def test_what_was_bought_and_from_where_does_not_leave_the_shop() -> None:
    shop = shop_with("ada@example.com")

    await read(shop)

    assert orders_asked(shop) == [
        {
            "_fields": "id,customer_id,status,date_modified_gmt,billing,shipping,meta_data",
            "per_page": "100",
            "orderby": "id",
            "order": "asc",
        }
    ]
    answer = shop.traffic.exchanges[-1].answer
    assert (b"line_items" in answer, b"203.0.113.9" in answer) == (False, False)


@pytest.mark.parametrize(
    ("status", "is_found"),
    [
        ("processing", True),
        ("on-hold", True),
        ("completed", True),
        ("refunded", True),
        ("shipped-by-plugin", True),
        ("pending", False),
        ("failed", False),
        ("cancelled", False),
        ("checkout-draft", False),
    ],
)
async def test_who_did_not_go_through_with_an_order_bought_nothing(status: str, is_found: bool) -> None:
    shop = shop_with()
    shop.order("ada@example.com", status=status)

    assert ids(await read(shop)) == [guest("ada@example.com")] * is_found


async def test_orders_of_customers_and_without_an_address_are_nobody_s() -> None:
    shop = shop_with(customers=1)
    shop.order("person-0@example.com", customer=1)
    shop.order("")

    assert ids(await read(shop)) == ["1"]


async def test_several_orders_are_one_guest_as_the_last_has_them() -> None:
    shop = shop_with()
    shop.order("ada@example.com", city="London")
    shop.order("ADA@example.com", city="Ockham")

    (record,) = records(await read(shop))

    assert (record.email, record.values["billing.city"]) == ("ADA@example.com", "Ockham")


async def test_later_only_orders_that_changed_are_read_in_the_shop_s_own_time() -> None:
    shop = shop_with("ada@example.com", "grace@example.com", customers=1)

    found = await cycles(shop, lambda: shop.order("new@example.com"), lambda: None)

    assert [[record.external_id for record in each] for each in found] == [
        ["1", guest("ada@example.com"), guest("grace@example.com")],
        # With the overlap.
        ["1", guest("ada@example.com"), guest("grace@example.com"), guest("new@example.com")],
        ["1", guest("new@example.com")],
    ]
    bounds = [(asked.get("modified_after"), asked.get("dates_are_gmt")) for asked in orders_asked(shop)]
    assert bounds == [(None, None), ("2026-11-22T07:50:03", "true"), ("2026-11-22T08:50:04", "true")]


async def test_what_later_cycles_bring_is_no_sweep() -> None:
    shop = shop_with("ada@example.com", customers=1)
    first = await read(shop)

    later = await read(shop, through_json(first[-1].checkpoint))

    assert [(page.sweep, page.complete) for page in later] == [(False, False), (False, False)]


async def test_an_older_order_that_is_edited_brings_nothing_back_that_it_says() -> None:
    shop = shop_with()
    older = shop.order("ada@example.com", city="London")
    shop.order("ada@example.com", city="Ockham")

    found = await cycles(
        shop,
        lambda: shop.order("grace@example.com"),
        lambda: shop.edit_order(older, status="completed"),
        lambda: shop.order("ada@example.com", city="Marylebone"),
    )

    assert [[(record.first_name, record.values["billing.city"]) for record in each] for each in found] == [
        [("Ada", "Ockham")],
        [("Ada", "Ockham"), ("Grace", None)],
        [("Grace", None)],
        [("Ada", "Marylebone")],
    ]


@pytest.mark.parametrize(
    ("said", "consent"),
    [
        ([], SourceConsent.PENDING),
        (["1"], SourceConsent.PENDING),
        (["0"], SourceConsent.NONE),
        (["unsubscribed"], SourceConsent.DENIED),
    ],
)
async def test_an_old_order_that_is_edited_raises_no_consent_of_a_guest_who_may_have_bought_since(
    monkeypatch: pytest.MonkeyPatch, said: list[str], consent: SourceConsent
) -> None:
    monkeypatch.setattr("connectors.woocommerce.guests.MOST_RECENT", 2)
    shop = shop_with()
    older = shop.order("ada@example.com", city="London")
    shop.edit_order(older, meta_data=[{"id": 1, "key": "ws_opt_in", "value": value} for value in said])
    newer = shop.order("ada@example.com", city="Ockham")
    shop.edit_order(newer, meta_data=[{"id": 1, "key": "ws_opt_in", "value": "0"}])
    shop.now += timedelta(hours=1)
    for name in ("bob", "cleo"):
        shop.order(f"{name}@example.com")

    found = await cycles(
        shop,
        lambda: shop.edit_order(older, status="refunded"),
        lambda: shop.order("ada@example.com", city="Marylebone"),
    )

    ada = [[record for record in each if record.email == "ada@example.com"] for each in found]
    assert [(record.consent, record.values["billing.city"]) for record in ada[0]] == [(SourceConsent.NONE, "Ockham")]
    assert ada[1] == [Record(external_id=guest("ada@example.com"), email="ada@example.com", consent=consent)]
    assert [record.values["billing.city"] for record in ada[2]] == ["Marylebone"]


async def test_a_guest_who_registers_is_a_customer_and_no_guest_any_more() -> None:
    shop = shop_with("grace@example.com", customers=1)
    stored = Stored()
    await stored.cycle(shop)
    ada = shop.order("Ada@example.com")
    await stored.cycle(shop)
    number = shop.add("ada@example.com")

    pages = await stored.cycle(shop)
    shop.edit_order(ada, status="completed")
    later = await stored.cycle(shop)

    assert [[*page.deleted_ids] for page in pages] == [[guest("ada@example.com")], []]
    assert ids(pages) == ["1", number, guest("grace@example.com")]
    # They are told of once: whoever holds the address by then keeps it.
    assert [[*page.deleted_ids] for page in later] == [[], []]
    assert ids(later) == ["1", number, guest("grace@example.com"), guest("ada@example.com")]


async def test_a_guest_who_registered_is_none_either_where_the_reading_goes_on_in_another_job() -> None:
    shop, stored = shop_with("ada@example.com", customers=1), Stored()
    await stored.cycle(shop)
    shop.add("ada@example.com")

    before = await stored.cycle(shop, limit=1)
    after = await stored.cycle(shop, limit=1)

    assert ([[*page.deleted_ids] for page in before], ids(before)) == ([[guest("ada@example.com")]], ["1", "2"])
    # The orders say nothing of anybody; then the customers come again.
    assert ids(after) == []
    assert [*stored.records] == ["1", "2"]


async def test_whoever_has_an_account_when_all_is_read_for_the_first_time_was_never_a_guest() -> None:
    shop = shop_with("person-0@example.com", customers=1)

    assert [[*page.deleted_ids] for page in await read(shop)] == [[], []]


async def test_an_order_that_is_paid_later_makes_its_guest_known() -> None:
    shop = shop_with()
    number = shop.order("ada@example.com", status="pending")

    found = await cycles(shop, lambda: shop.edit_order(number, status="processing"))

    assert [len(each) for each in found] == [0, 1]


async def test_an_order_that_changes_while_others_are_read_comes_with_the_next_cycle() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(150)))
    first = min(shop.orders)

    def meanwhile() -> None:
        # Behind the reading, and long before its end: whose last change is later.
        if len(orders_asked(shop)) == 1 and not len(shop.orders) > 150:
            shop.now += timedelta(hours=2)
            shop.edit_order(first, city="Ockham")
            shop.now += timedelta(hours=2)
            shop.order("last@example.com")

    shop.traffic.meanwhile = meanwhile
    before = await read(shop)
    shop.traffic.meanwhile = None
    after = records(await read(shop, through_json(before[-1].checkpoint)))

    assert [record.values["billing.city"] for record in records(before) if record.first_name == "Guest"][:1] == [None]
    assert {record.email: record.values["billing.city"] for record in after}["guest-0@example.com"] == "Ockham"


async def test_orders_that_no_clock_tells_of_are_read_again_rather_than_lost() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(150)))
    shop.tells_time = False

    await cycles(shop, lambda: None)

    # The latest change of the first page, minus the overlap: the hundredth second.
    assert orders_asked(shop)[-1]["modified_after"] == "2026-11-22T07:51:40"


async def test_an_order_without_a_date_of_change_is_read_and_moves_nothing() -> None:
    shop = shop_with("ada@example.com")
    (number,) = shop.orders
    shop.orders[number]["date_modified_gmt"] = None

    await cycles(shop, lambda: None)

    assert [asked.get("modified_after") for asked in orders_asked(shop)] == [None, None]


async def test_a_shop_before_5_8_that_tells_of_all_orders_flips_nobody() -> None:
    shop = shop_with("ada@example.com", "grace@example.com")
    shop.filters_changes = False

    found = await cycles(shop, lambda: shop.order("new@example.com"), lambda: None)

    assert [[record.email for record in each] for each in found] == [
        ["ada@example.com", "grace@example.com"],
        ["ada@example.com", "grace@example.com", "new@example.com"],
        ["new@example.com"],
    ]


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param([(40, 100), (200, 230), (345, 350)], id="few in a row"),
        pytest.param([(100, 205)], id="more than a page"),
        pytest.param([(0, 120), (121, 300)], id="all but one, and those at the end"),
        pytest.param([(0, 350)], id="all"),
        pytest.param([(99, 349)], id="all between the first page and the last order"),
    ],
)
async def test_orders_that_the_key_may_not_see_are_passed_over(hidden: list[tuple[int, int]]) -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(350)))
    numbers = sorted(shop.orders)
    shop.hidden = {number for first, end in hidden for number in numbers[first:end]}

    pages = await read(shop)

    assert ids(pages) == [
        guest(row["billing"]["email"]) for row in shop.orders.values() if row["id"] not in shop.hidden
    ]
    assert pages[-1].complete


async def test_orders_are_not_lost_behind_hidden_ones_while_some_are_deleted() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(350)))
    numbers = sorted(shop.orders)
    shop.hidden = {*numbers[100:205]}

    def meanwhile() -> None:
        if len(orders_asked(shop)) == 2:
            for number in numbers[:50]:
                del shop.orders[number]

    shop.traffic.meanwhile = meanwhile

    assert len({*ids(await read(shop))}) == 350 - 105


async def test_a_cached_page_of_orders_is_not_taken_for_what_hidden_ones_leave() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(250)))
    shop.hidden = {*sorted(shop.orders)[40:100]}
    shop.traffic.replays = True

    with pytest.raises(UnexpectedResponseError, match="the same page of wc/v3/orders again and again: is it cached"):
        await read(shop)


async def test_a_shop_that_gives_one_order_at_a_time_is_not_taken_for_one_that_hides_some() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(3)))
    row = shop.orders[min(shop.orders)]
    totals = {"X-WP-Total": "250", "X-WP-TotalPages": "250"}
    shop.traffic.faults.extend([None, *[Fault(status=200, body=json.dumps([row]).encode(), headers=totals)] * 2])

    with pytest.raises(UnexpectedResponseError, match="says that it has 250 wc/v3/orders, and shows but 1"):
        await read(shop)


async def test_a_reading_of_orders_goes_on_where_it_was() -> None:
    shop = shop_with(*(f"guest-{number}@example.com" for number in range(250)), customers=1)
    pages = await read(shop)

    rest = await read(shop, through_json(pages[1].checkpoint))

    assert ids(pages[:2]) + ids(rest) == ids(pages)
    assert len(ids(pages)) == 251


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    history=st.lists(
        st.lists(st.tuples(st.sampled_from(["buys", "edits", "deletes"]), st.integers(0, 50)), max_size=5), max_size=20
    ),
    page_size=st.integers(2, 5),
)
async def test_once_it_is_quiet_every_guest_is_known_by_their_latest_order(
    history: list[list[tuple[str, int]]], page_size: int
) -> None:
    shop, stored = shop_with(*(f"guest-{number % 4}@example.com" for number in range(6))), Stored()
    shop.page_size = page_size
    moments = iter(history)

    def meanwhile() -> None:
        for what, choice in next(moments, []):
            shop.now += timedelta(minutes=choice)
            numbers = sorted(shop.orders)
            if what == "buys" or not numbers:
                shop.order(f"guest-{choice % 7}@example.com", city=f"city {choice}")
            elif what == "edits":
                shop.edit_order(numbers[choice % len(numbers)], city=f"edited {choice}")
            # A guest whose latest order is deleted keeps what it said: nothing tells of that.
            elif shop.orders[numbers[choice % len(numbers)]]["billing"]["email"] in _with_later(shop, choice):
                del shop.orders[numbers[choice % len(numbers)]]

    shop.traffic.meanwhile = meanwhile
    for _ in range(3):
        # As many orders as a small page holds may come to lie before it: it looks cached, and the next cycle reads on.
        with suppress(UnexpectedResponseError):
            await stored.cycle(shop)
    shop.traffic.meanwhile = None
    for _ in range(2):
        await stored.cycle(shop)

    latest = {row["billing"]["email"]: row["billing"]["city"] or None for _, row in sorted(shop.orders.items())}
    assert {record.email: record.values["billing.city"] for record in stored.records.values()} == latest


def _with_later(shop: WooShop, choice: int) -> set[str]:
    """Whoever bought after the order that `choice` means."""
    numbers = sorted(shop.orders)
    return {shop.orders[number]["billing"]["email"] for number in numbers[choice % len(numbers) + 1 :]}
