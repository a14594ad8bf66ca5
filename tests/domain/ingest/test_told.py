"""R16: what the service itself says of a deletion is so for every import of the external account; absence is not."""

import pytest

from domain import automatic_imports, ingest
from domain.enums import ContactStatus, DeletionPolicy
from domain.models import AutomaticImport, Contact, ContactTag
from tests.configuration import Configure
from tests.domain.source import Source, add_import, record
from tests.domain.undoing import viewer
from tests.factories import make_tag


@pytest.fixture
async def lets_go(source: Source) -> Source:
    """Another import of the external account: it unsubscribes whoever is deleted there, `source` keeps them."""
    return await add_import(source, deletion_policy=DeletionPolicy.UNSUBSCRIBE)


async def statuses() -> dict[str, ContactStatus]:
    return {contact.email: contact.status async for contact in Contact.all()}


@pytest.mark.parametrize("is_first", [True, False])
async def test_an_imports_policy_acts_on_what_the_service_tells_whichever_import_is_told_first(
    source: Source, lets_go: Source, is_first: bool
) -> None:
    await lets_go.send(record("ann"), record("ben"))
    await source.send(record("ann"), record("ben"))

    for each in (lets_go, source) if is_first else (source, lets_go):
        await each.send(deleted=["ann"])

    assert await statuses() == {"ann@example.com": "UNSUBSCRIBED", "ben@example.com": "ACTIVE"}


async def test_an_import_that_tags_whoever_is_deleted_does_so_when_it_is_told_first(
    source: Source, lets_go: Source
) -> None:
    tag = await make_tag(source.account_id)
    await AutomaticImport.filter(id=lets_go.automatic_import_id).update(
        deletion_policy=DeletionPolicy.TAG, deletion_tag_id=tag.id
    )
    await lets_go.send(record("ann"))
    await source.send(record("ann"))

    await lets_go.send(deleted=["ann"])

    tagged = [row.contact_id async for row in ContactTag.filter(tag_id=tag.id)]
    assert tagged == [(await Contact.get()).id]


async def test_whom_only_sweeps_miss_is_kept_while_another_import_knows_the_record(
    source: Source, lets_go: Source
) -> None:
    await source.send(record("ann"), record("ben"))
    await lets_go.send(record("ann"), record("ben"), complete=True)

    for _ in range(2):
        await lets_go.send(record("ben"), complete=True)
    await ingest.store_deletions(lets_go.turn)

    assert await lets_go.ledger() == {"ann": ("DELETED", None), "ben": ("LINKED", None)}
    assert await statuses() == {"ann@example.com": "ACTIVE", "ben@example.com": "ACTIVE"}


async def test_whom_only_sweeps_miss_is_not_kept_for_what_a_deleted_import_knew(
    source: Source, lets_go: Source
) -> None:
    await source.send(record("ann"), record("ben"))
    await automatic_imports.delete(viewer(source), source.automatic_import_id)
    await lets_go.send(record("ann"), record("ben"), complete=True)

    for _ in range(2):
        await lets_go.send(record("ben"), complete=True)
    await ingest.store_deletions(lets_go.turn)

    assert await statuses() == {"ann@example.com": "UNSUBSCRIBED", "ben@example.com": "ACTIVE"}


async def test_whom_a_sweep_missed_before_the_service_told_is_let_go(source: Source, lets_go: Source) -> None:
    await source.send(record("ann"), record("ben"))
    await lets_go.send(record("ann"), record("ben"), complete=True)
    await lets_go.send(record("ben"), complete=True)

    await lets_go.send(deleted=["ann"])

    assert await statuses() == {"ann@example.com": "UNSUBSCRIBED", "ben@example.com": "ACTIVE"}


async def test_all_of_more_tombstones_than_a_transaction_holds_are_told(
    source: Source, lets_go: Source, configure: Configure
) -> None:
    configure(cap=2000)
    people = [record(f"r{n:03}") for n in range(700)]
    for each in (lets_go, source):
        for start in (0, 500):
            await each.send(*people[start : start + 500])

    await lets_go.send(deleted=[person.external_id for person in people])
    assert await Contact.filter(status="UNSUBSCRIBED").count() == 500
    await ingest.store_deletions(lets_go.turn)

    assert await Contact.filter(status="UNSUBSCRIBED").count() == 700


# Dealt with in the order of their ids, 500 at a time: "a", then strangers, and "z" only after that.
ANNS = (record("a", "ann@example.com"), record("z", "ann@example.com"))
STRANGERS = [record(f"r{n:03}") for n in range(500)]


async def test_of_two_records_of_a_person_that_are_told_at_once_the_one_that_is_dealt_with_later_keeps_nobody(
    source: Source, lets_go: Source
) -> None:
    await lets_go.send(*ANNS)
    await source.send(ANNS[1])

    await lets_go.send(deleted=[each.external_id for each in (*ANNS, *STRANGERS)])
    await ingest.store_deletions(lets_go.turn)

    assert await statuses() == {"ann@example.com": "UNSUBSCRIBED"}


async def test_of_two_records_of_a_person_that_are_missed_at_once_the_one_that_is_dealt_with_later_keeps_nobody(
    lets_go: Source, configure: Configure
) -> None:
    configure(cap=2000, review_missing_count=1000)
    await lets_go.send(*STRANGERS, sweep=True)
    await lets_go.send(*ANNS, complete=True)

    for _ in range(2):
        await lets_go.send(complete=True)
    while await ingest.store_deletions(lets_go.turn):
        pass

    assert await Contact.filter(status="ACTIVE").count() == 0


@pytest.mark.parametrize("is_first", [True, False])
async def test_whoever_is_another_record_that_waits_for_the_address_in_another_import_is_kept(
    source: Source, lets_go: Source, is_first: bool
) -> None:
    await lets_go.send(record("1", "ann@example.com"))
    await source.send(record("1", "ann@example.com"), record("2", "ann@example.com"))

    for each in (lets_go, source) if is_first else (source, lets_go):
        await each.send(deleted=["1"])
        await each.ingest_due()

    assert (await source.ledger())["2"] == ("LINKED", None)
    assert await statuses() == {"ann@example.com": "ACTIVE"}
