"""Stories of who is who: a shared address, and two imports of one person."""

from uuid import UUID

from connectors.base import Page
from domain import database
from domain.enums import ContactStatus, LedgerState, Outcome, OutcomeCode
from domain.models import Contact, CustomField, ImportList, LedgerEntry, RecordOutcome
from domain.records import FieldSpec, FieldType, Record, SourceConsent
from tests.factories import make_list
from tests.jobs.scripted import Stage, record

FIELDS = {"total": FieldSpec(key="total", title="Total spent", type=FieldType.NUMBER)}
DUPLICATE = (LedgerState.SKIPPED, OutcomeCode.DUPLICATE_EMAIL)
LINKED = (LedgerState.LINKED, None)


def sent(*records: Record, at: int) -> Page:
    return Page(records=records, fields=FIELDS, checkpoint={"at": at})


async def ledger(import_id: UUID) -> dict[str, tuple[LedgerState, str | None]]:
    rows = LedgerEntry.filter(automatic_import_id=import_id).order_by("external_id")
    return {row.external_id: (row.state, row.code) async for row in rows}


async def total(contact: Contact) -> object:
    field = await CustomField.get(source_key="total")
    return contact.field_values.get(str(field.id))


async def test_two_records_share_an_address_and_the_holder_loses_it(stage: Stage) -> None:
    shared = "office@example.com"
    import_id = await stage.add_import(
        sent(
            record("1", shared, first_name="Ann"),
            record("2", shared, first_name="Bob"),
            record("3", shared, first_name="Cid"),
            at=1,
        )
    )
    await stage.cycle()

    assert await ledger(import_id) == {"1": LINKED, "2": DUPLICATE, "3": DUPLICATE}
    assert [(c.email, c.first_name) async for c in Contact.all()] == [(shared, "Ann")]

    # The holder gets an address of its own, and a new record claims the shared one on the next page: the next in
    # order has it before that page is read, from its ledger row.
    stage.scripts.steps["main"] = [
        sent(record("1", "ann@example.com", first_name="Ann"), at=2),
        sent(record("4", shared, first_name="Dan"), at=3),
    ]
    await stage.next_window()
    await stage.cycle()

    assert await ledger(import_id) == {"1": LINKED, "2": LINKED, "3": DUPLICATE, "4": DUPLICATE}
    assert [(c.email, c.first_name) async for c in Contact.all().order_by("email_key")] == [
        ("ann@example.com", "Ann"),
        (shared, "Bob"),
    ]
    run = (await stage.runs(import_id))[-1]
    assert (run.read_count, run.updated_count, run.created_count, run.skipped_count) == (3, 1, 1, 1)

    # Deleted at the source, the new holder lets go too; its contact stays, and the next in order becomes it.
    stage.scripts.steps["main"] = [Page(records=[], deleted_ids=["2"], checkpoint={"at": 4})]
    await stage.next_window()
    await stage.cycle()

    assert await ledger(import_id) == {
        "1": LINKED, "2": (LedgerState.DELETED, None), "3": LINKED, "4": DUPLICATE,
    }  # fmt: skip
    assert [(c.email, c.first_name) async for c in Contact.all().order_by("email_key")] == [
        ("ann@example.com", "Ann"),
        (shared, "Cid"),
    ]


async def test_two_imports_of_one_person(stage: Stage) -> None:
    news, friends = await make_list(stage.account_id, "News"), await make_list(stage.account_id, "Friends")
    ann = record("7", "ann@example.com", first_name="Ann", phone="1", values={"total": 1})
    as_before = record("7", "ann@example.com", first_name="Ann", phone="1", values={"total": 1})
    one = await stage.add_import(sent(ann, at=1), script="one")
    other = await stage.add_import(sent(as_before, at=1), script="other")
    await ImportList.create(account_id=stage.account_id, automatic_import_id=one, list_id=news.id)
    await ImportList.create(account_id=stage.account_id, automatic_import_id=other, list_id=friends.id)
    await stage.cycle()

    # One person, one contact, in both imports' ledgers; each gives it its own targets, the second for one of the cap.
    contact = await Contact.get()
    assert (await ledger(one), await ledger(other)) == ({"7": LINKED}, {"7": LINKED})
    assert await lists_of(contact) == {"News": ContactStatus.ACTIVE, "Friends": ContactStatus.ACTIVE}
    assert (await stage.external_account()).window_used == 2
    assert [o.outcome async for o in RecordOutcome.all().order_by("id")] == [Outcome.CREATED, Outcome.UPDATED]

    # A change that one of them has seen is not turned back by the other, which has it to come.
    stage.scripts.steps["one"] = [
        sent(record("7", "ann@example.com", first_name="Anna", phone="1", values={"total": 2}), at=2)
    ]
    stage.scripts.steps["other"] = [sent(as_before, at=2)]
    await stage.next_window()
    await stage.cycle()
    changed = await Contact.get()
    assert (changed.first_name, await total(changed)) == ("Anna", 2)

    # Seen by the other as well, it costs nothing more; the opt-out that either sees holds against both.
    stage.scripts.steps["other"] = [
        sent(record("7", "ann@example.com", first_name="Anna", phone="1", values={"total": 2}), at=3)
    ]
    await stage.next_window()
    await stage.cycle()
    assert (await stage.external_account()).window_used == 0
    denied, granted = SourceConsent.DENIED, SourceConsent.GRANTED
    stage.scripts.steps["other"] = [sent(record("7", "ann@example.com", first_name="Anna", consent=denied), at=4)]
    await stage.next_window()
    await stage.cycle()
    stage.scripts.steps["one"] = [sent(record("7", "ann@example.com", first_name="Anna", consent=granted), at=5)]
    await stage.next_window()
    await stage.cycle()

    assert (await Contact.get()).status == ContactStatus.UNSUBSCRIBED
    assert [run.protected_count for run in await stage.runs(one)][-1] == 1
    assert (await database.fetch("SELECT active_contacts FROM account"))[0]["active_contacts"] == 0


async def lists_of(contact: Contact) -> dict[str, str]:
    rows = await database.fetch(
        "SELECT l.name, s.status FROM subscription s JOIN contact_list l ON l.id = s.list_id WHERE s.contact_id = $1",
        contact.id,
    )
    return {row["name"]: row["status"] for row in rows}
