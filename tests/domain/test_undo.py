"""Undoing runs, by value: what comes back, what is kept or refused, and why (R20)."""

from typing import Any
from uuid import UUID

import pytest

from domain import contacts as book
from domain import database, subscriptions
from domain.contacts import FieldGiven, Given
from domain.enums import ContactStatus, ImportState, RunState
from domain.models import (
    AutomaticImport,
    Contact,
    ContactTag,
    ExternalAccount,
    ImportRun,
    ImportUndo,
    Subscription,
    Tombstone,
)
from domain.records import SourceConsent
from tests.domain.source import Source, add_import, record
from tests.domain.undoing import (
    assert_active_contacts_are_counted,
    contacts,
    finish,
    results,
    run,
    undo,
    viewer,
    work,
)
from tests.factories import make_list, make_tag
from tests.fakes import RecordingQueue


async def edit(source: Source, email: str, **given: object) -> None:
    """A user changes a contact."""
    contact = await Contact.get(account_id=source.account_id, email_key=email)
    await book.update(viewer(source), contact.id, Given(**given), queue=RecordingQueue())  # type: ignore[arg-type]


async def set_status(source: Source, email: str, status: ContactStatus) -> None:
    """A user changes a contact's consent."""
    contact = await Contact.get(account_id=source.account_id, email_key=email)
    await subscriptions.set_status(viewer(source), contact.id, status, queue=RecordingQueue())


async def only_contact(source: Source) -> Contact:
    return await Contact.get(account_id=source.account_id)


async def set_subscription(source: Source, status: ContactStatus, list_id: UUID) -> None:
    """A user changes the only contact's consent to a list."""
    contact = await only_contact(source)
    await subscriptions.set_status(viewer(source), contact.id, status, list_id=list_id, queue=RecordingQueue())


async def subscriptions_of_only_contact(source: Source) -> dict[UUID, str]:
    contact = await only_contact(source)
    return {row.list_id: row.status async for row in Subscription.filter(contact_id=contact.id)}


async def details(source: Source) -> list[tuple[str, str | None]]:
    """Kind and code of every value that was undone or not, oldest first."""
    rows = await database.fetch(
        "SELECT d->>'kind' AS kind, d->>'code' AS code FROM undone_record u, jsonb_array_elements(u.details) d"
        " WHERE u.account_id = $1 ORDER BY u.id",
        source.account_id,
    )
    return [(row["kind"], row["code"]) for row in rows]


async def test_contacts_that_the_run_created_are_gone_without_a_trace_but_the_ledgers(source: Source) -> None:
    run_id = await run(source, record("ann"), record("bob", consent=SourceConsent.PENDING), record("nobody", None))
    used = (await ExternalAccount.get(id=source.external_account_id)).window_used

    undo_id = await undo(source, run_id)

    done = await ImportUndo.get(id=undo_id)
    undone = await ImportRun.get(id=run_id)
    assert await contacts(source) == {}
    assert await Tombstone.all().count() == 0
    assert await source.ledger() == dict.fromkeys(("ann", "bob", "nobody"), ("UNDONE", "UNDONE"))
    assert await results(undo_id) == [("nobody", "NOTHING", None), ("bob", "REMOVED", None), ("ann", "REMOVED", None)]
    assert (done.state, done.total, done.counts) == ("COMPLETED", 3, {"REMOVED": 2, "NOTHING": 1})
    assert (undone.state, undone.created_count, undone.silenced_webhooks) == (RunState.UNDONE, 2, 2)
    assert (await AutomaticImport.get(id=source.automatic_import_id)).state == ImportState.PAUSED
    assert (await ExternalAccount.get(id=source.external_account_id)).window_used == used
    assert (await database.fetch("SELECT count(*) FROM ledger WHERE contact_id IS NOT NULL"))[0]["count"] == 0
    await assert_active_contacts_are_counted(source)


async def test_a_contact_that_a_user_touched_is_kept(source: Source) -> None:
    run_id = await run(source, record("ann"), record("bob"))
    await edit(source, "ann@example.com", last_name="Lee")

    undo_id = await undo(source, run_id)

    assert await contacts(source) == {"ann@example.com": "ACTIVE"}
    assert await results(undo_id) == [("bob", "REMOVED", None), ("ann", "KEPT", "TOUCHED")]
    assert await source.ledger() == {"ann": ("UNDONE", "UNDONE"), "bob": ("UNDONE", "UNDONE")}


async def test_a_contact_that_another_import_holds_is_kept(source: Source) -> None:
    other = await add_import(source)
    run_id = await run(source, record("ann"), record("bob"))
    await run(other, record("ann"))

    undo_id = await undo(source, run_id)

    assert await contacts(source) == {"ann@example.com": "ACTIVE"}
    assert await results(undo_id) == [("bob", "REMOVED", None), ("ann", "KEPT", "HELD_ELSEWHERE")]
    assert await other.ledger() == {"ann": ("LINKED", None)}


async def test_a_contact_whose_other_import_was_undone_is_nobodys_any_more(source: Source) -> None:
    other = await add_import(source)
    first = await run(source, record("ann"))
    second = await run(other, record("ann", phone="1"))

    await undo(other, second)
    await undo(source, first)

    assert await contacts(source) == {}


async def test_what_a_later_run_wrote_that_stays_is_kept_with_its_ledger_row(source: Source) -> None:
    first = await run(source, record("ann", first_name="Ann"), record("bob"))
    await run(source, record("ann", first_name="Anna"))

    undo_id = await undo(source, first)

    assert (await only_contact(source)).first_name == "Anna"
    assert await results(undo_id) == [("bob", "REMOVED", None), ("ann", "KEPT", "LATER_RUN")]
    assert await source.ledger() == {"ann": ("LINKED", None), "bob": ("UNDONE", "UNDONE")}


async def test_values_come_back_unless_they_changed_since(source: Source) -> None:
    await run(source, record("ann", first_name="Ann", phone="1", values={"total": 1, "note": "x"}))
    second = await run(
        source, record("ann", first_name="Anna", phone="2", values={"total": 2, "note": "y", "vip": True})
    )
    await edit(source, "ann@example.com", phone="3", field_values=[FieldGiven(tag="SHOPIFY_NOTE", value="z")])

    undo_id = await undo(source, second)

    contact = await only_contact(source)
    values = {row["personalization_tag"]: contact.field_values.get(str(row["id"])) for row in await fields(source)}
    assert (contact.first_name, contact.phone) == ("Ann", "3")
    assert values == {"SHOPIFY_TOTAL_SPENT": 1, "SHOPIFY_NOTE": "z", "SHOPIFY_VIP": None}
    assert await results(undo_id) == [("ann", "PARTLY_RESTORED", "CHANGED_SINCE")]
    assert sorted(await details(source), key=str) == [
        ("FIELD", "CHANGED_SINCE"),
        ("FIELD", None),
        ("FIELD", None),
        ("FIRST_NAME", None),
        ("PHONE", "CHANGED_SINCE"),
    ]


async def fields(source: Source) -> list[dict[str, object]]:
    rows = await database.fetch("SELECT id, personalization_tag FROM field WHERE account_id = $1", source.account_id)
    return [dict(row) for row in rows]


async def test_a_chain_of_runs_goes_back_link_by_link(source: Source) -> None:
    runs = [await run(source, record("ann", first_name=name)) for name in ("A", "B", "C", "D")]

    undo_id = await undo(source, runs[1], and_later=True)

    assert (await only_contact(source)).first_name == "A"
    assert await results(undo_id) == [("ann", "RESTORED", None)] * 3
    states = [run.state async for run in ImportRun.all().order_by("id")]
    assert states == [RunState.COMPLETED, RunState.UNDONE, RunState.UNDONE, RunState.UNDONE]


async def test_the_runs_of_an_import_can_be_undone_one_after_another(source: Source) -> None:
    runs = [await run(source, record("ann", first_name=name)) for name in ("A", "B", "C")]

    for run_id in reversed(runs):
        await undo(source, run_id)

    assert await contacts(source) == {}


async def test_a_run_that_stays_between_two_undone_ones_keeps_the_contact(source: Source) -> None:
    first = await run(source, record("ann", first_name="A"))
    await run(source, record("ann", first_name="B"))
    third = await run(source, record("ann", first_name="C"))
    await undo(source, third)

    undo_id = await undo(source, first)

    assert (await only_contact(source)).first_name == "B"
    assert await results(undo_id) == [("ann", "KEPT", "LATER_RUN")]


async def test_an_address_comes_back(source: Source) -> None:
    await run(source, record("ann", "Ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))

    undo_id = await undo(source, second)

    contact = await only_contact(source)
    assert (contact.email, contact.email_key) == ("Ann@old.com", "ann@old.com")
    assert await results(undo_id) == [("ann", "RESTORED", None)]


async def test_an_address_that_another_contact_has_now_does_not_come_back(source: Source) -> None:
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com", phone="1"))
    await book.create(viewer(source), Given(email="ANN@old.com"), queue=RecordingQueue())

    undo_id = await undo(source, second)

    assert await contacts(source) == {"ann@new.com": "ACTIVE", "ANN@old.com": "ACTIVE"}
    assert (await Contact.get(email_key="ann@new.com")).phone is None
    assert await results(undo_id) == [("ann", "PARTLY_RESTORED", "EMAIL_TAKEN")]


async def test_an_address_whose_contact_was_deleted_here_does_not_come_back(source: Source) -> None:
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))
    await book.create(viewer(source), Given(email="ann@old.com"), queue=RecordingQueue())
    await book.delete(viewer(source), (await Contact.get(email_key="ann@old.com")).id, queue=RecordingQueue())

    undo_id = await undo(source, second)

    assert await contacts(source) == {"ann@new.com": "ACTIVE"}
    assert await results(undo_id) == [("ann", "REFUSED", "DELETED_HERE")]


async def test_what_the_old_address_declined_counts_when_it_comes_back(source: Source) -> None:
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))
    await book.create(viewer(source), Given(email="ann@old.com"), queue=RecordingQueue())
    await set_status(source, "ann@old.com", ContactStatus.UNSUBSCRIBED)
    await book.delete(viewer(source), (await Contact.get(email_key="ann@old.com")).id, queue=RecordingQueue())
    await database.fetch("DELETE FROM tombstone")

    await undo(source, second)

    assert await contacts(source) == {"ann@old.com": "UNSUBSCRIBED"}
    await assert_active_contacts_are_counted(source)


@pytest.mark.parametrize("low", [ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED])
async def test_what_the_old_address_declined_list_by_list_counts_when_it_comes_back(
    source: Source, low: ContactStatus
) -> None:
    news, offers = await make_list(source.account_id), await make_list(source.account_id)
    for each in (news, offers):
        await source.target(list_id=each.id)
    await run(source, record("ann", "ann@old.com"))
    await set_subscription(source, low, news.id)
    second = await run(source, record("ann", "ann@new.com"))
    await set_subscription(source, ContactStatus.ACTIVE, news.id)

    undo_id = await undo(source, second)

    assert await contacts(source) == {"ann@old.com": "ACTIVE"}
    assert await subscriptions_of_only_contact(source) == {news.id: low, offers.id: "ACTIVE"}
    assert await results(undo_id) == [("ann", "RESTORED", None)]


async def test_what_was_declined_list_by_list_stays_at_the_address_that_undoing_takes_back(source: Source) -> None:
    news = await make_list(source.account_id)
    await source.target(list_id=news.id)
    await run(source, record("ann", "ann@old.com"))
    await set_subscription(source, ContactStatus.UNSUBSCRIBED, news.id)
    second = await run(source, record("ann", "ann@new.com"))

    await undo(source, second)
    await book.create(viewer(source), Given(email="ann@new.com", list_ids=[news.id]), queue=RecordingQueue())

    assert await list_statuses(source) == {"ann@old.com": "UNSUBSCRIBED", "ann@new.com": "UNSUBSCRIBED"}


async def test_two_contacts_that_swapped_addresses_swap_them_back(source: Source) -> None:
    await run(source, record("1", "a@example.com", first_name="One"), record("2", "b@example.com", first_name="Two"))
    middle = await run(source, record("1", "c@example.com"))
    await run(source, record("2", "a@example.com"), record("1", "b@example.com"))

    await undo(source, middle, and_later=True)

    assert {c.email: c.first_name async for c in Contact.all()} == {"a@example.com": "One", "b@example.com": "Two"}


async def test_an_opt_out_is_not_undone(source: Source) -> None:
    await run(source, record("ann", consent=SourceConsent.GRANTED))
    second = await run(source, record("ann", consent=SourceConsent.DENIED))

    undo_id = await undo(source, second)

    assert await contacts(source) == {"ann@example.com": "UNSUBSCRIBED"}
    assert await results(undo_id) == [("ann", "REFUSED", "CONSENT")]


async def test_a_confirmation_is_undone_and_makes_room(source: Source) -> None:
    await run(source, record("ann", consent=SourceConsent.PENDING))
    second = await run(source, record("ann", consent=SourceConsent.GRANTED))

    undo_id = await undo(source, second)
    source.revision = (await AutomaticImport.get(id=source.automatic_import_id)).revision
    await run(source, record("ann", consent=SourceConsent.GRANTED, phone="1"))

    assert await results(undo_id) == [("ann", "RESTORED", None)]
    # The same grant is no news: only the phone is.
    assert await contacts(source) == {"ann@example.com": "UNCONFIRMED"}
    assert (await only_contact(source)).phone == "1"
    await assert_active_contacts_are_counted(source)


async def test_the_lists_that_a_confirmation_confirmed_wait_for_one_again(source: Source) -> None:
    lists = [await make_list(source.account_id) for _ in range(3)]
    confirmed, declined, of_user = [each.id for each in lists]
    for list_id in (confirmed, declined, of_user):
        await source.target(list_id=list_id)
    await run(source, record("ann", consent=SourceConsent.PENDING))
    await set_subscription(source, ContactStatus.ACTIVE, of_user)
    await set_subscription(source, ContactStatus.UNSUBSCRIBED, declined)
    second = await run(source, record("ann", consent=SourceConsent.GRANTED))
    granted = await subscriptions_of_only_contact(source)

    undo_id = await undo(source, second)

    assert granted == {confirmed: "ACTIVE", declined: "UNSUBSCRIBED", of_user: "ACTIVE"}
    assert await contacts(source) == {"ann@example.com": "UNCONFIRMED"}
    assert await subscriptions_of_only_contact(source) == granted | {confirmed: "UNCONFIRMED"}
    assert await results(undo_id) == [("ann", "RESTORED", None)]


async def test_a_confirmed_list_stays_confirmed_where_a_user_touched_the_contact_since(source: Source) -> None:
    news = await make_list(source.account_id)
    await source.target(list_id=news.id)
    await run(source, record("ann", consent=SourceConsent.PENDING))
    second = await run(source, record("ann", consent=SourceConsent.GRANTED))
    for status in (ContactStatus.UNSUBSCRIBED, ContactStatus.ACTIVE):
        await set_subscription(source, status, news.id)

    await undo(source, second)

    assert await contacts(source) == {"ann@example.com": "UNCONFIRMED"}
    assert await subscriptions_of_only_contact(source) == {news.id: "ACTIVE"}


async def test_what_was_declined_outlives_the_contact(source: Source) -> None:
    news = await make_list(source.account_id)
    await source.target(list_id=news.id)
    run_id = await run(source, record("ann", consent=SourceConsent.DENIED), record("bob"))
    await database.fetch(
        "UPDATE subscription s SET status = 'BOUNCED' FROM contact c"
        " WHERE c.id = s.contact_id AND c.email_key = 'bob@example.com'"
    )

    await undo(source, run_id)
    await run(source, record("ann", phone="1", consent=SourceConsent.GRANTED), record("bob", phone="1"))

    assert await contacts(source) == {"ann@example.com": "UNSUBSCRIBED", "bob@example.com": "ACTIVE"}
    assert await list_statuses(source) == {"ann@example.com": "UNSUBSCRIBED", "bob@example.com": "BOUNCED"}


async def list_statuses(source: Source) -> dict[str, str]:
    rows = await database.fetch(
        "SELECT c.email, s.status FROM subscription s JOIN contact c ON c.id = s.contact_id WHERE s.account_id = $1",
        source.account_id,
    )
    return {row["email"]: row["status"] for row in rows}


async def test_lists_and_tags_that_a_known_contact_got_are_taken_away_unless_declined_or_touched(
    source: Source,
) -> None:
    other = await add_import(source)
    news, vip = await make_list(source.account_id), await make_tag(source.account_id)
    await source.target(list_id=news.id, tag_id=vip.id)
    await run(other, record("ann"), record("bob"), record("cid"))
    run_id = await run(source, record("ann"), record("bob"), record("cid"))
    await database.fetch(
        "UPDATE subscription s SET status = 'UNSUBSCRIBED' FROM contact c"
        " WHERE c.id = s.contact_id AND c.email_key = 'bob@example.com'"
    )
    await edit(source, "cid@example.com", first_name="Cid")

    undo_id = await undo(source, run_id)

    assert await results(undo_id) == [
        ("cid", "KEPT", "TOUCHED"),
        ("bob", "PARTLY_RESTORED", "CONSENT"),
        ("ann", "RESTORED", None),
    ]
    assert await list_statuses(source) == {"bob@example.com": "UNSUBSCRIBED", "cid@example.com": "ACTIVE"}
    assert await ContactTag.all().count() == 1


@pytest.mark.parametrize("of_other", ["holds", "held"])
async def test_lists_and_tags_that_another_import_gives_too_are_kept_while_it_holds_the_contact(
    source: Source, of_other: str
) -> None:
    both, alone, vip = (
        await make_list(source.account_id),
        await make_list(source.account_id),
        await make_tag(source.account_id),
    )
    await book.create(viewer(source), Given(email="ann@example.com"), queue=RecordingQueue())
    await source.target(list_id=both.id, tag_id=vip.id)
    await source.target(list_id=alone.id)
    other = await add_import(source)
    await other.target(list_id=both.id, tag_id=vip.id)
    first = await run(source, record("ann"))
    second = await run(other, record("ann"))
    if of_other == "held":
        await undo(other, second)

    undo_id = await undo(source, first)

    left = {both.id: "ACTIVE"} if of_other == "holds" else {}
    assert await subscriptions_of_only_contact(source) == left
    assert await ContactTag.all().count() == len(left)
    kept = [("ann", "PARTLY_RESTORED", "HELD_ELSEWHERE")] if left else [("ann", "RESTORED", None)]
    assert await results(undo_id) == kept


async def test_undone_records_are_skipped_until_they_change(source: Source) -> None:
    await run(source, record("ann", first_name="Ann", phone="1"))
    second = await run(source, record("ann", first_name="Anna", phone="1"), record("bob", first_name="Bob"))
    await undo(source, second)

    same = await source.send(record("ann", first_name="Anna", phone="1"), record("bob", first_name="Bob"))
    untouched = await contacts(source)
    await run(source, record("ann", first_name="Anna", phone="2"), record("bob", first_name="Rob"))

    named = {contact.email: (contact.first_name, contact.phone) async for contact in Contact.all()}
    assert dict(same.counts) == {"SKIPPED": 2}
    assert untouched == {"ann@example.com": "ACTIVE"}
    assert named == {"ann@example.com": ("Ann", "2"), "bob@example.com": ("Rob", None)}
    assert await source.ledger() == {"ann": ("LINKED", None), "bob": ("LINKED", None)}


async def test_an_undone_address_stays_undone_until_it_changes_at_the_source(source: Source) -> None:
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))
    await undo(source, second)

    await run(source, record("ann", "ann@new.com", phone="1"))
    kept = await contacts(source)
    await run(source, record("ann", "ann@newer.com", phone="1"))

    assert kept == {"ann@old.com": "ACTIVE"}
    assert await contacts(source) == {"ann@newer.com": "ACTIVE"}


async def test_those_who_wait_leave_the_waiting_room(source: Source) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = 1")
    run_id = await run(source, record("ann"), record("bob"))
    before = await source.ledger()

    undo_id = await undo(source, run_id)

    assert before["bob"] == ("WAITING", "CONTACT_LIMIT")
    assert await source.ledger() == {"ann": ("UNDONE", "UNDONE"), "bob": ("UNDONE", "UNDONE")}
    assert await results(undo_id) == [("bob", "NOTHING", None), ("ann", "REMOVED", None)]
    assert await contacts(source) == {}


async def test_the_room_that_undoing_makes_is_anothers(source: Source) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = 1")
    other = await add_import(source)
    run_id = await run(source, record("ann"))
    await run(other, record("bob"))

    await undo(source, run_id)
    tasks = await database.fetch("SELECT kind FROM background_task WHERE state = 'QUEUED'")

    assert [task["kind"] for task in tasks] == ["DRAIN_WAITING_ROOM"]


async def test_nobody_inherits_the_address_of_an_undone_record(source: Source) -> None:
    first = await run(source, record("1", "a@example.com"))
    await run(source, record("2", "a@example.com"))

    await undo(source, first)

    assert await source.ingest_due() is None
    assert await source.ledger() == {"1": ("UNDONE", "UNDONE"), "2": ("SKIPPED", "DUPLICATE_EMAIL")}
    assert await contacts(source) == {}


async def test_a_successor_that_is_undone_with_its_predecessor_goes_too(source: Source) -> None:
    first = await run(source, record("1", "a@example.com"), record("2", "a@example.com"))
    await source.send(record("1", "b@example.com"))
    await source.ingest_due()

    await undo(source, first, and_later=True)

    assert await contacts(source) == {}
    assert await source.ledger() == {"1": ("UNDONE", "UNDONE"), "2": ("UNDONE", "UNDONE")}


async def test_a_contact_that_was_deleted_here_is_nothing_to_undo(source: Source) -> None:
    run_id = await run(source, record("ann"))
    await book.delete(viewer(source), (await only_contact(source)).id, queue=RecordingQueue())

    undo_id = await undo(source, run_id)

    assert await results(undo_id) == [("ann", "NOTHING", "GONE")]
    assert await Tombstone.all().count() == 1


async def test_values_that_are_not_kept_any_more_cannot_come_back(source: Source) -> None:
    await run(source, record("ann", first_name="A"))
    second = await run(source, record("ann", first_name="B"))
    await database.fetch("UPDATE outcome SET before = NULL, after = NULL")

    undo_id = await undo(source, second)

    assert await results(undo_id) == [("ann", "KEPT", "UNDO_EXPIRED")]
    assert (await only_contact(source)).first_name == "B"


@pytest.mark.parametrize("and_later", [False, True])
async def test_only_the_runs_asked_for_are_undone(source: Source, and_later: bool) -> None:
    runs = [await run(source, record(name)) for name in ("ann", "bob", "cid")]

    await undo(source, runs[1], and_later=and_later)

    left = {"ann@example.com"} if and_later else {"ann@example.com", "cid@example.com"}
    assert set(await contacts(source)) == left
    await assert_active_contacts_are_counted(source)


async def test_what_another_import_wrote_since_is_not_overwritten(source: Source) -> None:
    other = await add_import(source)
    await run(source, record("ann", first_name="A", phone="1"))
    await run(other, record("ann", first_name="A", phone="1"))
    run_id = await run(source, record("ann", first_name="B", phone="2"))
    await run(other, record("ann", first_name="C", phone="1"))

    undo_id = await undo(source, run_id)

    contact = await only_contact(source)
    assert (contact.first_name, contact.phone) == ("C", "1")
    assert await results(undo_id) == [("ann", "PARTLY_RESTORED", "CHANGED_SINCE")]


async def test_a_confirmation_that_waited_for_room_does_not_come_with_a_later_change(source: Source) -> None:
    await run(source, record("ann", consent=SourceConsent.PENDING))
    await database.fetch("UPDATE plan_tier SET contact_limit = 0")
    second = await run(source, record("ann", consent=SourceConsent.GRANTED))
    waiting = await source.ledger()
    await undo(source, second)
    await database.fetch("UPDATE plan_tier SET contact_limit = 10")

    await run(source, record("ann", consent=SourceConsent.GRANTED, phone="1"))

    assert waiting == {"ann": ("LINKED", "CONTACT_LIMIT")}
    assert (await only_contact(source)).phone == "1"
    assert await contacts(source) == {"ann@example.com": "UNCONFIRMED"}


async def test_whoever_waits_under_an_address_that_comes_back_becomes_its_contact(source: Source) -> None:
    other = await add_import(source)
    await run(source, record("ann", "ann@old.com"))
    second = await run(source, record("ann", "ann@new.com"))
    await database.fetch("UPDATE plan_tier SET contact_limit = 1")
    await run(other, record("x", "ann@old.com", phone="1"))
    waiting = await other.ledger()
    await undo(source, second)

    await work(source)

    contact = await only_contact(source)
    assert waiting == {"x": ("WAITING", "CONTACT_LIMIT")}
    assert (contact.email, contact.phone) == ("ann@old.com", "1")
    assert await other.ledger() == {"x": ("LINKED", None)}


async def test_what_the_service_deleted_stays_deleted_when_its_run_is_undone(source: Source) -> None:
    run_id = await run(source, record("1"), record("2"))
    await source.send(deleted=["1"])

    await undo(source, run_id)

    assert await Contact.all().count() == 0
    assert await source.ledger() == {"1": ("DELETED", None), "2": ("UNDONE", "UNDONE")}


async def test_a_record_that_the_service_deleted_holds_no_contact_once_its_runs_are_undone(source: Source) -> None:
    names = ("ann", "bob", "cid", "dan")
    first = await run(source, *(record(name, first_name="A") for name in names))
    second = await run(source, *(record(name, first_name="B") for name in names))
    await run(source, deleted=["ann", "bob"])
    await undo(source, second)

    undo_id = await undo(source, first, and_later=True)

    assert await contacts(source) == {}
    assert await results(undo_id) == [(name, "REMOVED", None) for name in reversed(names)]
    ledger = await source.ledger()
    assert ledger == dict.fromkeys(names[:2], ("DELETED", None)) | dict.fromkeys(names[2:], ("UNDONE", "UNDONE"))


@pytest.mark.parametrize(("stays", "result"), [(False, ("REMOVED", None)), (True, ("KEPT", "LATER_RUN"))])
async def test_an_heir_that_the_service_deleted_holds_the_contact_only_for_a_run_that_stays(
    source: Source, stays: bool, result: tuple[str, str | None]
) -> None:
    first = await run(source, record("1", "ann@example.com"), record("2", "ann@example.com"))
    await source.send(deleted=["1"])
    await source.ingest_due()
    await finish(source)
    inherited = (await ImportRun.all().order_by("-id"))[0].id
    updated = await run(source, record("2", "ann@example.com", first_name="Ann"))
    await run(source, deleted=["2"])
    ledger = await source.ledger()
    await undo(source, updated)
    if not stays:
        await undo(source, inherited)

    undo_id = await undo(source, first)

    assert ledger == {"1": ("DELETED", None), "2": ("DELETED", None)}
    assert await results(undo_id) == [("2", "NOTHING", None), ("1", *result)]


@pytest.mark.parametrize("page", [{"records": [record("1", "moved@example.com")]}, {"deleted": ["1"]}])
async def test_whoever_waits_for_the_address_of_an_undone_record_gets_it_when_that_record_gives_it_up(
    source: Source, page: dict[str, Any]
) -> None:
    first = await run(source, record("1", "ann@example.com"))
    await run(source, record("2", "ann@example.com"))
    await undo(source, first)
    waiting = await source.ledger()

    await source.send(*page.get("records", ()), deleted=page.get("deleted", ()))
    await source.ingest_due()

    assert waiting == {"1": ("UNDONE", "UNDONE"), "2": ("SKIPPED", "DUPLICATE_EMAIL")}
    assert (await source.ledger())["2"] == ("LINKED", None)
    assert (await contacts(source))["ann@example.com"] == "ACTIVE"


async def test_an_address_to_which_somebody_deleted_here_came_in_the_run_does_not_come_back(source: Source) -> None:
    await run(source, record("ann"), record("zoe"))
    zoe = await Contact.get(email_key="zoe@example.com")
    await book.delete(viewer(source), zoe.id, queue=RecordingQueue())
    run_id = await run(source, record("ann", "moved@example.com"), record("zoe", "ann@example.com"))

    undo_id = await undo(source, run_id)

    assert await results(undo_id) == [("zoe", "NOTHING", None), ("ann", "REFUSED", "DELETED_HERE")]
    assert await contacts(source) == {"moved@example.com": "ACTIVE"}
