"""R5 and R17: what becomes of each record, and that every one is counted exactly once."""

from collections import Counter

import pytest

from domain.enums import Outcome
from domain.models import Account, Contact, ImportRun
from domain.records import Record
from tests.domain.source import Source, record


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def test_a_new_record_becomes_a_contact(source: Source) -> None:
    stored = await source.send(record("ann", first_name="Ann", last_name="Lee", phone="+46 70 1", values={"vip": True}))

    contact = await Contact.get(email_key="ann@example.com")
    assert stored.counts == Counter({Outcome.CREATED: 1})
    assert (contact.first_name, contact.last_name, contact.phone) == ("Ann", "Lee", "+46 70 1")
    assert list(contact.field_values.values()) == [True]
    assert await source.ledger() == {"ann": ("LINKED", None)}
    assert (await Account.get(id=source.account_id)).active_contacts == 1


async def test_storing_a_page_again_changes_nothing_and_stores_no_outcome(source: Source) -> None:
    await source.send(record("ann"), record("bob"))

    stored = await source.send(record("ann"), record("bob"))

    assert stored.counts == Counter({Outcome.UNCHANGED: 2})
    assert stored.cost == 0
    assert await source.outcomes() == [("ann", "CREATED", None), ("bob", "CREATED", None)]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (None, "NO_EMAIL"),
        ("", "NO_EMAIL"),
        ("   ", "NO_EMAIL"),
        ("ann", "INVALID_EMAIL"),
        ("ann@@example.com", "INVALID_EMAIL"),
        ("ann@example", "INVALID_EMAIL"),
    ],
)
async def test_a_record_without_a_valid_address_is_skipped(source: Source, address: str | None, code: str) -> None:
    stored = await source.send(Record(external_id="ann", email=address))

    assert stored.counts == Counter({Outcome.SKIPPED: 1})
    assert await source.ledger() == {"ann": ("SKIPPED", code)}
    assert await emails() == []


async def test_a_repeated_skip_is_counted_without_a_row(source: Source) -> None:
    await source.send(record("ann", None))

    stored = await source.send(record("ann", None))

    assert stored.counts == Counter({Outcome.SKIPPED: 1})
    assert await source.outcomes() == [("ann", "SKIPPED", "NO_EMAIL")]


async def test_a_skipped_record_is_looked_at_again_when_it_changes(source: Source) -> None:
    await source.send(record("ann", None))

    await source.send(record("ann", "ann@example.com"))

    assert await emails() == ["ann@example.com"]
    assert await source.ledger() == {"ann": ("LINKED", None)}


async def test_the_run_counts_every_record_in_exactly_one_outcome(source: Source) -> None:
    await source.send(record("ann"), record("bob", None), record("cid", "no address"), record("dup", "ann@example.com"))
    await source.send(record("ann", first_name="Ann"), record("bob", None))

    run = await ImportRun.get(automatic_import_id=source.automatic_import_id)
    assert (run.read_count, run.created_count, run.updated_count, run.skipped_count) == (6, 1, 1, 4)


async def test_addresses_are_compared_by_their_key(source: Source) -> None:
    await source.send(record("ann", "Ann@Example.COM"))

    stored = await source.send(record("two", "aNN@example.com"))

    assert stored.counts == Counter({Outcome.SKIPPED: 1})
    assert await emails() == ["Ann@example.com"]


async def test_the_same_record_twice_in_a_page_is_read_twice(source: Source) -> None:
    page = [record("ann", first_name="A"), record("bob"), record("ann", first_name="Ann")]

    first = await source.send(*page)
    second = await source.send(*page, start=first.consumed)

    assert (first.consumed, second.consumed) == (2, 1)
    assert second.counts == Counter({Outcome.UPDATED: 1})
    assert (await Contact.get(email_key="ann@example.com")).first_name == "Ann"


async def test_the_checkpoint_moves_only_with_the_last_record_of_the_page(source: Source) -> None:
    page = [record("ann"), record("bob"), record("ann")]

    first = await source.send(*page, checkpoint={"token": 1})
    before = await source.checkpoint()
    await source.send(*page, start=first.consumed, checkpoint={"token": 1})

    assert before is None
    assert await source.checkpoint() == {"token": 1}
