"""Reading a larger shop from the file of a bulk operation."""

import gc
import json
import tracemalloc
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.base import AccessRevokedError, CheckpointExpiredError, Page, TransientError, UnexpectedResponseError
from connectors.shopify import bulk
from tests.connectors.reading import Stored, connect, ids, read, through_json
from tests.connectors.simulators.kit import Fault
from tests.connectors.simulators.shopify import DOMAIN, ShopifyShop, make
from tests.connectors.simulators.shopify_bulks import SIGNATURE, STORAGE


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shop is a large one here, read in small parts."""
    monkeypatch.setattr("connectors.shopify.reading.BULK_FROM", 1)
    monkeypatch.setattr("connectors.shopify.reading.MOST_PER_PAGE", 25)
    monkeypatch.setattr("connectors.shopify.bulk.PART_BYTES", 16_384)


def asked(shop: ShopifyShop) -> list[str]:
    """What was asked, in a word each."""
    words = {"bulkOperationRunQuery": "start", "bulkOperation(": "poll", "id updatedAt }": "times"}
    words |= {"nodes(ids": "again", "$sortKey": "list"}
    return [
        next((word for sign, word in words.items() if sign in each.body.decode()), "begin")
        if each.method == "POST"
        else "file"
        for each in shop.traffic.exchanges
    ]


def seen(pages: list[Page]) -> list[tuple[int, bool, bool]]:
    return [(len(page.records), page.wait is not None, page.complete) for page in pages]


async def step(shop: ShopifyShop, checkpoint: Any = None) -> Page:
    """The next page that belongs to the sweep."""
    async for page in connect(shop).pages(checkpoint):
        if page.sweep:
            return page
    raise AssertionError("there is no page")


def hours_later(checkpoint: Any, hours: int) -> dict[str, Any]:
    """A checkpoint whose sweep began so many hours before."""
    began_at = datetime.fromisoformat(checkpoint["sweep"]["began_at"]) - timedelta(hours=hours)
    return {**checkpoint, "sweep": {**checkpoint["sweep"], "began_at": began_at.isoformat()}}


async def test_an_operation_is_started_waited_for_and_its_file_read() -> None:
    shop = make(60)

    pages = await read(shop)

    assert seen(pages) == [
        (0, True, False),
        (0, True, False),
        (25, False, False),
        (25, False, False),
        (10, False, True),
    ]
    assert all(page.sweep for page in pages)
    assert ids(pages) == [*shop.matching()]
    assert [page.remaining for page in pages] == [60, 60, 35, 10, 0]
    assert [word for word in asked(shop) if word != "file"] == [
        *("begin", "start", "list", "poll", "list", "poll"), *["times"] * 3,
    ]  # fmt: skip
    assert await read(shop, pages[-1].checkpoint) == []


async def test_the_token_stays_at_the_shop_and_the_files_address_in_no_checkpoint() -> None:
    shop = make(60)

    pages = await read(shop)

    files = [each for each in shop.traffic.exchanges if each.url.host == httpx.URL(STORAGE).host]
    assert len(files) > 1
    assert ["x-shopify-access-token" in each.headers for each in files] == [False] * len(files)
    assert SIGNATURE not in json.dumps([page.checkpoint for page in pages])


async def test_the_query_of_a_bulk_operation_is_not_sorted() -> None:
    """Shopify leaves records out where it is (estuary/connectors#4679)."""
    shop = make(10)
    shop.criteria = {"tags": ["vip"]}
    assert ids(await read(shop)) == ["7000000001"]

    (start,) = [each for each in shop.traffic.exchanges if b"bulkOperationRunQuery" in each.body]
    query = json.loads(start.body)["variables"]["query"]
    assert query.startswith("{ customers(query: \"tag:'vip'\") { edges { node { id updatedAt ")


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_restart_from_any_place_in_the_file_brings_the_rest(ranges: bool) -> None:
    shop = make(60)
    shop.bulks.file_has_no_ranges = not ranges
    pages = await read(shop)

    for stored in range(2, 5):
        rest = await read(shop, through_json(pages[stored].checkpoint))
        assert ids(pages[: stored + 1]) + ids(rest) == [*shop.matching()]


async def test_while_other_operations_run_it_is_waited_for() -> None:
    shop = make(30)
    shop.bulks.others_running = 2

    pages = await read(shop)

    assert seen(pages)[:4] == [(0, True, False)] * 4
    assert asked(shop).count("start") == 3
    assert ids(pages) == [*shop.matching()]


async def test_an_operation_without_customers_has_no_file() -> None:
    shop = make(3)
    first = await step(shop)
    for number in [*shop.matching()]:
        shop.remove(number)
    # Nobody is left when Shopify gets to it.
    bulk = next(iter(shop.bulks.known.values()))
    bulk |= {"file": b"", "rootObjectCount": "0", "objectCount": "0"}

    pages = await read(shop, first.checkpoint)

    assert seen(pages)[-1] == (0, False, True)
    assert "file" not in asked(shop)


@pytest.mark.parametrize(
    "switches",
    [
        {"status": "FAILED", "error": "TIMEOUT"},
        {"status": "FAILED", "error": "INTERNAL_SERVER_ERROR"},
        {"status": "CANCELED"},
        {"are_unknown": True},
        {"refused": True},
        {"file_status": 403},
        {"file_status": 404},
        {"loses_a_line": True},
    ],
)
async def test_when_an_operation_comes_to_nothing_the_customers_are_read_in_pages(switches: dict[str, Any]) -> None:
    shop = make(60)
    for name, value in switches.items():
        setattr(shop.bulks, name, value)

    stored = Stored()
    pages = await stored.cycle(shop)

    assert [*stored.records] == [*shop.matching()]
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert asked(shop)[-3:] == ["list"] * 3


async def test_an_operation_that_lacks_access_asks_to_reconnect() -> None:
    shop = make(3)
    shop.bulks.status, shop.bulks.error = "FAILED", "ACCESS_DENIED"

    with pytest.raises(AccessRevokedError, match=f"{DOMAIN} refuses access to its customers"):
        await read(shop)


async def test_a_file_that_has_expired_asks_for_a_new_sweep() -> None:
    shop = make(60)
    pages = await read(shop)
    shop.bulks.expire()

    with pytest.raises(CheckpointExpiredError):
        await read(shop, pages[2].checkpoint)


@pytest.mark.parametrize("busy", [Fault(status=503), Fault(status=206, headers={"Content-Range": "bytes 0-0/9"})])
async def test_a_file_that_does_not_come_is_asked_for_again_or_given_up(busy: Fault) -> None:
    shop = make(60)
    started = await step(shop)
    waited = await step(shop, started.checkpoint)
    # Behind the changes and the poll.
    shop.traffic.faults.extend([None, None, busy])

    if busy.status == 503:
        with pytest.raises(TransientError):
            await read(shop, waited.checkpoint)
    else:
        with pytest.raises(TransientError, match="without content"):
            await read(shop, waited.checkpoint)
    assert ids(await read(shop, waited.checkpoint)) == [*shop.matching()]


async def test_what_has_changed_since_a_file_was_written_is_asked_for_again_and_nothing_else() -> None:
    shop = make(60)
    started = await step(shop)
    shop.remove("7000000002")
    # Behind the index: what changed is not listed as such.
    shop.index_is_behind = True
    shop.change("7000000001", marketing_state="UNSUBSCRIBED", note="changed since")

    stored = Stored(checkpoint=started.checkpoint)
    await stored.cycle(shop)

    assert [*stored.records] == [*shop.matching()]
    assert stored.records["7000000001"].values["note"] == "changed since"
    questions = [json.loads(each.body) for each in shop.traffic.exchanges if b"nodes(ids" in each.body]
    assert [len(each["variables"]["ids"]) for each in questions] == [25, 1, 25, 10]


async def test_a_file_never_brings_back_what_was_true_before_a_change_that_came_in_meanwhile() -> None:
    shop = make(60)
    shop.bulks.polls = 3
    stored = Stored(checkpoint=(await step(shop)).checkpoint)
    shop.now += timedelta(hours=1)
    for number in [*shop.matching()][:40]:
        shop.change(number, marketing_state="UNSUBSCRIBED", note="new")

    pages = await stored.cycle(shop)

    told = [(record.values["note"], page.sweep) for page in pages for record in page.records if record.values["note"]]
    assert told == [("new", False)] * 40 + [("new", True)] * 40
    notes = [record.values["note"] for record in stored.records.values()]
    assert notes == ["new"] * 40 + [None] * 20


async def test_what_changed_is_asked_for_in_as_many_questions_as_its_cost_takes() -> None:
    shop = make(60)
    started = await step(shop)
    for number in shop.matching():
        shop.change(number, note="new")
    shop.most_points = 70

    stored = Stored(checkpoint=started.checkpoint)
    await stored.cycle(shop)

    assert [record.values["note"] for record in stored.records.values()] == ["new"] * 60
    # 12 cost 63 points: 25 of a file's part are 12, 12 and 1.
    assert asked(shop).count("again") == 7


@pytest.mark.parametrize("why", ["others_running", "polls"])
async def test_whoever_waited_for_an_operation_for_hours_reads_in_pages(why: str) -> None:
    shop = make(60)
    setattr(shop.bulks, why, 1000)
    page = await step(shop)
    page = await step(shop, page.checkpoint)
    assert page.wait is not None

    checkpoint = hours_later(page.checkpoint, 6)
    pages = await read(shop, checkpoint)

    assert seen(pages) == [(25, False, False), (25, False, False), (10, False, True)]
    assert ids(pages) == [*shop.matching()]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"no JSON\n", "not as documented"),
        (b'{"id": "gid://shopify/Customer/1"}\n', "updatedAt Field required"),
        (b"[1]\n", "not as documented"),
    ],
)
async def test_a_line_that_is_no_customer_breaks_the_contract(line: bytes, told: str) -> None:
    shop = make(3)
    started = await step(shop)
    next(iter(shop.bulks.known.values()))["file"] = line

    with pytest.raises(UnexpectedResponseError, match=told):
        await read(shop, started.checkpoint)


async def test_lines_that_belong_to_a_customer_and_empty_ones_are_passed_over() -> None:
    shop = make(3)
    started = await step(shop)
    bulk = next(iter(shop.bulks.known.values()))
    child = b'{"id": "gid://shopify/MailingAddress/1", "__parentId": "gid://shopify/Customer/7000000001"}\n'
    bulk["file"] = child + b"\n" + bulk["file"].rstrip() + b"\n" + child.rstrip()

    assert ids(await read(shop, started.checkpoint)) == [*shop.matching()]


async def test_a_line_without_an_end_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.shopify.bulk.LONGEST_LINE", 3 * 16_384)

    def handler(request: httpx.Request) -> httpx.Response:
        start, end = request.headers["Range"].removeprefix("bytes=").split("-")
        headers = {"Content-Range": f"bytes {start}-{end}/99999999"}
        return httpx.Response(206, content=b"x" * 16_384, headers=headers)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    with pytest.raises(UnexpectedResponseError, match="has no end"):
        async for _ in bulk.read(client, f"{STORAGE}/x", begin=0, most=25):
            pass


async def test_a_file_without_https_is_not_asked_for() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    with pytest.raises(UnexpectedResponseError, match="no https address"):
        async for _ in bulk.read(client, "http://storage.example.com/x", begin=0, most=25):
            pass


async def test_a_file_larger_than_any_answer_is_read_in_flat_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MB, more than a response may hold, of which a megabyte at a time is held."""
    monkeypatch.setattr("connectors.shopify.bulk.PART_BYTES", 1024 * 1024)
    line = json.dumps({"__parentId": "x" * 100_000}).encode() + b"\n"
    size = 40 * 1024 * 1024 // len(line) * len(line)

    def handler(request: httpx.Request) -> httpx.Response:
        start, end = (int(place) for place in request.headers["Range"].removeprefix("bytes=").split("-"))
        end = min(end, size - 1)
        offset = start % len(line)
        content = (line * ((end - start) // len(line) + 2))[offset : offset + end - start + 1]
        return httpx.Response(206, content=content, headers={"Content-Range": f"bytes {start}-{end}/{size}"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    gc.freeze()
    tracemalloc.start()
    try:
        async for lines in bulk.read(client, f"{STORAGE}/x", begin=0, most=1000):
            place = lines.end
            # Answers hold themselves until then.
            gc.collect()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()

    assert place == size
    assert peak < 16 * 1024 * 1024
