"""R13: lists and tags that an edit adds to an import reach all its contacts, once, and cost nothing of the cap."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from connectors.base import Page
from domain import automatic_imports, database
from domain.account import Viewer, email_hash
from domain.credentials import key_ring
from domain.enums import ContactStatus, LedgerState, TaskState
from domain.import_inputs import ImportChanges
from domain.models import (
    Account,
    AutomaticImport,
    BackgroundTask,
    Contact,
    ContactTag,
    ImportRun,
    LedgerEntry,
    Subscription,
    Suppression,
)
from domain.records import SourceConsent
from jobs.catalogue import ConnectorCatalogue
from tests.factories import (
    make_contact,
    make_import,
    make_ledger_row,
    make_linked_contacts,
    make_list,
    make_tag,
    subscribe,
)
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Stage, make_stage, page, record

ACTIVE, UNCONFIRMED = ContactStatus.ACTIVE, ContactStatus.UNCONFIRMED
UNSUBSCRIBED, BOUNCED = ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED


async def edit(stage: Stage, import_id: UUID, **changes: Any) -> None:
    catalogue = ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False)
    viewer = Viewer(account_id=stage.account_id, token_id=UUID(int=0), scopes=frozenset())
    await automatic_imports.update(
        viewer, import_id, ImportChanges(**changes), catalogue=catalogue, queue=RecordingQueue()
    )


async def import_with_contacts(stage: Stage, count: int) -> AutomaticImport:
    automatic_import = await make_import(await stage.external_account(), criteria={"script": "main"})
    await make_linked_contacts(automatic_import, count)
    return automatic_import


async def tagged(tag_id: UUID) -> list[str]:
    contact_ids = [row.contact_id async for row in ContactTag.filter(tag_id=tag_id)]
    return [contact.email async for contact in Contact.filter(id__in=contact_ids).order_by("email_key")]


async def subscriptions(list_id: UUID) -> dict[UUID, ContactStatus]:
    return {row.contact_id: row.status async for row in Subscription.filter(list_id=list_id)}


async def untag(email: str, tag_id: UUID) -> None:
    contact = await Contact.get(email=email)
    await ContactTag.filter(contact_id=contact.id, tag_id=tag_id).delete()


@pytest.fixture
async def large_stage(database_url: str) -> AsyncIterator[Stage]:
    """A stage in a database of its own, which is dropped faster than it is emptied."""
    await database.open_database(database_url)
    yield await make_stage()
    await database.close_database()


async def test_a_tag_added_to_an_import_with_100_000_contacts(large_stage: Stage) -> None:
    stage = large_stage
    automatic_import = await import_with_contacts(stage, 100_000)
    tag = await make_tag(stage.account_id)
    account = await Account.get(id=stage.account_id)

    await edit(stage, automatic_import.id, tag_ids=[tag.id])
    while await stage.work():
        pass

    # Each step is a transaction, whose number every row that it wrote carries.
    steps = await database.fetch("SELECT count(*) AS rows FROM contact_tag GROUP BY xmin::text")
    assert [step["rows"] for step in steps] == [500] * 200
    assert await ContactTag.filter(tag_id=tag.id).count() == 100_000
    assert [task.state async for task in BackgroundTask.all()] == [TaskState.COMPLETED]
    assert await ImportRun.all().count() == 0
    assert (await stage.external_account()).window_used == 0
    assert await Account.get(id=stage.account_id) == account
    assert await LedgerEntry.filter(revision=1, due=False).count() == 100_000


async def test_lists_and_tags_of_one_edit_are_given_by_one_task(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 3)
    lists = [await make_list(stage.account_id) for _ in range(2)]
    tags = [await make_tag(stage.account_id) for _ in range(2)]

    await edit(stage, automatic_import.id, list_ids=[each.id for each in lists], tag_ids=[each.id for each in tags])
    assert await stage.work() == 1

    for contact_list in lists:
        assert list((await subscriptions(contact_list.id)).values()) == [ACTIVE] * 3
    for tag in tags:
        assert len(await tagged(tag.id)) == 3


async def test_only_what_the_edit_adds_is_given(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 2)
    old, new = await make_tag(stage.account_id), await make_tag(stage.account_id)
    await edit(stage, automatic_import.id, tag_ids=[old.id])
    await stage.work()
    await untag("person1@example.com", old.id)

    await edit(stage, automatic_import.id, tag_ids=[old.id, new.id])
    await stage.work()

    assert await tagged(old.id) == ["person2@example.com"]
    assert await tagged(new.id) == ["person1@example.com", "person2@example.com"]


async def test_an_edit_that_adds_no_target_asks_for_no_task(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    contact_list, tag = await make_list(stage.account_id), await make_tag(stage.account_id)
    await edit(stage, automatic_import.id, list_ids=[contact_list.id], tag_ids=[tag.id])
    await BackgroundTask.all().delete()

    await edit(stage, automatic_import.id, name="Another", list_ids=[contact_list.id], tag_ids=[tag.id])
    await edit(stage, automatic_import.id, criteria={"script": "other"})
    await edit(stage, automatic_import.id, list_ids=[], tag_ids=[])

    assert await BackgroundTask.all().count() == 0


async def test_removing_a_target_removes_nobody(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    contact_list, tag = await make_list(stage.account_id), await make_tag(stage.account_id)
    await edit(stage, automatic_import.id, list_ids=[contact_list.id], tag_ids=[tag.id])
    await stage.work()

    await edit(stage, automatic_import.id, list_ids=[], tag_ids=[])
    await stage.work()

    assert len(await subscriptions(contact_list.id)) == 1
    assert await tagged(tag.id) == ["person1@example.com"]


async def test_a_target_that_was_removed_meanwhile_is_not_given(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    kept, removed = await make_tag(stage.account_id), await make_tag(stage.account_id)
    await edit(stage, automatic_import.id, tag_ids=[kept.id, removed.id])

    await edit(stage, automatic_import.id, tag_ids=[kept.id])
    await stage.work()

    assert await tagged(kept.id) == ["person1@example.com"]
    assert await tagged(removed.id) == []


async def test_a_deleted_import_gives_nothing_any_more(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    tag = await make_tag(stage.account_id)
    await edit(stage, automatic_import.id, tag_ids=[tag.id])
    await AutomaticImport.all().update(deleted_at=datetime.now(UTC))

    assert await stage.work() == 1

    assert await tagged(tag.id) == []
    assert [task.state async for task in BackgroundTask.all()] == [TaskState.COMPLETED]


async def test_subscriptions_that_exist_stay_as_they_are(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 4)
    contact_list = await make_list(stage.account_id)
    statuses = dict(zip([contact async for contact in Contact.all()], ContactStatus, strict=True))
    for contact, status in statuses.items():
        await subscribe(contact, contact_list, status)

    await edit(stage, automatic_import.id, list_ids=[contact_list.id])
    await stage.work()

    assert await subscriptions(contact_list.id) == {contact.id: status for contact, status in statuses.items()}


@pytest.mark.parametrize(
    ("word", "contact", "everywhere", "here", "expected"),
    [
        (SourceConsent.GRANTED, ACTIVE, None, None, ACTIVE),
        (SourceConsent.NOT_TRACKED, ACTIVE, None, None, ACTIVE),
        (SourceConsent.PENDING, ACTIVE, None, None, UNCONFIRMED),
        (SourceConsent.NONE, ACTIVE, None, None, UNCONFIRMED),
        (SourceConsent.DENIED, ACTIVE, None, None, UNSUBSCRIBED),
        (SourceConsent.GRANTED, UNCONFIRMED, None, None, UNCONFIRMED),
        (SourceConsent.GRANTED, UNSUBSCRIBED, None, None, UNSUBSCRIBED),
        (SourceConsent.GRANTED, BOUNCED, None, None, BOUNCED),
        (SourceConsent.GRANTED, ACTIVE, None, UNSUBSCRIBED, UNSUBSCRIBED),
        (SourceConsent.GRANTED, ACTIVE, UNSUBSCRIBED, None, UNSUBSCRIBED),
        (SourceConsent.GRANTED, ACTIVE, BOUNCED, UNSUBSCRIBED, BOUNCED),
        (SourceConsent.GRANTED, ACTIVE, UNSUBSCRIBED, BOUNCED, BOUNCED),
        (SourceConsent.NONE, BOUNCED, None, UNSUBSCRIBED, BOUNCED),
    ],
)
async def test_a_new_subscription_is_the_lowest_of_what_source_suppressions_and_contact_allow(
    stage: Stage,
    word: SourceConsent,
    contact: ContactStatus,
    everywhere: ContactStatus | None,
    here: ContactStatus | None,
    expected: ContactStatus,
) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    contact_list, other_list = await make_list(stage.account_id), await make_list(stage.account_id)
    await Contact.all().update(status=contact)
    await LedgerEntry.all().update(record={"consent": word})
    account = await Account.get(id=stage.account_id)
    hashed = email_hash(key_ring().unseal(account.email_hash_key, row=account.id), "person1@example.com")
    for list_id, status in ((None, everywhere), (contact_list.id, here), (other_list.id, BOUNCED)):
        if status is not None:
            await Suppression.create(account_id=account.id, email_hash=hashed, list_id=list_id, status=status)

    await edit(stage, automatic_import.id, list_ids=[contact_list.id])
    await stage.work()

    assert list((await subscriptions(contact_list.id)).values()) == [expected]


async def test_only_contacts_that_the_import_holds_get_the_target(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 1)
    other_import = await make_import(await stage.external_account())
    tag = await make_tag(stage.account_id)
    for state in (LedgerState.SKIPPED, LedgerState.DELETED, LedgerState.FAILED, LedgerState.UNDONE):
        contact = await make_contact(stage.account_id)
        await make_ledger_row(automatic_import, f"record {state}", contact=contact, state=state)
    await make_ledger_row(other_import, "record", contact=await make_contact(stage.account_id))

    await edit(stage, automatic_import.id, tag_ids=[tag.id])
    await stage.work()

    assert await tagged(tag.id) == ["person1@example.com"]


async def test_a_contact_that_is_gone_does_not_hold_up_the_others(stage: Stage) -> None:
    automatic_import = await import_with_contacts(stage, 3)
    contact_list = await make_list(stage.account_id)
    await Contact.filter(email="person2@example.com").delete()

    await edit(stage, automatic_import.id, list_ids=[contact_list.id])
    await stage.work()

    assert len(await subscriptions(contact_list.id)) == 2


async def test_records_linked_after_the_edit_get_the_target_as_they_are_linked_and_never_again(stage: Stage) -> None:
    tag = await make_tag(stage.account_id)
    changed = Page(records=[record("ann", phone="1"), record("bob", phone="2")], checkpoint={"at": 3})
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()

    await edit(stage, import_id, tag_ids=[tag.id])
    stage.scripts.steps["main"] = [page("bob")]
    await stage.next_window()
    await stage.cycle()
    assert await tagged(tag.id) == ["bob@example.com"]
    await untag("bob@example.com", tag.id)
    await stage.work()
    assert await tagged(tag.id) == ["ann@example.com"]

    await untag("ann@example.com", tag.id)
    stage.scripts.steps["main"] = [changed]
    await stage.next_window()
    await stage.cycle()
    assert await tagged(tag.id) == []
    assert [contact.phone async for contact in Contact.all().order_by("email_key")] == ["1", "2"]


async def test_a_page_under_way_during_the_edit_is_read_again_with_the_new_target(stage: Stage) -> None:
    tag = await make_tag(stage.account_id)

    async def add_tag() -> None:
        await edit(stage, import_id, tag_ids=[tag.id])

    import_id = await stage.add_import(page("ann"), add_tag, page("bob"))
    await stage.cycle()
    stage.scripts.steps["main"] = [page("bob")]
    await database.fetch("UPDATE external_account SET next_cycle_at = now()")
    await stage.cycle()
    await stage.work()

    assert await tagged(tag.id) == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize("words", [("GRANTED", "PENDING"), ("PENDING", "GRANTED")])
async def test_of_two_records_that_are_one_contact_the_more_restrictive_word_counts(
    stage: Stage, words: tuple[str, str]
) -> None:
    automatic_import = await import_with_contacts(stage, 2)
    first, second = await LedgerEntry.all().order_by("external_id")
    for row, word in zip((first, second), words, strict=True):
        kept = {**row.record, "consent": word}
        await LedgerEntry.filter(external_id=row.external_id).update(record=kept, contact_id=first.contact_id)
    contact_list = await make_list(stage.account_id)

    await edit(stage, automatic_import.id, list_ids=[contact_list.id])
    await stage.work()

    assert await subscriptions(contact_list.id) == {first.contact_id: UNCONFIRMED}
