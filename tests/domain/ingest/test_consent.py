"""R9: an import never raises UNSUBSCRIBED or BOUNCED, whatever comes."""

import itertools
from collections import Counter
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain import consent, contacts, database, subscriptions, suppressions
from domain.account import email_hash
from domain.contacts import Given
from domain.credentials import key_ring
from domain.enums import ContactStatus, Outcome
from domain.models import Account, Contact, ContactList, Subscription, Suppression, Tombstone
from domain.records import SourceConsent
from tests.domain import undoing
from tests.domain.source import Source, add_import, record
from tests.fakes import RecordingQueue

LOW = (ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED)
KNOWN = list(itertools.product(LOW, SourceConsent, [None, *SourceConsent], [None, *LOW]))


async def status(email_key: str = "ann@example.com") -> ContactStatus:
    return (await Contact.get(email_key=email_key)).status


async def set_status(source: Source, new: ContactStatus) -> None:
    async with database.transaction() as connection:
        await connection.execute("UPDATE contact SET status = $2 WHERE account_id = $1", source.account_id, new)
        await connection.execute(
            "UPDATE account SET active_contacts ="
            " (SELECT count(*) FROM contact WHERE account_id = $1 AND status = 'ACTIVE') WHERE id = $1",
            source.account_id,
        )


async def suppress(account_id: UUID, email_key: str, list_id: UUID | None = None) -> None:
    account = await Account.get(id=account_id)
    hash_key = key_ring().unseal(account.email_hash_key, row=account.id)
    await Suppression.create(
        id=uuid7(),
        account_id=account_id,
        email_hash=email_hash(hash_key, email_key),
        list_id=list_id,
        status=ContactStatus.UNSUBSCRIBED,
    )


@pytest.mark.parametrize(("current", "word", "before", "suppressed"), KNOWN)
def test_a_low_status_stays_whatever_a_source_says(
    current: ContactStatus, word: SourceConsent, before: SourceConsent | None, suppressed: ContactStatus | None
) -> None:
    assert consent.status_of_known(current, word, before=before, suppressed=suppressed).status == current


@given(
    word=st.sampled_from(list(SourceConsent)),
    suppressed=st.sampled_from(LOW),
    before=st.none() | st.sampled_from(list(SourceConsent)),
    current=st.sampled_from(list(ContactStatus)),
)
def test_a_suppressed_address_is_never_more_than_its_suppression(
    word: SourceConsent, suppressed: ContactStatus, before: SourceConsent | None, current: ContactStatus
) -> None:
    assert consent.status_of_new(word, suppressed=suppressed).status == suppressed
    assert consent.status_of_known(current, word, before=before, suppressed=suppressed).status in LOW


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (SourceConsent.GRANTED, ContactStatus.ACTIVE),
        (SourceConsent.NOT_TRACKED, ContactStatus.ACTIVE),
        (SourceConsent.PENDING, ContactStatus.UNCONFIRMED),
        (SourceConsent.NONE, ContactStatus.UNCONFIRMED),
        (SourceConsent.DENIED, ContactStatus.UNSUBSCRIBED),
    ],
)
async def test_a_sources_word_decides_over_a_new_contact(
    source: Source, word: SourceConsent, expected: ContactStatus
) -> None:
    await source.send(record("ann", consent=word))

    assert await status() == expected
    active = int(expected is ContactStatus.ACTIVE)
    assert (await Account.get(id=source.account_id)).active_contacts == active


async def test_unconfirmed_becomes_active_when_the_source_changes_to_granted(source: Source) -> None:
    await source.send(record("ann", consent=SourceConsent.PENDING))

    await source.send(record("ann", consent=SourceConsent.GRANTED))

    assert await status() == ContactStatus.ACTIVE
    assert (await Account.get(id=source.account_id)).active_contacts == 1


async def test_an_opt_out_acts_when_newly_changed_and_only_then(source: Source) -> None:
    await source.send(record("ann", consent=SourceConsent.DENIED))
    async with database.transaction() as connection:
        await connection.execute("SELECT set_config('sluice.acting_user', 'someone', true)")
        await connection.execute("UPDATE contact SET status = 'ACTIVE'")
        await connection.execute("UPDATE account SET active_contacts = 1")

    await source.send(record("ann", phone="1", consent=SourceConsent.DENIED))

    assert await status() == ContactStatus.ACTIVE


@pytest.mark.parametrize("low", LOW)
async def test_an_unsubscribed_contact_is_updated_and_counted_as_protected(source: Source, low: ContactStatus) -> None:
    await source.send(record("ann", consent=SourceConsent.GRANTED))
    await set_status(source, low)

    stored = await source.send(record("ann", phone="1", consent=SourceConsent.GRANTED))

    contact = await Contact.get(email_key="ann@example.com")
    assert (contact.status, contact.phone) == (low, "1")
    assert stored.protected == 1


async def test_an_opt_out_outlives_the_contact(source: Source) -> None:
    await source.send(record("ann", consent=SourceConsent.DENIED))
    await Contact.filter(account_id=source.account_id).delete()
    other = await add_import(source)

    await other.send(record("1", "ANN@example.com", consent=SourceConsent.GRANTED))

    assert await status() == ContactStatus.UNSUBSCRIBED


async def test_an_address_carries_its_suppression_to_whoever_moves_to_it(source: Source) -> None:
    await suppress(source.account_id, "ann@new.example")
    await source.send(record("ann"))

    await source.send(record("ann", "ann@new.example"))

    assert await status("ann@new.example") == ContactStatus.UNSUBSCRIBED
    assert (await Account.get(id=source.account_id)).active_contacts == 0


async def test_a_left_list_is_not_joined_again_by_another_import(source: Source) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)
    await source.send(record("ann"))
    await Subscription.filter(account_id=source.account_id).update(status=ContactStatus.UNSUBSCRIBED)
    other = await add_import(source)
    await other.target(list_id=news.id)

    await other.send(record("1", "ann@example.com"))

    assert [row.status async for row in Subscription.all()] == [ContactStatus.UNSUBSCRIBED]
    assert await status() == ContactStatus.ACTIVE


async def test_a_suppression_of_one_list_holds_for_that_list_only(source: Source) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    offers = await ContactList.create(account_id=source.account_id, name="Offers")
    await source.target(list_id=news.id)
    await source.target(list_id=offers.id)
    await suppress(source.account_id, "ann@example.com", news.id)

    await source.send(record("ann"))

    statuses = {row.list_id: row.status async for row in Subscription.all()}
    assert statuses == {news.id: ContactStatus.UNSUBSCRIBED, offers.id: ContactStatus.ACTIVE}


async def test_lists_are_applied_at_the_first_link_and_never_again(source: Source) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.send(record("ann"))
    await source.target(list_id=news.id)

    await source.send(record("ann", phone="1"), record("bob"))

    bob = await Contact.get(email_key="bob@example.com")
    assert [row.contact_id async for row in Subscription.all()] == [bob.id]


async def test_a_contact_deleted_here_does_not_come_back(source: Source) -> None:
    account = await Account.get(id=source.account_id)
    hash_key = key_ring().unseal(account.email_hash_key, row=account.id)
    await Tombstone.create(account_id=account.id, email_hash=email_hash(hash_key, "ann@example.com"))

    await source.send(record("ann"))

    assert await source.ledger() == {"ann": ("SKIPPED", "DELETED_HERE")}
    assert await Contact.all().count() == 0


async def test_an_address_deleted_here_does_not_come_back_by_a_move(source: Source) -> None:
    account = await Account.get(id=source.account_id)
    hash_key = key_ring().unseal(account.email_hash_key, row=account.id)
    await Tombstone.create(account_id=account.id, email_hash=email_hash(hash_key, "gone@example.com"))
    await source.send(record("ann"))

    await source.send(record("ann", "gone@example.com"))

    assert await source.ledger() == {"ann": ("SKIPPED", "DELETED_HERE")}
    assert [contact.email async for contact in Contact.all()] == ["ann@example.com"]


@pytest.mark.parametrize("table", ["contact", "subscription"])
@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("raised", [ContactStatus.ACTIVE, ContactStatus.UNCONFIRMED])
async def test_the_database_refuses_a_raise_that_names_no_user(
    source: Source, table: str, low: ContactStatus, raised: ContactStatus
) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)
    await source.send(record("ann"))
    await database.fetch(f"UPDATE {table} SET status = $1", low)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="only by a user"):
        await database.fetch(f"UPDATE {table} SET status = $1", raised)

    rows = await database.fetch(f"SELECT status FROM {table}")
    assert [row["status"] for row in rows] == [low]


async def test_whom_a_user_deleted_here_does_not_come_back_under_a_new_address(source: Source) -> None:
    await source.send(record("1", "ann@example.com", consent=SourceConsent.GRANTED))
    await contacts.delete(undoing.viewer(source), (await Contact.get()).id, queue=RecordingQueue())

    await source.send(record("1", "ann@example.org", consent=SourceConsent.GRANTED))
    # Nor as another record, now that the address is known to be hers.
    await source.send(record("2", "ann@example.org", consent=SourceConsent.GRANTED))

    assert await Contact.all().count() == 0
    assert await source.ledger() == {"1": ("SKIPPED", "DELETED_HERE"), "2": ("SKIPPED", "DELETED_HERE")}


@pytest.mark.parametrize("words", [("DENIED", "GRANTED"), ("GRANTED", "DENIED")])
async def test_of_two_records_of_somebody_deleted_here_one_opt_out_is_enough(source: Source, words: list[str]) -> None:
    await source.send(record("1", "ann@example.com"))
    await contacts.delete(undoing.viewer(source), (await Contact.get()).id, queue=RecordingQueue())

    await source.send(
        *(
            record(f"{number} again", "ann@example.com", consent=SourceConsent[word])
            for number, word in enumerate(words)
        )
    )

    assert (await Suppression.get(list_id=None)).status == ContactStatus.UNSUBSCRIBED


async def test_whoever_only_moved_to_an_address_deleted_here_moves_on_with_the_contact(source: Source) -> None:
    await source.send(record("bob", "bob@example.com"), record("ann", "ann@example.com"))
    bob = await Contact.get(email_key="bob@example.com")
    await contacts.delete(undoing.viewer(source), bob.id, queue=RecordingQueue())
    await source.send(record("ann", "bob@example.com"))
    stayed = await Contact.get()

    await source.send(record("ann", "ann@example.org"))

    assert stayed.email == "ann@example.com"
    assert (await Contact.get()).email == "ann@example.org"
    assert (await source.ledger())["ann"] == ("LINKED", None)


@pytest.mark.parametrize("email", [None, "no address", "ann@example.org"])
async def test_nothing_of_an_erased_person_comes_back_into_the_ledger(source: Source, email: str | None) -> None:
    await source.send(record("1", "ann@example.com", phone="1"))
    await contacts.delete(undoing.viewer(source), (await Contact.get()).id, erase=True, queue=RecordingQueue())

    await source.send(record("1", email, phone="2", first_name="Ann"))

    [row] = await database.fetch("SELECT record::text, applied, email_key, code FROM ledger")
    assert tuple(row) == ("{}", None, None, "DELETED_HERE")


async def test_the_opt_out_of_somebody_deleted_here_is_remembered(source: Source) -> None:
    await source.send(record("1", "ann@example.com", consent=SourceConsent.GRANTED))
    await contacts.delete(undoing.viewer(source), (await Contact.get()).id, queue=RecordingQueue())
    await source.send(record("1", "ann@example.com", consent=SourceConsent.DENIED))

    await contacts.create(undoing.viewer(source), Given(email="ann@example.com"), queue=RecordingQueue())

    assert await status() == ContactStatus.UNSUBSCRIBED


async def test_the_opt_out_of_a_duplicate_is_heard(source: Source) -> None:
    stored = await source.send(
        record("1", "ann@example.com", consent=SourceConsent.GRANTED),
        record("2", "ann@example.com", consent=SourceConsent.DENIED),
    )

    assert stored.counts == Counter({Outcome.CREATED: 1, Outcome.SKIPPED: 1})
    assert await status() == ContactStatus.UNSUBSCRIBED
    assert await Suppression.filter(list_id=None, status="UNSUBSCRIBED").count() == 1
    assert (await Account.get()).active_contacts == 0


async def test_what_an_address_declined_list_by_list_stays_when_its_contact_moves_on(source: Source) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)
    await source.send(record("1", "ann@a.example"))
    await subscriptions.set_status(
        undoing.viewer(source),
        (await Contact.get()).id,
        ContactStatus.UNSUBSCRIBED,
        list_id=news.id,
        queue=RecordingQueue(),
    )
    await source.send(record("1", "ann@b.example"))
    await source.send(record("1", "ann@c.example"))

    await source.send(record("2", "ann@a.example"), record("3", "ann@b.example"))

    low = [row.status async for row in Subscription.filter(list_id=news.id)]
    assert low == [ContactStatus.UNSUBSCRIBED] * 3


async def test_who_comes_to_an_address_in_the_page_in_which_it_is_left_is_held_to_what_it_declined(
    source: Source,
) -> None:
    await source.send(record("1", "ann@a.example"), record("2", "bob@a.example"))
    await set_status(source, ContactStatus.UNSUBSCRIBED)

    await source.send(record("1", "ann@b.example"), record("3", "ann@a.example"), record("2", "bob@b.example"))
    await source.send(record("4", "bob@a.example"))

    assert {row.email: row.status async for row in Contact.all()} == dict.fromkeys(
        ("ann@a.example", "ann@b.example", "bob@a.example", "bob@b.example"), ContactStatus.UNSUBSCRIBED
    )


async def test_who_comes_to_an_address_in_the_page_in_which_it_is_left_is_on_no_list_that_it_left(
    source: Source,
) -> None:
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)
    await source.send(record("1", "ann@a.example"), record("2", "bob@a.example"))
    ann = await Contact.get(email_key="ann@a.example")
    await subscriptions.set_status(
        undoing.viewer(source), ann.id, ContactStatus.UNSUBSCRIBED, list_id=news.id, queue=RecordingQueue()
    )

    await source.send(record("1", "ann@b.example"), record("2", "ann@a.example"), record("3", "bob@a.example"))

    low = {row.contact_id: row.status async for row in Subscription.filter(list_id=news.id)}
    by_address = {row.email: low[row.id] async for row in Contact.all()}
    assert by_address == {
        "ann@b.example": ContactStatus.UNSUBSCRIBED,
        "ann@a.example": ContactStatus.UNSUBSCRIBED,
        "bob@a.example": ContactStatus.ACTIVE,
    }


async def test_an_address_that_somebody_deleted_here_has_now_is_nobody_elses_in_the_same_page(source: Source) -> None:
    await source.send(record("1", "ann@a.example"))
    await contacts.delete(undoing.viewer(source), (await Contact.get()).id, queue=RecordingQueue())

    await source.send(record("1", "ann@b.example"), record("2", "ann@b.example"))

    assert await source.ledger() == {"1": ("SKIPPED", "DELETED_HERE"), "2": ("SKIPPED", "DELETED_HERE")}
    assert await Contact.all().count() == 0


async def test_an_opt_out_stays_with_the_address_that_its_contact_leaves_in_the_same_page(source: Source) -> None:
    await source.send(record("1", "ann@example.com"), record("2", "ann@example.com"))

    await source.send(record("2", "ann@example.com", consent=SourceConsent.DENIED), record("1", "moved@example.com"))

    async with database.transaction() as connection:
        kept = await suppressions.load(connection, source.account_id, ["ann@example.com", "moved@example.com"])
    assert kept == {
        ("ann@example.com", None): ContactStatus.UNSUBSCRIBED,
        ("moved@example.com", None): ContactStatus.UNSUBSCRIBED,
    }


async def test_a_list_that_an_address_declined_stays_declined_whichever_record_of_a_page_joins_it(
    source: Source,
) -> None:
    other = await add_import(source)
    news = await ContactList.create(account_id=source.account_id, name="News")
    await suppress(source.account_id, "declined@example.com", news.id)
    await other.send(record("2", "ann@example.com"))
    await source.send(record("1", "ann@example.com"))
    await source.target(list_id=news.id)

    await source.send(record("2", "passing@example.com"), record("1", "declined@example.com"))

    assert [contact.email async for contact in Contact.all()] == ["declined@example.com"]
    assert (await Subscription.get()).status == ContactStatus.UNSUBSCRIBED
