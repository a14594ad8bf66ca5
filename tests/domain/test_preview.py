"""R21: what a preview concludes from what it read, however much there is."""

import gc
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain import database, fields, previews
from domain.enums import DeletionPolicy, Outcome, OutcomeCode, OverwritePolicy
from domain.ingest import Incoming
from domain.previews import Forecast, imagined, line
from domain.previews.filling import Source as PreviewSource
from domain.previews.tally import CREATED, WAITING, Tally
from domain.records import FieldSpec, FieldType, SourceConsent
from tests.configuration import Configure
from tests.domain.source import FIELDS, Source, record


def of(source: Source) -> PreviewSource:
    """A new import of the source's external account."""
    return PreviewSource(
        account_id=source.account_id,
        external_account_id=source.external_account_id,
        automatic_import_id=uuid7(),
        service=source.service,
        criteria={},
        list_ids=[],
        tag_ids=[],
        name_policy=OverwritePolicy.ALWAYS,
        phone_policy=OverwritePolicy.ALWAYS,
        deletion_policy=DeletionPolicy.KEEP,
        deletion_tag_id=None,
        starts_over=False,
        credentials={},
        not_before=None,
    )


async def begin(source: Source, progress: Mapping[str, Any] | None = None) -> Forecast:
    return await previews.begin(of(source), unstable_services=(), progress=progress or {})


def people(start: int, count: int = 500, *, remaining: int | None = None) -> Incoming:
    """A page of so many new people, of whom each tenth has no address."""
    records = [
        record(str(n), None if n % 10 == 0 else f"{n}@example.com", first_name="Ann", values={"total": n})
        for n in range(start, start + count)
    ]
    return Incoming(records=records, checkpoint={"at": start + count}, fields=FIELDS, remaining=remaining)


async def test_up_to_10_000_records_are_exact_and_beyond_the_rest_is_estimated_where_it_is_told(
    source: Source,
) -> None:
    forecast = await begin(source)
    for start in range(0, 9_500, 500):
        await forecast.take(people(start, remaining=40_000 - start - 500))
        assert not forecast.is_over
    before = forecast.result()
    await forecast.take(people(9_500, remaining=30_000))

    after = forecast.result()
    assert (before["is_estimate"], before["counts"]) == (
        False,
        [["SKIPPED", "NO_EMAIL", 950], ["CREATED", None, 8_550]],
    )
    assert (forecast.is_over, after["is_estimate"], after["records"]) == (True, True, 10_000)
    assert {(outcome, code): count for outcome, code, count in after["counts"]} == {
        ("SKIPPED", "NO_EMAIL"): 4_000,
        # The plan has room for ten thousand.
        ("CREATED", None): 10_000,
        ("WAITING", "CONTACT_LIMIT"): 26_000,
    }
    assert (after["active_after"], after["limit"], after["cost"]) == (10_000, 10_000, 10_000)


async def test_exactly_10_000_records_are_no_estimate(source: Source) -> None:
    forecast = await begin(source)
    for start in range(0, 10_000, 500):
        await forecast.take(people(start, remaining=10_000 - start - 500))

    assert not forecast.result()["is_estimate"]


async def test_where_nobody_tells_how_many_there_are_all_are_read_page_by_page(source: Source) -> None:
    forecast = await begin(source)
    for start in range(0, 10_500, 500):
        await forecast.take(people(start))
    await forecast.take(Incoming(records=[record("again", "1@example.com")], checkpoint={"at": "end"}))

    result = forecast.result()
    assert (result["is_estimate"], result["records"], forecast.is_over) == (True, 10_501, False)
    # Nobody remembers any more who came first, but the limit is known to the contact.
    assert Counter({tuple(kind): count for *kind, count in result["counts"]}) == {
        ("SKIPPED", "NO_EMAIL"): 1_050,
        ("CREATED", None): 9_450 + 1,
    }


def allocated() -> int:
    """How many blocks of memory are in use; each string is one, each object with attributes several."""
    gc.collect()
    return sys.getallocatedblocks()


async def test_memory_is_flat_beyond_the_records_that_are_remembered(source: Source) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = 1000000")
    forecast = await begin(source)
    for start in range(0, 20_000, 500):
        await forecast.take(people(start))
    before = allocated()
    for start in range(20_000, 100_000, 500):
        await forecast.take(people(start))

    assert allocated() - before < 20_000
    assert forecast.tally.counts == {CREATED: 90_000, (Outcome.SKIPPED, OutcomeCode.NO_EMAIL): 10_000}
    assert len(orjson.dumps(forecast.progress())) < 10_000


@pytest.mark.parametrize("pages", [1, 3, 21], ids=["exact", "exact-over-pages", "estimate"])
async def test_another_worker_goes_on_as_if_it_had_begun(source: Source, pages: int) -> None:
    shoe = {"shoe": FIELDS["shoe"], "vip": FIELDS["vip"]}
    seen_once = Incoming(records=[record("x", values={"shoe": "41", "vip": True})], checkpoint={}, fields=shoe)
    seen_twice = Incoming(records=[record("y", "1@example.com", values={"shoe": "42"})], checkpoint={}, fields=shoe)
    one = await begin(source)
    for number in range(pages):
        await one.take(people(number * 500))
    await one.take(seen_once)

    other = await begin(source, orjson.loads(orjson.dumps(one.progress())))
    told = [one.result(), other.result()]
    await one.take(seen_twice)
    await other.take(seen_twice)

    assert told[0] == told[1]
    assert one.result() == other.result()
    assert [field["tag"] for field in one.result()["fields"]] == [
        "SHOPIFY_TOTAL_SPENT",
        "SHOPIFY_SHOE_SIZE",
        "SHOPIFY_VIP",
    ]


async def test_another_worker_knows_who_waits_who_is_gone_and_what_the_run_would_stop_for(
    source: Source, configure: Configure
) -> None:
    configure(review_changed_count=1, review_missing_count=1)
    known = [record(name, values={"vip": True}) for name in "abcdefg"]
    await source.send(*known, complete=True)
    await source.send(*known[:-1], complete=True)
    await database.fetch("UPDATE plan_tier SET contact_limit = 7")
    await source.send(record("waits"))
    await database.fetch("UPDATE plan_tier SET contact_limit = 8")
    wanted = replace(of(source), automatic_import_id=source.automatic_import_id)
    one = await previews.begin(wanted, unstable_services=(), progress={})
    blanked = [record(name, values={"vip": None}) for name in "abc"]
    await one.take(Incoming(records=blanked, checkpoint={}, fields=FIELDS, sweep=True))

    progress = orjson.loads(orjson.dumps(one.progress()))
    other = await previews.begin(wanted, unstable_services=(), progress=progress)
    last = Incoming(records=[], checkpoint={}, deleted_ids=["d"], sweep=True, complete=True)
    for each in (one, other):
        await each.take(last)
        await each.finish()

    result = one.result()
    assert other.result() == result
    assert [(each["kind"], each["affected"]) for each in result["reviews"]] == [("CHANGES", 3), ("MISSING", 3)]
    assert result["deletions"] == {"deleted": 2, "unsubscribed": 0, "tagged": 0, "missing": 3}
    assert (result["waiting_before"], result["let_in"], result["active_after"]) == (1, 1, 8)


async def test_an_estimate_knows_how_many_wait_and_tells_nothing_of_deletions(source: Source) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = 2")
    await source.send(record("x"), record("y"), record("waits"))
    await database.fetch("UPDATE plan_tier SET contact_limit = 9000")
    one = await begin(source)
    for start in range(0, 10_500, 500):
        await one.take(people(start))

    other = await begin(source, orjson.loads(orjson.dumps(one.progress())))
    for each in (one, other):
        await each.finish()

    result = one.result()
    assert other.result() == result
    assert (result["is_estimate"], result["deletions"]) == (True, None)
    assert (result["waiting_before"], result["let_in"], result["active_after"]) == (1, 1, 9_000)
    assert result["cost"] == 1 + 8_997


async def begin_again(source: Source) -> Forecast:
    """The source's own import, read from the beginning."""
    wanted = replace(of(source), automatic_import_id=source.automatic_import_id)
    return await previews.begin(wanted, unstable_services=(), progress={})


def whole(*names: str) -> Incoming:
    """A reading of everything, in one page."""
    return Incoming(records=[record(name) for name in names], checkpoint={}, sweep=True, complete=True)


async def test_what_a_reading_saw_that_is_given_up_is_expected_of_the_one_that_is_previewed(source: Source) -> None:
    await source.send(record("a"), record("b"), sweep=True)

    forecast = await begin_again(source)
    await forecast.take(whole("a"))

    assert forecast.result()["deletions"]["missing"] == 1


async def test_what_a_reading_that_is_given_up_saw_is_missed_for_the_first_time_by_the_next(source: Source) -> None:
    await source.send(record("a"), record("b"), complete=True)
    await source.send(record("a"), complete=True)
    await source.send(record("b"), sweep=True)

    forecast = await begin_again(source)
    await forecast.take(whole("a"))

    assert forecast.result()["deletions"] == {"deleted": 0, "unsubscribed": 0, "tagged": 0, "missing": 1}


async def test_a_deleted_record_that_comes_back_is_missed_for_the_first_time_again(source: Source) -> None:
    await source.send(record("a"), record("b"), complete=True)
    await source.send(deleted=["b"])
    await source.send(record("a"), complete=True)

    forecast = await begin_again(source)
    await forecast.take(Incoming(records=[record("b")], checkpoint={}))
    await forecast.take(whole("a"))

    assert forecast.result()["deletions"] == {"deleted": 0, "unsubscribed": 0, "tagged": 0, "missing": 1}


async def test_what_the_first_part_of_a_page_brings_is_expected_of_its_reading(
    source: Source, configure: Configure
) -> None:
    configure(review_missing_count=1)
    await source.send(*[record(name) for name in "abc"], complete=True)

    forecast = await begin_again(source)
    # An id that comes twice parts the page.
    await forecast.take(whole("x", "y", "x"))

    assert [(each["known"], each["missing"]) for each in forecast.result()["reviews"]] == [(5, 3)]


async def test_whoever_waits_behind_those_who_are_remembered_need_not_once_their_address_has_a_contact(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "EXACT_RECORDS", 1)
    await database.fetch("UPDATE plan_tier SET contact_limit = 0")
    await source.send(record("first"), record("behind"))

    forecast = await begin_again(source)
    declined = record("other", "behind@example.com", consent=SourceConsent.DENIED)
    await forecast.take(Incoming(records=[record("behind"), declined], checkpoint={}))

    assert {(outcome, code): count for outcome, code, count in forecast.result()["counts"]} == {
        ("WAITING", "CONTACT_LIMIT"): 1,
        ("CREATED", None): 1,
        ("SKIPPED", "DUPLICATE_EMAIL"): 1,
    }


async def test_more_that_is_due_than_can_be_remembered_makes_an_estimate(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.send(*[record(name) for name in "abc"])
    await database.fetch("UPDATE ledger SET due = true")

    told = []
    for most in (3, 2):
        monkeypatch.setattr(imagined, "EXACT_RECORDS", most)
        result = (await begin_again(source)).result()
        told.append((result["counts"], result["is_estimate"]))

    assert told == [([["UNCHANGED", None, 3]], False), ([["UNCHANGED", None, 2]], True)]


@given(
    created=st.integers(0, 50),
    waiting=st.integers(0, 50),
    skipped=st.integers(0, 50),
    updated=st.integers(0, 50),
    room=st.integers(0, 500),
    remaining=st.integers(0, 5_000),
)
def test_an_estimate_adds_up_and_keeps_to_the_limit(
    created: int, waiting: int, skipped: int, updated: int, room: int, remaining: int
) -> None:
    created = min(created, room)
    waiting = waiting if created == room else 0
    records = created + waiting + skipped + updated
    kinds = {
        CREATED: created,
        WAITING: waiting,
        (Outcome.SKIPPED, OutcomeCode.NO_EMAIL): skipped,
        (Outcome.UPDATED, None): updated,
    }
    tally = Tally(records=records, counts=Counter(kinds), cost=created + updated, active_delta=created)

    whole = tally.extrapolated(remaining, room=room)

    assert whole.active_delta <= room
    assert whole.active_delta == whole.counts[CREATED]
    assert whole.cost == whole.counts[CREATED] + whole.counts[Outcome.UPDATED, None]
    if records:
        assert abs(sum(whole.counts.values()) - records - remaining) <= 2
    if not remaining:
        assert whole.counts == +tally.counts


def spec(key: str, *, open_ended: bool = True, title: str = "Size") -> FieldSpec:
    return FieldSpec(key=key, title=title, type=FieldType.TEXT, open_ended=open_ended)


def test_what_fields_are_to_be_made_is_decided_without_a_database() -> None:
    external_account_id = uuid4()
    known = fields.with_made(
        {},
        [
            fields.FieldToMake(spec=spec("seen"), tag=None, first_seen_in=fields.first_seen(external_account_id, "1")),
            fields.FieldToMake(spec=spec("made"), tag="SHOP_SIZE", first_seen_in="x/1"),
        ],
    )
    specs = {key: spec(key) for key in ("seen", "made", "once", "twice", "_private")} | {
        "fixed": spec("fixed", open_ended=False)
    }

    made = fields.fields_to_make(
        known,
        {"SHOP_SIZE"},
        service="shop",
        external_account_id=external_account_id,
        specs=specs,
        seen={
            "seen": ["2"],
            "made": ["2"],
            "once": ["2"],
            "twice": ["2", "3"],
            "_private": ["2", "3"],
            "fixed": ["2"],
        },
    )

    assert [(each.spec.key, each.tag, each.candidate is not None) for each in made] == [
        ("fixed", "SHOP_SIZE_2", False),
        ("once", None, False),
        ("seen", "SHOP_SIZE_3", True),
        ("twice", "SHOP_SIZE_4", False),
    ]
    assert fields.first_record(made[2]) == (external_account_id, "1")
