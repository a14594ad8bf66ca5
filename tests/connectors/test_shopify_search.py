"""Which customers match: tags, marketing and Shopify's own search, alone and together."""

import pytest
from pydantic import ValidationError

from connectors.base import UnexpectedResponseError
from connectors.shopify.connector import SERVICE
from connectors.shopify.search import Criteria
from tests.connectors.reading import credentials_of, ids, read, through_json
from tests.connectors.simulators.kit import open_simulated
from tests.connectors.simulators.shopify import ShopifyShop


def shop_with(**criteria: object) -> ShopifyShop:
    """Four customers, of whom not two are alike."""
    shop = ShopifyShop(criteria=criteria)
    shop.add("ann@example.com", tags=["VIP", "o'neill"], orders=3, marketing_state="SUBSCRIBED")
    shop.add("bob@example.com", tags=["vip gold"], orders=1, marketing_state="PENDING")
    shop.add("cem@example.com", tags=[], orders=5, marketing_state="NOT_SUBSCRIBED")
    shop.add("dan@example.com", tags=["vip"], orders=0, marketing_state="UNSUBSCRIBED")
    return shop


@pytest.mark.parametrize(
    ("criteria", "matching"),
    [
        ({}, "abcd"),
        ({"tags": ["vip"]}, "ad"),
        ({"tags": ["O'Neill", "vip gold"]}, "ab"),
        ({"marketing": "SUBSCRIBED"}, "ad"),
        ({"marketing": "SUBSCRIBED_OR_PENDING"}, "abd"),
        ({"search": "orders_count:>=3"}, "ac"),
        ({"search": "orders_count:>4 OR email:dan"}, "cd"),
        ({"search": "-tag:vip"}, "bc"),
        ({"search": "orders_count:>0 OR email:dan", "tags": ["vip"], "marketing": "SUBSCRIBED"}, "ad"),
        ({"search": "orders_count:>0", "tags": ["vip"], "marketing": "SUBSCRIBED"}, "a"),
    ],
)
async def test_criteria_hold_for_everybody_and_for_who_changed(criteria: dict[str, object], matching: str) -> None:
    shop = shop_with(**criteria)
    pages = await read(shop)
    checkpoint = through_json(pages[-1].checkpoint)
    assert [record.email for page in pages for record in page.records] == [
        person.email for person in shop.people.values() if person.email and person.email[0] in matching
    ]

    for number in shop.matching():
        shop.change(number)
    changed = [record.email for page in await read(shop, checkpoint) for record in page.records]
    assert "".join(email[0] for email in changed if email) == matching


async def test_an_opt_out_arrives_though_only_subscribers_are_imported() -> None:
    shop = shop_with(marketing="SUBSCRIBED")
    checkpoint = (await read(shop))[-1].checkpoint
    shop.change("7000000001", marketing_state="UNSUBSCRIBED")

    assert ids(await read(shop, checkpoint)) == ["7000000001"]


async def test_a_tag_that_the_index_does_not_know_yet_counts() -> None:
    shop = shop_with(tags=["new"])
    checkpoint = (await read(shop))[-1].checkpoint
    shop.change("7000000003")
    shop.people[7_000_000_003].tags = ["new"]

    assert ids(await read(shop, checkpoint)) == ["7000000003"]


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_search_that_shopify_ignores_imports_nobody(bulk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.shopify.reading.BULK_FROM", 1 if bulk else 1000)
    # What a person could type is found out before; this is what Shopify stops to know.
    shop = shop_with(search="sms_marketing_state:subscribed")

    with pytest.raises(
        UnexpectedResponseError,
        match=r"does not understand the search \(sms_marketing_state: Invalid search field for this query\.\)",
    ):
        await read(shop)
    assert len(shop.traffic.exchanges) == 1


async def test_a_search_that_shopify_ignores_later_stops_the_import() -> None:
    shop = shop_with(search="orders_count:>2")
    checkpoint = {**(await read(shop))[-1].checkpoint}
    shop.criteria = {"search": "province:Ontario"}

    with pytest.raises(UnexpectedResponseError) as raised:
        await read(shop, checkpoint)
    assert str(raised.value) == (
        "Shopify does not understand the search (province: Invalid search field for this query.)."
        " Edit the import's criteria; if it has none, the operator of this server should update Sluice."
    )


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("sate:enabled", "filter 'sate' that Shopify does not know"),
        ("(orders_count:>2", "parenthesis without its counterpart"),
        ("orders_count:>2)", "parenthesis without its counterpart"),
        (") OR (orders_count:>2", "parenthesis without its counterpart"),
        ("first_name:'Ann", "quotation mark without its counterpart"),
        ("updated_at:>2026-01-01T00:00:00Z", "put values with a colon into quotation marks"),
        ("metafields.size:XL", "does not know"),
    ],
)
def test_a_mistake_that_can_be_seen_is_refused_at_once(search: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Criteria(search=search)


@pytest.mark.parametrize(
    "search",
    [
        "Ann",
        "orders_count:>2 AND country:Canada",
        "(tag:'a:b' OR -tag_not:\"(c\") last_name:O\\'Neill",
        "updated_at:>'2026-01-01T00:00:00Z'",
        "metafields.custom.size:XL",
        "NOT state:disabled",
    ],
)
def test_what_shopify_documents_is_accepted(search: str) -> None:
    assert Criteria(search=f" {search} ").search == search


@pytest.mark.parametrize("tag", ["", "  ", "a,b", "x" * 256])
def test_what_cannot_be_a_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValidationError):
        Criteria(tags=[tag])


def test_the_search_is_shopifys_syntax() -> None:
    criteria = Criteria(tags=["it's", "b\\c"], search="a OR b")

    assert criteria.everybody() == r"(tag:'it\'s' OR tag:'b\\c') AND (a OR b)"
    assert Criteria().everybody() is None
    assert Criteria(search=" ").everybody() is None


async def test_the_tags_that_customers_have_are_offered() -> None:
    shop = shop_with()
    async with open_simulated(shop) as client:
        offered = await SERVICE.choices(client, credentials_of(shop), "tags")
        assert await SERVICE.choices(client, credentials_of(shop), "search") == []

    assert [choice.value for choice in offered] == ["o'neill", "VIP", "vip", "vip gold"]
