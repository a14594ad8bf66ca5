"""R4 and R11: the cap cuts a page, the contact limit holds to the contact."""

import asyncio
from collections import Counter

from domain import database
from domain.enums import ContactStatus, Outcome
from domain.models import Account, Contact, ContactList, ExternalAccount, ImportRun, LedgerEntry, PlanTier
from domain.records import SourceConsent
from tests.configuration import Configure
from tests.domain.source import Source, add_import, make_source, record


async def set_limit(contacts: int) -> None:
    await PlanTier.all().update(contact_limit=contacts)


async def active() -> tuple[int, int]:
    """The account's own number, and the number there is."""
    return (await Account.get()).active_contacts, await Contact.filter(status=ContactStatus.ACTIVE).count()


async def test_the_cap_cuts_a_page_and_the_next_window_goes_on_in_order(source: Source, configure: Configure) -> None:
    configure(cap=2)
    page = [record("1"), record("2", None), record("3"), record("4"), record("5", None)]

    first = await source.send(*page, checkpoint={"at": 5})
    checkpoint = await source.checkpoint()
    await source.next_window()
    second = await source.send(*page, checkpoint={"at": 5})

    assert (first.consumed, first.cap_left, checkpoint) == (3, 0, None)
    assert first.counts == Counter({Outcome.CREATED: 2, Outcome.SKIPPED: 1})
    assert second.counts == Counter({Outcome.UNCHANGED: 2, Outcome.SKIPPED: 2, Outcome.CREATED: 1})
    assert await source.checkpoint() == {"at": 5}


async def test_what_is_behind_the_cut_leaves_no_trace(source: Source, configure: Configure) -> None:
    configure(cap=1)

    await source.send(record("1"), record("2", values={"note": "n"}))

    run = await ImportRun.get()
    assert await source.ledger() == {"1": ("LINKED", None)}
    assert await source.outcomes() == [("1", "CREATED", None)]
    assert (run.read_count, run.created_count) == (1, 1)


async def test_unchanged_and_skipped_records_cost_nothing(source: Source, configure: Configure) -> None:
    configure(cap=1)
    await source.send(record("1"))

    stored = await source.send(record("1"), record("2", None), record("3", "none"))

    assert stored.consumed == 3
    assert stored.cost == 0


async def test_a_first_link_that_adds_a_list_costs_one(source: Source, configure: Configure) -> None:
    configure(cap=10)
    other = await add_import(source)
    await other.send(record("1", "ann@example.com"))
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)

    stored = await source.send(record("2", "ann@example.com"))

    assert stored.counts == Counter({Outcome.UPDATED: 1})
    assert stored.cap_left == 8


async def test_a_turn_takes_no_more_than_its_allowance(source: Source, configure: Configure) -> None:
    configure(cap=10)

    stored = await source.send(record("1"), record("2"), record("3"), allowance=2)

    assert (stored.consumed, stored.cap_left) == (2, 8)


async def test_the_imports_of_one_external_account_share_its_cap(source: Source, configure: Configure) -> None:
    configure(cap=3)
    other = await add_import(source)

    await source.send(record("1"), record("2"))
    stored = await other.send(record("3"), record("4"))

    assert stored.consumed == 1
    assert (await ExternalAccount.get()).window_used == 3


async def test_a_cycle_that_outlasts_its_window_gets_no_second_cap(source: Source, configure: Configure) -> None:
    configure(cap=2)
    await database.fetch("UPDATE external_account SET window_ends_at = now() - interval '1 second'")

    stored = await source.send(record("1"))
    stored += await source.send(record("1"), record("2"), record("3"))

    assert stored.counts == Counter({Outcome.CREATED: 2, Outcome.UNCHANGED: 1})


async def test_at_the_limit_new_contacts_wait_and_updates_continue(source: Source) -> None:
    await source.send(record("1"))
    await set_limit(2)

    stored = await source.send(record("2"), record("3"), record("1", phone="1"), record("4"))

    assert stored.counts == Counter({Outcome.CREATED: 1, Outcome.WAITING: 2, Outcome.UPDATED: 1})
    assert await source.ledger() == {
        "1": ("LINKED", None),
        "2": ("LINKED", None),
        "3": ("WAITING", "CONTACT_LIMIT"),
        "4": ("WAITING", "CONTACT_LIMIT"),
    }
    assert await active() == (2, 2)


async def test_a_waiting_record_that_changes_keeps_its_place(source: Source) -> None:
    await set_limit(0)
    await source.send(record("1"), record("2"))

    await source.send(record("1", phone="1"))

    waiting = [row.external_id async for row in LedgerEntry.filter(state="WAITING").order_by("position")]
    assert waiting == ["1", "2"]


async def test_a_repeated_wait_is_counted_without_a_row(source: Source) -> None:
    await set_limit(0)
    await source.send(record("1"))

    stored = await source.send(record("1"))

    assert stored.counts == Counter({Outcome.WAITING: 1})
    assert await source.outcomes() == [("1", "WAITING", "CONTACT_LIMIT")]


async def test_contacts_that_are_not_active_do_not_count(source: Source) -> None:
    await set_limit(0)

    stored = await source.send(
        record("1", consent=SourceConsent.DENIED), record("2", consent=SourceConsent.PENDING), record("3")
    )

    assert stored.counts == Counter({Outcome.CREATED: 2, Outcome.WAITING: 1})
    assert await active() == (0, 0)


async def test_an_opt_out_in_the_page_makes_room_for_the_next_record(source: Source) -> None:
    await set_limit(1)
    await source.send(record("1", consent=SourceConsent.GRANTED))

    stored = await source.send(record("1", consent=SourceConsent.DENIED), record("2"))

    assert stored.counts == Counter({Outcome.UPDATED: 1, Outcome.CREATED: 1})
    assert await active() == (1, 1)


async def test_a_confirmation_beyond_the_limit_is_held_back_and_the_rest_is_written(source: Source) -> None:
    await set_limit(0)
    await source.send(
        record("ann", consent=SourceConsent.PENDING), record("heir", "ann@example.com", first_name="Heir")
    )

    stored = await source.send(record("ann", phone="1", consent=SourceConsent.GRANTED))

    contact = await Contact.get()
    assert stored.counts == Counter({Outcome.UPDATED: 1})
    assert (contact.status, contact.phone) == (ContactStatus.UNCONFIRMED, "1")
    assert contact.first_name is None
    assert await source.ledger() == {"ann": ("LINKED", "CONTACT_LIMIT"), "heir": ("SKIPPED", "DUPLICATE_EMAIL")}
    assert await source.ingest_due() is None


async def test_a_confirmation_that_was_held_back_is_acted_on_when_there_is_room(source: Source) -> None:
    await set_limit(0)
    await source.send(record("ann", consent=SourceConsent.PENDING))
    await source.send(record("ann", consent=SourceConsent.GRANTED))
    await set_limit(1)

    await source.let_in()

    assert (await Contact.get()).status == ContactStatus.ACTIVE
    assert await source.ledger() == {"ann": ("LINKED", None)}
    assert await active() == (1, 1)


async def test_the_limit_holds_under_concurrency_to_the_contact(database: None) -> None:
    sources = [await make_source() for _ in range(6)]
    await set_limit(50)

    await asyncio.gather(
        *(source.send(*(record(f"{number}-{n}") for n in range(20))) for number, source in enumerate(sources))
    )

    waiting = await LedgerEntry.filter(state="WAITING").count()
    assert await active() == (50, 50)
    assert waiting == 70


async def test_two_imports_that_bring_the_same_people_at_once_make_each_once(database: None) -> None:
    sources = [await make_source() for _ in range(4)]
    people = [f"person{n}@example.com" for n in range(50)]

    await asyncio.gather(
        *(
            source.send(*(record(f"{number}-{n}", email) for n, email in enumerate(people)))
            for number, source in enumerate(sources)
        )
    )

    assert await active() == (50, 50)
    assert await LedgerEntry.filter(state="LINKED").count() == 200
