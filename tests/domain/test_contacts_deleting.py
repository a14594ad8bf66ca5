"""Deleting a contact here: what imports know of it, and what is left when it is erased (R13, R23)."""

from uuid import UUID

from uuid_utils.compat import uuid7

from domain import contacts, database
from domain.account import Viewer
from domain.contacts import Given
from domain.enums import ContactStatus
from domain.models import Contact, RecordOutcome, Suppression, Tombstone
from tests.domain.source import Source, add_import, make_source, record
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Stage

DELETED_HERE = ("SKIPPED", "DELETED_HERE")


def viewer(source: Source) -> Viewer:
    return Viewer(account_id=source.account_id, token_id=UUID(int=1), scopes=frozenset())


async def delete(source: Source, email_key: str, *, erase: bool = False) -> UUID:
    contact = await Contact.get(account_id=source.account_id, email_key=email_key)
    await contacts.delete(viewer(source), contact.id, erase=erase, queue=RecordingQueue())
    return contact.id


async def work(source: Source) -> None:
    while await Stage(account_id=source.account_id, external_account_id=source.external_account_id).work():
        pass


async def test_no_successor_takes_the_address_of_a_deleted_contact(source: Source) -> None:
    await source.send(record("1", "ann@example.com"), record("2", "ann@example.com"), record("bob"))

    await delete(source, "ann@example.com")

    assert await source.ingest_due() is None
    assert await source.ledger() == {"1": DELETED_HERE, "2": DELETED_HERE, "bob": ("LINKED", None)}
    await source.send(record("1", "ann@example.com", phone="1"), record("2", "ann@example.com", phone="1"))
    assert [contact.email async for contact in Contact.all()] == ["bob@example.com"]


async def test_it_does_not_come_back_under_the_address_that_the_service_has(source: Source) -> None:
    await source.send(record("ann"))
    ann = await Contact.get()
    await contacts.update(viewer(source), ann.id, Given(email="ann@corrected.example"), queue=RecordingQueue())

    await delete(source, "ann@corrected.example")
    await source.send(record("ann", phone="1"), record("other", "ann@corrected.example"))

    assert await Contact.all().count() == 0
    assert await source.ledger() == {"ann": DELETED_HERE, "other": DELETED_HERE}


async def test_records_that_said_why_they_have_no_contact_go_on_saying_so(source: Source) -> None:
    await source.send(record("ann"))
    await source.send(record("ann", None))

    await delete(source, "ann@example.com")

    assert await source.ledger() == {"ann": ("SKIPPED", "NO_EMAIL")}
    [row] = await database.fetch("SELECT contact_id FROM ledger")
    assert row["contact_id"] is None


async def test_an_erased_contact_leaves_nothing_but_keyed_hashes(source: Source) -> None:
    other = await add_import(source)
    await source.send(record("ann", first_name="Ann", phone="PHONE-1", values={"note": "secret"}))
    await source.send(record("ann", first_name="Annabel", phone="PHONE-2", values={"note": "secret"}))
    await source.send(record("twin", "ann@example.com", first_name="Annabel", phone="PHONE-2"))
    await other.send(record("1", "ann@example.com", last_name="Annason"), record("bob", first_name="Bob"))

    contact_id = await delete(source, "ann@example.com", erase=True)
    await work(source)

    tables = await database.fetch(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'account_id' AND table_schema = 'public'"
    )
    for name in {table["table_name"] for table in tables}:
        rows = [row["row"] for row in await database.fetch(f"SELECT row_to_json(t)::text AS row FROM {name} t")]
        assert [row for row in rows if any(value in row for value in ("ann@", "Ann", "PHONE", "secret"))] == []
    assert await Tombstone.all().count() == 1
    assert await source.ledger() == {"ann": DELETED_HERE, "twin": DELETED_HERE}
    assert await other.ledger() == {"1": DELETED_HERE, "bob": ("LINKED", None)}
    outcomes = await database.fetch("SELECT before, after FROM outcome WHERE contact_id = $1", contact_id)
    assert {(row["before"], row["after"]) for row in outcomes} == {(None, None)}


async def test_what_others_have_in_their_outcomes_is_not_erased(source: Source) -> None:
    for phone in ("1", "2"):
        await source.send(record("ann", phone=phone), record("bob", phone=phone))

    await delete(source, "ann@example.com", erase=True)
    await work(source)

    kept = [row.before async for row in RecordOutcome.filter(outcome="UPDATED", before__isnull=False)]
    assert kept == [{"phone": "1"}]


async def test_the_same_record_is_not_news_after_its_contact_was_erased(source: Source) -> None:
    await source.send(record("ann", phone="1"))
    await delete(source, "ann@example.com", erase=True)
    before = await source.outcomes()

    stored = await source.send(record("ann", phone="1"))

    assert {outcome.value: count for outcome, count in stored.counts.items()} == {"SKIPPED": 1}
    assert await source.outcomes() == before


async def test_what_was_declined_is_kept_for_the_address_and_for_each_list(source: Source) -> None:
    news, offers = uuid7(), uuid7()
    for list_id, name in ((news, "News"), (offers, "Offers")):
        await database.fetch(
            "INSERT INTO contact_list (account_id, id, name, created_at) VALUES ($1, $2, $3, now())",
            source.account_id, list_id, name,
        )  # fmt: skip
        await source.target(list_id=list_id)
    await source.send(record("ann"))
    await database.fetch("UPDATE subscription SET status = 'BOUNCED' WHERE list_id = $1", news)
    await database.fetch("UPDATE contact SET status = 'UNSUBSCRIBED'")
    await database.fetch("UPDATE account SET active_contacts = 0")

    await delete(source, "ann@example.com")

    assert {(row.list_id, row.status) async for row in Suppression.all()} == {
        (None, ContactStatus.UNSUBSCRIBED),
        (news, ContactStatus.BOUNCED),
    }


async def test_another_account_keeps_what_it_has_of_the_same_person(source: Source) -> None:
    theirs = await make_source("Others")
    await source.send(record("ann", phone="1"))
    await theirs.send(record("ann", phone="1"))

    await delete(source, "ann@example.com", erase=True)
    await work(source)

    assert [contact.account_id async for contact in Contact.all()] == [theirs.account_id]
    assert await theirs.ledger() == {"ann": ("LINKED", None)}
    assert await Tombstone.filter(account_id=theirs.account_id).count() == 0
