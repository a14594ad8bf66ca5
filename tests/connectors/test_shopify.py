"""Reading the customers of a Shopify shop in pages: what matches, what changed, and what goes wrong on the way."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.connectors.reading import Stored, ids, read, through_json
from tests.connectors.simulators.shopify import ShopifyShop, make


def questions(shop: ShopifyShop) -> list[Mapping[str, Any]]:
    """What was asked of the API, in order."""
    return [json.loads(each.body) for each in shop.traffic.exchanges if each.url.path.endswith("graphql.json")]


def a_day_later(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint whose sweep was a day ago."""
    swept_at = datetime.fromisoformat(str(checkpoint["swept_at"])) - timedelta(days=1)
    return {**checkpoint, "swept_at": swept_at.isoformat()}


def half_an_hour_later(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of which the last change was heard half an hour ago."""
    heard_at = datetime.fromisoformat(str(checkpoint["heard_at"])) - timedelta(minutes=30)
    return {**checkpoint, "heard_at": heard_at.isoformat()}


def at_one_moment(shop: ShopifyShop, numbers: list[str], *, note: str) -> None:
    """All of these change within the second that it is, and the index learns it."""
    for number in numbers:
        person = shop.people[int(number)]
        person.updated_at, person.note = shop.now, note
        person.index()


async def read_whole(shop: ShopifyShop) -> dict[str, Any]:
    """The checkpoint once everybody has been read."""
    return through_json((await read(shop))[-1].checkpoint)


async def test_a_backfill_costs_seven_questions_for_a_thousand_customers_and_an_idle_cycle_one() -> None:
    shop = make(1000)

    pages = await read(shop)

    assert [(len(page.records), page.remaining, page.complete) for page in pages] == [
        (199, 801, False),
        (199, 602, False),
        (199, 403, False),
        (199, 204, False),
        (199, 5, False),
        (5, 0, True),
    ]
    assert len(shop.traffic.exchanges) == 7
    assert await read(shop, pages[-1].checkpoint) == []
    assert len(shop.traffic.exchanges) == 8


async def test_only_who_changed_comes_in_the_order_of_the_changes() -> None:
    shop = make(30)
    checkpoint = await read_whole(shop)
    shop.change("7000000012")
    new = shop.add("new@example.com")
    shop.change("7000000003")

    (page,) = await read(shop, checkpoint)

    assert ids([page]) == ["7000000012", new, "7000000003"]
    assert (page.sweep, page.complete, page.remaining) == (False, False, None)
    assert questions(shop)[-1]["variables"]["query"] == "updated_at:>='2026-09-01T00:15:00Z'"


@pytest.mark.parametrize("crowd", [600, 1200])
async def test_more_changes_at_one_moment_than_are_remembered_all_come(crowd: int) -> None:
    shop = make(crowd)
    checkpoint = await read_whole(shop)
    shop.now += timedelta(hours=1)
    at_one_moment(shop, [*shop.matching()], note="bulk edited")

    pages = await read(shop, checkpoint)

    assert sorted(ids(pages)) == [*shop.matching()]
    assert {record.values["note"] for page in pages for record in page.records} == {"bulk edited"}


async def test_whoever_of_a_crowd_is_forgotten_comes_again_unchanged_until_the_index_had_its_time() -> None:
    shop, stored = make(600), Stored()
    await stored.cycle(shop)
    shop.now += timedelta(hours=1)
    at_one_moment(shop, [*shop.matching()], note="bulk edited")
    await stored.cycle(shop)
    told = {**stored.records}

    again = await stored.cycle(shop)

    assert len(ids(again)) == 100
    assert stored.records == told
    assert stored.checkpoint is not None
    stored.checkpoint = half_an_hour_later(stored.checkpoint)
    await stored.cycle(shop)
    assert await stored.cycle(shop) == []
    shop.change("7000000600")
    assert ids(await stored.cycle(shop)) == ["7000000600"]


async def test_whoever_the_index_learns_of_late_is_found_behind_a_crowd_too() -> None:
    shop, stored = make(700), Stored()
    await stored.cycle(shop)
    shop.now += timedelta(hours=1)
    shop.index_is_behind = True
    shop.change("7000000001", note="late")
    shop.index_is_behind = False
    shop.now += timedelta(minutes=1)
    at_one_moment(shop, [*shop.matching()][50:650], note="crowd")
    await stored.cycle(shop)
    assert stored.records["7000000001"].values["note"] is None
    shop.catch_up()

    await stored.cycle(shop)

    assert stored.records["7000000001"].values["note"] == "late"


async def test_a_second_change_in_the_same_second_is_a_change() -> None:
    shop, stored = make(30), Stored()
    await stored.cycle(shop)
    shop.now += timedelta(hours=1)
    at_one_moment(shop, ["7000000001"], note="first")
    await stored.cycle(shop)
    assert await stored.cycle(shop) == []
    at_one_moment(shop, ["7000000001"], note="second")

    await stored.cycle(shop)

    assert stored.records["7000000001"].values["note"] == "second"


async def test_what_the_index_learned_late_of_the_time_before_a_first_sweep_is_listed_after_it() -> None:
    shop, stored = make(60), Stored()
    shop.criteria, shop.page_size = {"tags": ["vip"]}, 2
    shop.index_is_behind = True
    shop.change("7000000002", tags=["vip"])
    shop.index_is_behind = False
    shop.change("7000000003", note="later")
    await stored.cycle(shop, limit=1)
    shop.catch_up()
    for _ in range(2):
        shop.now += timedelta(hours=1)
        for number in range(1, 60, 10):
            shop.change(str(7_000_000_000 + number))
        await stored.cycle(shop, limit=2)
    # The sweep is complete in the midst of a listing of changes.
    assert stored.checkpoint is not None
    assert stored.checkpoint["sweep"] is None

    await stored.cycle(shop)
    await stored.cycle(shop)

    assert {*stored.records} == {str(each.number) for each in shop.people.values() if "vip" in each.tags}
    assert "7000000002" in stored.records


async def test_a_sweep_moves_on_where_more_changes_than_can_be_stored() -> None:
    shop, stored = make(60), Stored()
    shop.page_size = 10
    await stored.cycle(shop, limit=1)
    done = []
    for _ in range(5):
        for number in [*shop.matching()][:30]:
            shop.change(number)
        pages = await stored.cycle(shop, limit=2)
        done.append([(len(page.records), page.sweep) for page in pages])

    assert done == [[(10, False), (10, True)]] * 5
    assert stored.checkpoint is not None
    assert stored.checkpoint["sweep"] is None
    shop.page_size = 250
    await stored.cycle(shop)
    assert {number: record.values["note"] for number, record in stored.records.items()} == {
        str(number): person.note for number, person in shop.people.items()
    }


async def test_changes_at_one_moment_all_come_once_also_over_pages_and_restarts() -> None:
    shop = make(5)
    checkpoint = await read_whole(shop)
    shop.page_size = 2
    shop.now += timedelta(hours=1)
    at_one_moment(shop, [*shop.matching()], note="changed")

    pages = await read(shop, checkpoint)

    assert ids(pages) == [f"700000000{number}" for number in range(1, 6)]
    for stored in range(3):
        assert ids(await read(shop, pages[stored].checkpoint)) == ids(pages[stored + 1 :])


async def test_what_the_index_learns_late_is_found_within_the_overlap() -> None:
    shop = make(40)
    checkpoint = await read_whole(shop)
    shop.index_is_behind = True
    shop.change("7000000001")
    shop.index_is_behind = False
    shop.change("7000000002")
    stored = Stored(checkpoint=checkpoint)
    await stored.cycle(shop)
    assert [*stored.records] == ["7000000002"]

    shop.catch_up()
    await stored.cycle(shop)

    assert [*stored.records] == ["7000000002", "7000000001"]


async def test_whoever_changes_while_pages_are_read_is_not_lost() -> None:
    shop = make(20)
    shop.page_size = 5
    late = iter(["7000000001", "7000000002", "7000000009"])

    def meanwhile() -> None:
        if number := next(late, None):
            shop.change(number, note="late")

    shop.traffic.meanwhile = meanwhile
    stored = Stored()
    await stored.cycle(shop)
    await stored.cycle(shop)

    notes = {number: record.values["note"] for number, record in stored.records.items()}
    assert notes == {
        **dict.fromkeys(shop.matching()),
        **dict.fromkeys(["7000000001", "7000000002", "7000000009"], "late"),
    }


async def test_what_changes_in_the_midst_of_a_first_sweep_comes_before_the_rest_of_it() -> None:
    shop = make(30)
    shop.page_size = 10
    first, *_ = await read(shop)
    shop.change("7000000002", marketing_state="UNSUBSCRIBED")

    pages = await read(shop, first.checkpoint)

    assert [(ids([page]), page.sweep) for page in pages[:1]] == [(["7000000002"], False)]
    assert ids(pages[1:]) == [f"70000000{number}" for number in range(11, 31)]
    assert pages[-1].complete


async def test_everybody_is_read_once_a_day_so_that_absence_means_something() -> None:
    shop = make(10)
    stored = Stored()
    await stored.cycle(shop)
    shop.merge("7000000001", "7000000002")
    assert [page.sweep for page in await stored.cycle(shop)] == [False]
    for missing in (True, False):
        assert stored.checkpoint is not None
        stored.checkpoint = a_day_later(stored.checkpoint)
        pages = await stored.cycle(shop)
        assert [(page.sweep, page.complete) for page in pages] == [(True, True)]
        assert ("7000000002" in stored.records) is missing
    assert await stored.cycle(shop) == []


async def test_more_changes_than_can_be_paged_through_are_read_as_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.shopify.reading.LONGEST_PASS", 20)
    shop = make(30)
    checkpoint = await read_whole(shop)
    shop.page_size = 10
    for number in shop.matching():
        shop.change(number)

    pages = await read(shop, checkpoint)

    assert [(len(page.records), page.sweep) for page in pages] == [
        (10, False), (10, False), (10, True), (10, True), (10, True),
    ]  # fmt: skip
    assert pages[-1].complete


async def test_a_cursor_that_is_refused_begins_the_listing_again() -> None:
    shop = make(40)
    checkpoint = await read_whole(shop)
    shop.page_size = 20
    changed = [*shop.matching()][:10]
    for number in changed:
        shop.change(number)
    first, *_ = await read(shop, checkpoint)
    # The other 16 of the first page were there before.
    assert ids([first]) == changed[:4]
    shop.expire_checkpoints()

    assert ids(await read(shop, first.checkpoint)) == changed[4:]


async def test_a_sweep_goes_on_by_ids_which_no_shop_forgets() -> None:
    shop = make(10)
    shop.page_size = 4
    first, *_ = await read(shop)
    shop.expire_checkpoints()

    assert ids(await read(shop, first.checkpoint)) == [*shop.matching()][4:]
    assert [each["variables"].get("query") for each in questions(shop)[-2:]] == ["id:>7000000004", "id:>7000000008"]
    assert [each["variables"].get("after") for each in questions(shop)] == [None] * len(questions(shop))


async def test_a_filter_by_whole_days_brings_only_who_changed() -> None:
    shop = make(3000)
    checkpoint = await read_whole(shop)
    shop.whole_days = True
    shop.change("7000000001")

    assert ids(await read(shop, checkpoint)) == ["7000000001"]
