"""R16: what counts as deleted at the source, and what then becomes of contacts."""

import asyncio
from collections.abc import Sequence

import pytest

from domain import automatic_imports, contacts, ingest, sweeps, turns
from domain.database import fetch, transaction
from domain.enums import ContactStatus, DeletionPolicy
from domain.models import Account, AutomaticImport, Contact, ContactTag, ImportRun, Suppression
from domain.records import SourceConsent
from tests.configuration import Configure
from tests.domain.source import Source, make_source, record
from tests.domain.undoing import viewer
from tests.factories import make_list, make_tag
from tests.fakes import RecordingQueue


async def sweep(source: Source, *names: str) -> None:
    """Two pages; then what is known to be gone is dealt with."""
    half = len(names) // 2
    await source.send(*(record(name) for name in names[:half]), sweep=True)
    await source.send(*(record(name) for name in names[half:]), complete=True)
    await settle(source)


async def settle(source: Source) -> None:
    while await ingest.store_deletions(source.turn):
        pass


async def deleted(source: Source) -> Sequence[str]:
    return sorted(name for name, (state, _) in (await source.ledger()).items() if state == "DELETED")


async def test_a_record_that_two_complete_sweeps_miss_is_deleted(source: Source) -> None:
    await sweep(source, "a", "b", "c", "d")

    await sweep(source, "a", "b", "c")
    assert await deleted(source) == []
    await sweep(source, "a", "b", "c")

    assert await deleted(source) == ["d"]
    assert await Contact.all().count() == 4
    assert (await ImportRun.filter(deleted_count=1).count()) == 1


async def test_a_record_that_comes_back_in_between_is_not(source: Source) -> None:
    await sweep(source, "a", "b")
    for names in (("a",), ("a", "b"), ("a",)):
        await sweep(source, *names)

    assert await deleted(source) == []


async def test_a_record_of_a_page_that_was_cut_counts_as_seen_though_it_was_gone_when_the_page_was_read_again(
    source: Source,
) -> None:
    await source.send(record("a"), record("b"), record("c"), sweep=True, allowance=2)

    for _ in range(3):
        await sweep(source, "a", "c")

    assert await source.ledger() == {"a": ("LINKED", None), "b": ("DELETED", None), "c": ("LINKED", None)}


async def test_what_a_sweep_saw_that_was_given_up_is_expected_of_the_next(source: Source) -> None:
    await source.send(record("a"), record("b"), sweep=True)
    await automatic_imports.run_now(viewer(source), source.automatic_import_id, full=True, queue=RecordingQueue())
    source.revision += 1

    await sweep(source, "a")
    first = await deleted(source)
    await sweep(source, "a")

    assert (first, await deleted(source)) == ([], ["b"])


async def test_whoever_is_back_in_a_sweep_that_is_given_up_is_missed_for_the_first_time_by_the_next(
    source: Source,
) -> None:
    await sweep(source, "a", "b")
    await sweep(source, "a")
    await source.send(record("a"), record("b"), sweep=True)
    await sweeps.start_over(source.turn)

    await sweep(source, "a")
    first = await deleted(source)
    await sweep(source, "a")

    assert (first, await deleted(source)) == ([], ["b"])


async def test_what_sweeps_saw_that_were_given_up_is_kept_once(source: Source) -> None:
    for names in ("ab", "abc", "cb"):
        await source.send(*(record(name) for name in names), sweep=True)
        await sweeps.start_over(source.turn)

    rows = await fetch("SELECT unnest(external_ids) AS id FROM sweep_page ORDER BY 1")
    assert [row["id"] for row in rows] == ["a", "b", "c"]


async def test_nothing_is_kept_of_the_sweeps_of_an_import_that_is_deleted(source: Source) -> None:
    await sweep(source, "a", "b")
    await sweep(source, "a")
    await source.send(record("a"), sweep=True)

    await automatic_imports.delete(viewer(source), source.automatic_import_id)

    assert await fetch("SELECT id FROM sweep_page") == []
    assert await fetch("SELECT external_id FROM missing_record") == []


async def test_a_deleted_record_that_comes_back_outside_a_sweep_is_expected_of_the_next(source: Source) -> None:
    await sweep(source, "a", "b")
    await source.send(deleted=["b"])
    await sweep(source, "a")
    await source.send(record("b"))

    await sweep(source, "a")
    first = await source.ledger()
    await sweep(source, "a")

    assert first == {"a": ("LINKED", None), "b": ("LINKED", None)}
    assert await deleted(source) == ["b"]


async def test_a_deleted_record_that_comes_back_is_linked_again(source: Source) -> None:
    for names in (("a", "b"), ("a",), ("a",), ("a", "b")):
        await sweep(source, *names)

    assert (await source.ledger())["b"] == ("LINKED", None)
    assert await Contact.all().count() == 2


async def test_what_came_in_between_two_sweeps_is_known_to_the_next(source: Source) -> None:
    await sweep(source, "a")
    await source.send(record("new"))

    await sweep(source, "a")
    await sweep(source, "a")

    assert await deleted(source) == ["new"]


async def test_a_sweep_that_is_abandoned_says_nothing(source: Source) -> None:
    await sweep(source, "a", "b")
    await source.send(record("a"), sweep=True)
    await sweeps.start_over(source.turn)
    await sweep(source, "a", "b")
    await sweep(source, "a", "b")

    assert await deleted(source) == []
    assert await fetch("SELECT FROM missing_record") == []


async def test_a_sweep_under_two_credentials_says_nothing_and_is_no_measure(source: Source) -> None:
    await sweep(source, "a", "b", "c")
    await sweep(source, "a", "b")
    await source.send(record("a"), sweep=True)
    async with transaction() as connection:
        await sweeps.forget(connection, source.account_id, [source.automatic_import_id])
    await source.send(complete=True)
    await sweep(source, "a")
    await sweep(source, "a")

    assert await deleted(source) == []


async def test_only_the_last_complete_sweep_is_kept(source: Source) -> None:
    for _ in range(3):
        await sweep(source, "a", "b")

    rows = await fetch("SELECT sweep, external_ids FROM sweep_page ORDER BY id")
    assert [(row["sweep"], row["external_ids"]) for row in rows] == [(3, ["a"]), (3, ["b"])]


async def test_more_tombstones_than_a_transaction_holds_are_all_dealt_with(
    source: Source, configure: Configure
) -> None:
    configure(cap=2000)
    names = [f"r{n}" for n in range(1200)]
    await source.send(*(record(name) for name in names[:500]))
    await source.send(*(record(name) for name in names[500:1000]))
    await source.send(*(record(name) for name in names[1000:]))

    await source.send(deleted=names)
    assert len(await deleted(source)) == 500
    await settle(source)

    assert len(await deleted(source)) == 1200
    assert sum([run.deleted_count async for run in ImportRun.all()]) == 1200


@pytest.mark.parametrize("consent", [SourceConsent.GRANTED, SourceConsent.PENDING])
async def test_policy_unsubscribe_lets_the_person_go_and_remembers_it(database: None, consent: SourceConsent) -> None:
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await source.target(list_id=(await make_list(source.account_id)).id)
    await source.send(record("a", consent=consent), record("b"))

    await source.send(deleted=["a"])

    contact = await Contact.get(email="a@example.com")
    run = await ImportRun.get(deleted_count=1)
    assert contact.status == ContactStatus.UNSUBSCRIBED
    assert await Suppression.filter(account_id=source.account_id, status="UNSUBSCRIBED").count() == 1
    assert (await Account.get()).active_contacts == await Contact.filter(status="ACTIVE").count() == 1
    # Two lists joined at creation, one left now, if it was joined.
    assert run.silenced_notifications == (3 if consent is SourceConsent.GRANTED else 1)


async def test_policy_unsubscribe_leaves_a_bounced_contact_bounced(database: None) -> None:
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await source.send(record("a"))
    await Contact.all().update(status=ContactStatus.BOUNCED)

    await source.send(deleted=["a"])

    assert (await Contact.get()).status == ContactStatus.BOUNCED


async def test_policy_tag_gives_the_tag_once(database: None) -> None:
    source = await make_source()
    tag = await make_tag(source.account_id)
    await AutomaticImport.all().update(deletion_policy=DeletionPolicy.TAG, deletion_tag_id=tag.id)
    await source.send(record("a"), record("b"))

    await source.send(deleted=["a"])
    await source.send(record("a"))
    await source.send(deleted=["a"])

    tagged = [row.contact_id async for row in ContactTag.filter(tag_id=tag.id)]
    assert tagged == [(await Contact.get(email="a@example.com")).id]


async def test_deletions_cost_nothing_of_the_cap(database: None, configure: Configure) -> None:
    configure(cap=1)
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await source.send(record("a"))

    stored = await source.send(deleted=["a"])

    assert (stored.cost, stored.cap_left) == (0, 0)
    assert await deleted(source) == ["a"]


async def test_a_sweep_that_misses_many_stops_for_review_before_any_policy_acts(
    database: None, configure: Configure
) -> None:
    configure(review_missing_count=2)
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    names = [f"r{n}" for n in range(10)]
    await sweep(source, *names)

    await source.send(*(record(name) for name in names[3:]), complete=True)

    automatic_import, run = await AutomaticImport.get(), await ImportRun.get(state="NEEDS_REVIEW")
    assert (automatic_import.state, run.stopped_by) == ("NEEDS_REVIEW", "REVIEW")
    assert run.review is not None
    assert {name: run.review[name] for name in ("kind", "known", "missing", "affected")} == {
        "kind": "MISSING",
        "known": 10,
        "missing": 3,
        "affected": 3,
    }
    assert run.review["examples"] == [
        {"external_id": f"r{n}", "email": f"r{n}@example.com", "before": {}, "after": {}} for n in range(3)
    ]
    assert await fetch("SELECT FROM missing_record") == []
    assert await turns.of_ledger(source.account_id, source.automatic_import_id, ()) is None


@pytest.mark.parametrize(("missing", "stops"), [(2, False), (3, True)])
async def test_few_missing_records_never_stop_a_sweep(
    source: Source, configure: Configure, missing: int, stops: bool
) -> None:
    configure(review_missing_count=2)
    names = [f"r{n}" for n in range(10)]
    await sweep(source, *names)

    await sweep(source, *names[missing:])

    assert ((await AutomaticImport.get()).state == "NEEDS_REVIEW") is stops


async def test_a_small_part_of_the_known_records_never_stops_a_sweep(source: Source, configure: Configure) -> None:
    configure(review_missing_count=0)
    names = [f"r{n}" for n in range(20)]
    await sweep(source, *names)

    await sweep(source, *names[2:])

    assert (await AutomaticImport.get()).state == "ACTIVE"


async def test_every_new_record_of_a_page_that_was_stored_in_parts_is_known_to_the_next_sweep(source: Source) -> None:
    await sweep(source, "a")
    page = [record("n1"), record("n2")]
    await source.send(*page, allowance=1)
    await source.send(*page, start=1)

    await sweep(source, "a")
    await sweep(source, "a")

    assert await deleted(source) == ["n1", "n2"]


async def test_policy_unsubscribe_spares_whom_another_record_of_the_service_is(database: None) -> None:
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await source.send(record("1", "ann@example.com"), record("2", "ann@example.com"))

    # The service merged the two.
    await source.send(deleted=["1"])
    await source.ingest_due()

    assert (await source.ledger())["2"] == ("LINKED", None)
    assert (await Contact.get()).status == ContactStatus.ACTIVE


async def test_deletions_here_and_at_the_source_never_wait_for_each_other_in_a_circle(database: None) -> None:
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    names = [f"p{n:03}" for n in range(120)]
    await source.send(*(record(name) for name in names))
    ids = [contact.id async for contact in Contact.all().order_by("email_key")]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await fetch(deadlocks)

    async def here() -> None:
        for contact_id in ids[:40]:
            await contacts.delete(viewer(source), contact_id, queue=RecordingQueue())

    async def there() -> None:
        for start in range(0, len(names), 10):
            await source.send(deleted=names[start : start + 10])

    await asyncio.gather(here(), there())
    await fetch("SELECT pg_stat_force_next_flush()")

    assert await fetch(deadlocks) == before
    assert await Contact.filter(status=ContactStatus.ACTIVE).count() == 0
