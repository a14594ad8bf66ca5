"""R11: first come, first served, to the contact; nobody overtakes, nobody is forgotten."""

import asyncio
from collections import Counter

from domain import automatic_imports, contact_limit, database, waiting_room
from domain.enums import ContactStatus, ExternalAccountHealth, ImportState, Outcome, RunTrigger, TaskKind
from domain.models import (
    Account,
    AuditEntry,
    AutomaticImport,
    BackgroundTask,
    Contact,
    ExternalAccount,
    ImportRun,
    LedgerEntry,
    PlanTier,
)
from domain.records import SourceConsent
from tests.configuration import Configure
from tests.domain.source import Source, add_import, make_source, record
from tests.domain.undoing import viewer


async def set_limit(contacts: int) -> None:
    await PlanTier.all().update(contact_limit=contacts)


async def emails() -> list[str]:
    return await Contact.all().order_by("email").values_list("email", flat=True)  # type: ignore[return-value]


async def waiting() -> list[str]:
    rows = LedgerEntry.filter(state="WAITING").order_by("position")
    return [row.external_id async for row in rows]


async def test_those_who_wait_are_let_in_in_their_order_as_far_as_the_room_reaches(source: Source) -> None:
    await set_limit(0)
    await source.send(*(record(name) for name in "dcba"))
    await set_limit(3)

    counts = await source.let_in()

    assert counts == Counter({Outcome.CREATED: 3})
    assert await emails() == ["b@example.com", "c@example.com", "d@example.com"]
    assert await waiting() == ["a"]
    assert (await Account.get()).active_contacts == 3


async def test_letting_in_is_a_run_of_its_own(source: Source) -> None:
    await set_limit(0)
    await source.send(record("a"), record("b"))
    await set_limit(2)

    await source.let_in()

    run = await ImportRun.get(trigger=RunTrigger.ROOM)
    other = await ImportRun.get(trigger=RunTrigger.SCHEDULE)
    assert (run.state, run.read_count, run.created_count) == ("COMPLETED", 2, 2)
    assert (other.read_count, other.waiting_count) == (2, 2)
    assert await source.outcomes() == [
        ("a", "WAITING", "CONTACT_LIMIT"),
        ("b", "WAITING", "CONTACT_LIMIT"),
        ("a", "CREATED", None),
        ("b", "CREATED", None),
    ]


async def test_whoever_waits_in_several_imports_is_one_of_those_who_wait(source: Source) -> None:
    await source.send(record("old", consent=SourceConsent.PENDING))
    await set_limit(0)
    await source.send(record("old", consent=SourceConsent.GRANTED), record("ann"), record("bob"))
    for _ in range(2):
        await (await add_import(source)).send(record("ann"), record("bob"))

    assert await waiting() == ["ann", "bob"] * 3
    assert await waiting_room.count_waiting(source.account_id) == 2


async def test_whoever_is_new_comes_after_those_who_wait(source: Source) -> None:
    await set_limit(0)
    await source.send(record("first"))
    await set_limit(1)

    stored = await source.send(record("late"))

    assert stored.counts == Counter({Outcome.WAITING: 1})
    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert await emails() == ["first@example.com"]


async def test_room_that_a_page_makes_is_for_whoever_began_to_wait_in_it(source: Source) -> None:
    await set_limit(1)
    await source.send(record("ann"))

    stored = await source.send(record("first"), record("ann", consent=SourceConsent.DENIED), record("late"))

    assert stored.counts == Counter({Outcome.WAITING: 2, Outcome.UPDATED: 1})
    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert await emails() == ["ann@example.com", "first@example.com"]
    assert await waiting() == ["late"]


async def test_whoever_begins_to_wait_in_a_page_stands_as_the_page_has_them_known_before_or_not(
    source: Source,
) -> None:
    await set_limit(0)
    await source.send(record("known", None))

    await source.send(record("1"), record("known"), record("2"))

    assert await waiting() == ["1", "known", "2"]


async def test_beside_whoever_begins_to_wait_everybody_keeps_the_order_of_the_page(source: Source) -> None:
    await set_limit(1)

    await source.send(record("ann"), record("bob"), record("twin", "ann@example.com"))

    assert await source.ledger() == {
        "ann": ("LINKED", None),
        "bob": ("WAITING", "CONTACT_LIMIT"),
        "twin": ("SKIPPED", "DUPLICATE_EMAIL"),
    }
    rows = await database.fetch("SELECT external_id FROM ledger ORDER BY position")
    assert [row["external_id"] for row in rows] == ["ann", "bob", "twin"]


async def test_whoever_opts_out_of_too_many_contacts_makes_no_room(source: Source) -> None:
    await source.send(record("ann"), record("bob"))
    await set_limit(1)

    stored = await source.send(record("ann", consent=SourceConsent.DENIED), record("late"))

    assert stored.counts == Counter({Outcome.UPDATED: 1, Outcome.WAITING: 1})
    assert await source.let_in() == Counter()
    assert (await Account.get()).active_contacts == 1


async def test_the_place_of_whoever_leaves_the_waiting_room_is_free_in_the_same_page(source: Source) -> None:
    await set_limit(0)
    await source.send(record("first"))
    await set_limit(1)

    stored = await source.send(record("first", None), record("late"))

    assert stored.counts == Counter({Outcome.SKIPPED: 1, Outcome.CREATED: 1})
    assert await emails() == ["late@example.com"]
    assert await waiting() == []


async def test_an_opt_out_in_a_page_makes_room_for_those_who_wait_not_for_the_rest_of_the_page(source: Source) -> None:
    await set_limit(1)
    await source.send(record("old", consent=SourceConsent.GRANTED), record("first"))

    stored = await source.send(record("old", consent=SourceConsent.DENIED), record("late"))

    assert stored.counts == Counter({Outcome.UPDATED: 1, Outcome.WAITING: 1})
    assert await BackgroundTask.filter(kind=TaskKind.DRAIN_WAITING_ROOM).count() == 1
    await source.let_in()
    assert await emails() == ["first@example.com", "old@example.com"]
    assert await waiting() == ["late"]


async def test_the_queue_is_one_for_all_imports_of_the_account(source: Source) -> None:
    other = await add_import(source)
    await set_limit(0)
    await source.send(record("1"))
    await other.send(record("2"))
    await source.send(record("3"))
    await set_limit(2)

    # Whichever import is asked first.
    assert await other.let_in() == Counter({Outcome.CREATED: 1})
    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert await emails() == ["1@example.com", "2@example.com"]


async def test_a_paused_import_is_passed_over_and_keeps_its_places(source: Source) -> None:
    other = await add_import(source)
    await set_limit(0)
    await source.send(record("1"))
    await other.send(record("2"), record("3"))
    await AutomaticImport.filter(id=source.automatic_import_id).update(state=ImportState.PAUSED)
    await set_limit(1)

    assert await source.let_in() == Counter()
    assert await other.let_in() == Counter({Outcome.CREATED: 1})
    await AutomaticImport.filter(id=source.automatic_import_id).update(state=ImportState.ACTIVE)
    await set_limit(2)
    assert await other.let_in() == Counter()
    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert await emails() == ["1@example.com", "2@example.com"]


async def test_an_import_whose_external_account_has_no_cycles_is_passed_over_and_keeps_its_places(
    source: Source,
) -> None:
    other = await make_source()
    await set_limit(0)
    await source.send(record("1"))
    await other.send(record("2"))
    external_account = ExternalAccount.filter(id=source.external_account_id)
    await external_account.update(health=ExternalAccountHealth.NEEDS_RECONNECT)
    await set_limit(1)

    assert await source.let_in() == Counter()
    assert await other.let_in() == Counter({Outcome.CREATED: 1})
    await external_account.update(health=ExternalAccountHealth.HEALTHY)
    await set_limit(2)
    assert await source.let_in() == Counter({Outcome.CREATED: 1})


async def test_letting_in_costs_of_the_cap_and_goes_on_in_the_next_window(source: Source, configure: Configure) -> None:
    configure(cap=2)
    await set_limit(0)
    await source.send(*(record(name) for name in "abc"))
    await set_limit(10)

    assert await source.let_in() == Counter({Outcome.CREATED: 2})
    assert await source.let_in() == Counter()
    await source.next_window()
    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert (await ImportRun.filter(trigger=RunTrigger.ROOM).count()) == 2


async def test_a_change_at_the_source_replaces_the_waiting_record_and_keeps_its_place(source: Source) -> None:
    await set_limit(0)
    await source.send(record("a"), record("b"))
    await source.send(record("a", first_name="Ann"))
    await set_limit(1)

    await source.let_in()

    assert [contact.first_name async for contact in Contact.all()] == ["Ann"]
    assert await waiting() == ["b"]


async def test_a_deletion_at_the_source_gives_the_place_up(source: Source) -> None:
    await set_limit(0)
    await source.send(record("a"), record("b"))
    await source.send(deleted=["a"])
    await set_limit(1)

    await source.let_in()

    assert await emails() == ["b@example.com"]
    assert await source.ledger() == {"a": ("DELETED", None), "b": ("LINKED", None)}


async def test_a_confirmation_of_an_import_that_is_deleted_leaves_the_line(source: Source) -> None:
    await set_limit(0)
    await source.send(record("ann", consent=SourceConsent.PENDING), record("bob"))
    await source.send(record("ann", consent=SourceConsent.GRANTED))
    before = await source.ledger()

    await automatic_imports.delete(viewer(source), source.automatic_import_id)

    assert before == {"ann": ("LINKED", "CONTACT_LIMIT"), "bob": ("WAITING", "CONTACT_LIMIT")}
    assert await source.ledger() == {"ann": ("LINKED", None)}
    async with database.transaction() as connection:
        assert not await waiting_room.is_used(connection, source.account_id)


async def test_a_confirmation_that_left_the_line_is_acted_on_when_it_is_read_again(source: Source) -> None:
    await set_limit(0)
    await source.send(record("ann", consent=SourceConsent.PENDING))
    await source.send(record("ann", consent=SourceConsent.GRANTED))
    # As new criteria do.
    await waiting_room.leave(source.account_id, source.automatic_import_id)
    await set_limit(1)

    assert await source.let_in() == Counter()
    stored = await source.send(record("ann", consent=SourceConsent.GRANTED))

    assert stored.counts == Counter({Outcome.UPDATED: 1})
    assert (await Contact.get()).status == ContactStatus.ACTIVE
    assert await source.ledger() == {"ann": ("LINKED", None)}


async def test_where_the_address_has_a_contact_by_now_it_is_updated_at_once(source: Source) -> None:
    other = await add_import(source)
    await set_limit(0)
    await source.send(record("a", "ann@example.com", phone="1"))

    # An unconfirmed contact needs no room.
    await other.send(record("b", "ann@example.com", consent=SourceConsent.PENDING))

    assert await BackgroundTask.filter(kind=TaskKind.DRAIN_WAITING_ROOM).count() == 1
    assert await source.let_in() == Counter({Outcome.UPDATED: 1})
    contact = await Contact.get()
    assert (contact.phone, contact.status) == ("1", ContactStatus.UNCONFIRMED)


async def test_the_limit_holds_while_several_are_let_in_at_once_and_others_come(source: Source) -> None:
    others = [await add_import(source) for _ in range(3)]
    strangers = [await make_source() for _ in range(2)]
    await set_limit(0)
    for number, each in enumerate((source, *others)):
        await each.send(*(record(f"{number}-{n}") for n in range(20)))
    await set_limit(50)

    await asyncio.gather(
        *(each.let_in() for each in (source, *others)),
        *(each.send(*(record(f"late-{number}-{n}") for n in range(20))) for number, each in enumerate(strangers)),
    )

    account = await Account.get()
    assert account.active_contacts == await Contact.filter(status="ACTIVE").count() == 50
    still = await waiting()
    assert still[:30] == [*(f"2-{n}" for n in range(10, 20)), *(f"3-{n}" for n in range(20))]
    # Nobody late is in.
    assert Counter(name[:5] for name in still[30:]) == Counter({"late-": 40})


async def test_auto_upgrade_moves_up_tier_by_tier_and_is_audited(source: Source) -> None:
    await Account.all().update(auto_upgrade=True, plan_tier_key="contacts-1000")
    await PlanTier.filter(key="contacts-1000").update(contact_limit=1)
    await PlanTier.filter(key="contacts-2500").update(contact_limit=2)
    await PlanTier.filter(key="contacts-5000").update(contact_limit=10)

    stored = await source.send(*(record(name) for name in "abcd"))

    assert stored.counts == Counter({Outcome.CREATED: 4})
    assert (await Account.get()).plan_tier_key == "contacts-5000"
    entries = await AuditEntry.filter(action="PLAN_UPGRADED").order_by("id")
    assert [(entry.actor_id, entry.details) for entry in entries] == [
        (None, {"before": "contacts-1000", "after": "contacts-2500"}),
        (None, {"before": "contacts-2500", "after": "contacts-5000"}),
    ]


async def test_auto_upgrade_goes_no_further_than_what_is_used(source: Source, configure: Configure) -> None:
    configure(cap=1)
    await Account.all().update(auto_upgrade=True, plan_tier_key="contacts-1000")
    for key, limit in (("contacts-1000", 0), ("contacts-2500", 1), ("contacts-5000", 2)):
        await PlanTier.filter(key=key).update(contact_limit=limit)

    # The second has the first one's address, and the cap ends before the third.
    await source.send(record("a"), record("b", "a@example.com"), record("c"))

    assert (await Account.get()).plan_tier_key == "contacts-2500"


async def test_auto_upgrade_ends_at_its_ceiling_and_the_rest_waits(source: Source) -> None:
    await Account.all().update(
        auto_upgrade=True, plan_tier_key="contacts-1000", auto_upgrade_ceiling_key="contacts-2500"
    )
    await PlanTier.filter(key="contacts-1000").update(contact_limit=1)
    await PlanTier.filter(key="contacts-2500").update(contact_limit=3)

    stored = await source.send(*(record(name) for name in "abcd"))

    assert stored.counts == Counter({Outcome.CREATED: 3, Outcome.WAITING: 1})
    assert (await Account.get()).plan_tier_key == "contacts-2500"


async def test_auto_upgrade_is_off_by_default(source: Source) -> None:
    await Account.all().update(plan_tier_key="contacts-1000")
    await PlanTier.filter(key="contacts-1000").update(contact_limit=1)

    stored = await source.send(record("a"), record("b"))

    assert stored.counts == Counter({Outcome.CREATED: 1, Outcome.WAITING: 1})
    assert await AuditEntry.filter(action="PLAN_UPGRADED").count() == 0


async def test_turning_auto_upgrade_on_lets_those_in_who_wait(source: Source) -> None:
    await Account.all().update(plan_tier_key="contacts-1000")
    await PlanTier.filter(key="contacts-1000").update(contact_limit=1)
    await source.send(record("a"), record("b"))
    await Account.all().update(auto_upgrade=True)

    assert await source.let_in() == Counter({Outcome.CREATED: 1})
    assert (await Account.get()).plan_tier_key == "contacts-2500"


async def test_a_contact_less_asks_for_draining_once_and_only_where_somebody_waits(source: Source) -> None:
    await set_limit(1)
    await source.send(record("a"))
    async with database.transaction() as connection:
        await contact_limit.count_active(connection, source.account_id, -1)
    assert await BackgroundTask.all().count() == 0

    await set_limit(0)
    await source.send(record("b"))
    async with database.transaction() as connection:
        await contact_limit.count_active(connection, source.account_id, 1)
        await contact_limit.count_active(connection, source.account_id, -1)
        await contact_limit.count_active(connection, source.account_id, 0)
        await contact_limit.ask_for_draining(connection, source.account_id)

    tasks = await BackgroundTask.all()
    assert [(task.kind, task.subject, task.state) for task in tasks] == [
        ("DRAIN_WAITING_ROOM", source.account_id, "QUEUED")
    ]
