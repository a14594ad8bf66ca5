"""R6, R9, R16 with Google Contacts: persons get other names, are merged, lose labels. The simulator and the engine."""

from contextlib import aclosing

import pytest

from connectors.base import CheckpointExpiredError
from domain import ingest
from domain.enums import DeletionPolicy
from domain.ingest import Incoming, store_page
from domain.models import Contact
from tests.connectors.reading import connect
from tests.connectors.simulators.google_answers import item
from tests.connectors.simulators.google_contacts import GoogleContacts, make
from tests.domain.source import Source, make_source


async def cycle(source: Source, google: GoogleContacts) -> None:
    """One cycle, as the job runs it."""
    checkpoint = await source.checkpoint()
    assert checkpoint is None or isinstance(checkpoint, dict)
    try:
        await store(source, google, checkpoint)
    except CheckpointExpiredError:
        await store(source, google, None)
    while await ingest.store_deletions(source.turn) or await source.ingest_due():
        pass


async def store(source: Source, google: GoogleContacts, checkpoint: dict[str, object] | None) -> None:
    async with aclosing(connect(google).pages(checkpoint)) as pages:
        async for page in pages:
            incoming = Incoming(
                records=page.records, fields=page.fields, deleted_ids=page.deleted_ids, checkpoint=page.checkpoint,
                sweep=page.sweep, complete=page.complete, remaining=page.remaining,
            )  # fmt: skip
            await store_page(source.turn, incoming)


async def statuses() -> dict[str, str]:
    return {contact.email: contact.status.value async for contact in Contact.all()}


@pytest.fixture
async def source(database: None) -> Source:
    """An import that unsubscribes whom Google reports as deleted."""
    source = await make_source(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    source.service = "google_contacts"
    return source


@pytest.mark.parametrize("page_size", [1, 500])
@pytest.mark.parametrize("names_leave_tombstones", [False, True])
async def test_a_person_with_another_name_and_address_stays_one_contact_that_nobody_unsubscribes(
    source: Source, names_leave_tombstones: bool, page_size: int
) -> None:
    google = make(1)
    google.names_leave_tombstones, google.page_size = names_leave_tombstones, page_size
    [only] = google.contacts
    await cycle(source, google)
    before = await Contact.get()

    google.rename(only, "people/104892345678901234568")
    google.change(only, emailAddresses=[item(value="verified@example.com")])
    await cycle(source, google)
    google.expire_checkpoints()
    await cycle(source, google)
    google.expire_checkpoints()
    await cycle(source, google)

    assert await statuses() == {"verified@example.com": "ACTIVE"}
    assert (await Contact.get()).id == before.id
    assert await source.ledger() == {only: ("LINKED", None)}


async def test_somebody_deleted_at_google_is_unsubscribed_at_once(source: Source) -> None:
    google = make(2)
    await cycle(source, google)
    first, second = google.contacts
    google.remove(first)
    await cycle(source, google)

    assert await statuses() == {"person-0@example.com": "UNSUBSCRIBED", "person-1@example.com": "ACTIVE"}
    assert await source.ledger() == {first: ("DELETED", None), second: ("LINKED", None)}


async def test_somebody_deleted_while_the_sync_token_was_forgotten_is_found_by_the_second_full_reading(
    source: Source,
) -> None:
    google = make(2)
    await cycle(source, google)
    first, _ = google.contacts
    google.remove(first)
    google.expire_checkpoints()
    await cycle(source, google)
    assert (await statuses())["person-0@example.com"] == "ACTIVE"
    google.expire_checkpoints()
    await cycle(source, google)

    assert await statuses() == {"person-0@example.com": "UNSUBSCRIBED", "person-1@example.com": "ACTIVE"}


async def test_whoever_loses_the_label_stays_as_they_are_however_often_everything_is_read(source: Source) -> None:
    google = make(2)
    google.criteria = {"groups": ["contactGroups/customers"]}
    first, second = google.contacts
    for each in (first, second):
        google.label(each, "contactGroups/customers")
    await cycle(source, google)
    google.label(first)
    for _ in range(3):
        google.expire_checkpoints()
        await cycle(source, google)

    assert await statuses() == {"person-0@example.com": "ACTIVE", "person-1@example.com": "ACTIVE"}
    assert await source.ledger() == {first: ("LINKED", None), second: ("LINKED", None)}


@pytest.mark.parametrize("kept", [0, 1])
async def test_of_two_contacts_with_one_address_the_one_that_a_merge_keeps_carries_on(
    source: Source, kept: int
) -> None:
    google = make(0)
    twins = [google.add("ann@example.com"), google.add("ann@example.com")]
    await cycle(source, google)
    before = await Contact.get()

    google.merge(twins[kept], twins[1 - kept])
    await cycle(source, google)

    assert await statuses() == {"ann@example.com": "ACTIVE"}
    assert (await Contact.get()).id == before.id
    assert await source.ledger() == {twins[kept]: ("LINKED", None), twins[1 - kept]: ("DELETED", None)}
