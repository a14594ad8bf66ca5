"""R6: who a record is, and who holds an address."""

from collections import Counter

from domain import contacts
from domain.contacts import Given
from domain.enums import Outcome
from domain.models import Contact
from tests.domain.source import Source, add_import, record
from tests.domain.undoing import viewer
from tests.fakes import RecordingQueue

DELETED_HERE = ("SKIPPED", "DELETED_HERE")


async def names() -> dict[str, str | None]:
    return {contact.email_key: contact.first_name async for contact in Contact.all().order_by("email_key")}


async def delete(email_key: str, source: Source) -> None:
    contact = await Contact.get(email_key=email_key)
    await contacts.delete(viewer(source), contact.id, queue=RecordingQueue())


async def test_a_changed_address_moves_the_same_contact(source: Source) -> None:
    await source.send(record("ann", first_name="Ann"))
    before = await Contact.get(email_key="ann@example.com")

    await source.send(record("ann", "ann@new.example", first_name="Ann"))

    after = await Contact.get(email_key="ann@new.example")
    assert after.id == before.id
    assert await names() == {"ann@new.example": "Ann"}


async def test_a_record_whose_new_address_is_anothers_links_to_that_contact(source: Source) -> None:
    other = await add_import(source)
    await other.send(record("zed", "zed@example.com", first_name="Zed"))
    await source.send(record("ann", first_name="Ann"))

    await source.send(record("ann", "zed@example.com", first_name="Ann"))

    assert await names() == {"ann@example.com": "Ann", "zed@example.com": "Ann"}
    assert await source.ledger() == {"ann": ("LINKED", None)}


async def test_a_deleted_and_recreated_import_finds_its_contacts_by_id_and_keeps_edits(source: Source) -> None:
    await source.send(record("ann", first_name="Ann"))
    await Contact.filter(account_id=source.account_id).update(
        first_name="Anna", email="anna@here.example", email_key="anna@here.example"
    )
    again = await add_import(source)

    stored = await again.send(record("ann", first_name="Ann"))

    assert stored.counts == Counter({Outcome.UNCHANGED: 1})
    assert await names() == {"anna@here.example": "Anna"}


async def test_a_record_with_a_known_address_links_to_that_contact(source: Source) -> None:
    other = await add_import(source)
    await other.send(record("1", "ann@example.com", phone="1"))

    stored = await source.send(record("2", "ANN@example.com", first_name="Ann"))

    assert stored.counts == Counter({Outcome.UPDATED: 1})
    contact = await Contact.get()
    assert (contact.first_name, contact.phone) == ("Ann", "1")


async def test_an_unstable_id_matches_by_address_first(source: Source) -> None:
    source.unstable_ids = True
    await source.send(record("1", "ann@example.com", first_name="Ann"))

    stored = await source.send(record("1", "bob@example.com", first_name="Bob"))

    assert stored.counts == Counter({Outcome.CREATED: 1})
    assert await names() == {"ann@example.com": "Ann", "bob@example.com": "Bob"}


async def test_a_record_with_an_unstable_id_and_the_same_address_is_the_contact_whose_address_was_corrected_here(
    source: Source,
) -> None:
    source.unstable_ids = True
    await source.send(record("1", "ann@example.com", first_name="Ann"))
    ann = await Contact.get()
    await contacts.update(viewer(source), ann.id, Given(email="anna@example.com"), queue=RecordingQueue())

    await source.send(record("1", "ann@example.com", first_name="Anna"))

    assert await names() == {"anna@example.com": "Anna"}


async def test_an_unstable_id_of_somebody_who_was_deleted_here_may_be_somebody_else(source: Source) -> None:
    source.unstable_ids = True
    await source.send(record("1", "ann@example.com"))
    await delete("ann@example.com", source)

    await source.send(record("1", "bob@example.com", first_name="Bob"))

    assert await names() == {"bob@example.com": "Bob"}


async def test_nobody_who_was_deleted_here_comes_back_by_another_import_under_another_address(source: Source) -> None:
    await source.send(record("ann"))
    await delete("ann@example.com", source)
    again = await add_import(source)

    await again.send(record("ann", "ann@new.example"))

    assert await names() == {}
    assert await again.ledger() == {"ann": DELETED_HERE}


async def test_an_address_that_was_deleted_here_does_not_hold_up_whoever_only_passed_through_it(source: Source) -> None:
    await source.send(record("zoe"), record("ann", first_name="Ann"))
    await delete("zoe@example.com", source)
    other = await add_import(source)

    await other.send(record("ann", "zoe@example.com", first_name="Ann"))
    passing = await other.ledger()
    await other.send(record("ann", "ann@new.example", first_name="Ann"))
    await source.send(record("ann", "ann@new.example", first_name="Ann"))

    assert passing == {"ann": DELETED_HERE}
    assert await other.ledger() == {"ann": ("LINKED", None)}
    assert await source.ledger() == {"zoe": DELETED_HERE, "ann": ("LINKED", None)}
    assert await names() == {"ann@new.example": "Ann"}


async def test_the_holder_keeps_an_address_and_the_next_in_order_gets_it_from_its_ledger_row(source: Source) -> None:
    await source.send(
        record("1", "ann@example.com", first_name="One"),
        record("2", "ann@example.com", first_name="Two"),
        record("3", "ann@example.com", first_name="Three"),
    )
    held = await source.ledger()

    await source.send(record("1", "moved@example.com", first_name="One"))
    due = await source.ingest_due()

    assert held == {"1": ("LINKED", None), "2": ("SKIPPED", "DUPLICATE_EMAIL"), "3": ("SKIPPED", "DUPLICATE_EMAIL")}
    assert due is not None
    assert due.counts == Counter({Outcome.CREATED: 1})
    assert await names() == {"ann@example.com": "Two", "moved@example.com": "One"}
    assert await source.ledger() == {
        "1": ("LINKED", None),
        "2": ("LINKED", None),
        "3": ("SKIPPED", "DUPLICATE_EMAIL"),
    }
    assert await source.ingest_due() is None


async def test_a_holder_deleted_at_the_source_gives_its_address_up_and_the_contact_stays(source: Source) -> None:
    await source.send(record("1", "ann@example.com", first_name="One"), record("2", "ann@example.com", last_name="Two"))

    await source.send(deleted=["1"])
    await source.ingest_due()

    contact = await Contact.get()
    assert (contact.first_name, contact.last_name) == ("One", "Two")
    assert await source.ledger() == {"1": ("DELETED", None), "2": ("LINKED", None)}


async def test_two_records_that_swap_addresses_in_one_page_both_end_up_linked(source: Source) -> None:
    await source.send(record("1", "a@example.com", first_name="A"), record("2", "b@example.com", first_name="B"))

    await source.send(record("1", "b@example.com", first_name="A"), record("2", "a@example.com", first_name="B"))
    await source.ingest_due()

    assert await names() == {"a@example.com": "B", "b@example.com": "A"}
    assert await source.ledger() == {"1": ("LINKED", None), "2": ("LINKED", None)}


async def test_a_chain_of_moved_addresses_in_one_page_keeps_every_contact(source: Source) -> None:
    await source.send(record("1", "a@example.com"), record("2", "b@example.com"), record("3", "c@example.com"))
    before = {contact.email_key: contact.id async for contact in Contact.all()}

    await source.send(record("3", "d@example.com"), record("2", "c@example.com"), record("1", "b@example.com"))

    after = {contact.email_key: contact.id async for contact in Contact.all()}
    assert after == {
        "b@example.com": before["a@example.com"],
        "c@example.com": before["b@example.com"],
        "d@example.com": before["c@example.com"],
    }


async def test_what_was_not_written_while_an_address_was_taken_is_written_later(source: Source) -> None:
    await source.send(record("1", "a@example.com", phone="1"), record("2", "b@example.com"))
    await source.send(record("1", "b@example.com", phone="2"))
    await source.send(record("2", "c@example.com"))

    await source.ingest_due()

    moved = await Contact.get(email_key="b@example.com")
    assert moved.phone == "2"
    assert {contact.email_key async for contact in Contact.all()} == {"b@example.com", "c@example.com"}


async def test_an_heir_that_is_deleted_before_its_turn_passes_the_address_on(source: Source) -> None:
    await source.send(*(record(name, "ann@example.com", first_name=name) for name in ("1", "2", "3")))
    await source.send(record("1", None), deleted=["2"])

    await source.ingest_due()

    assert await source.ledger() == {"1": ("SKIPPED", "NO_EMAIL"), "2": ("DELETED", None), "3": ("LINKED", None)}
    assert await names() == {"ann@example.com": "3"}
