"""What users do to contacts, and what their imports do meanwhile: whole stories."""

import httpx
import pytest

from api.node import global_id
from connectors.base import Page
from domain import account, automatic_imports
from domain.account import Viewer
from domain.models import Account, Contact, LedgerEntry
from domain.records import SourceConsent
from tests.api.conftest import Client
from tests.jobs.scripted import Stage, make_stage, record

CHANGES = {
    "create": "mutation ($input: CreateContactInput!) { createContact(input: $input) { userErrors { code } } }",
    "update": "mutation ($input: UpdateContactInput!) { updateContact(input: $input) { userErrors { code } } }",
    "delete": "mutation ($input: DeleteContactInput!) { deleteContact(input: $input) { userErrors { code } } }",
    "set": "mutation ($input: SetSubscriptionInput!) { setSubscription(input: $input) { userErrors { code } } }",
}


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()


@pytest.fixture
async def owner(stage: Stage, http: httpx.AsyncClient) -> Client:
    """The user whose account the stage is in."""
    return Client(http, stage.account_id, await account.create_token(stage.account_id))


async def change(owner: Client, what: str, **given: object) -> None:
    """Do something to a contact, which meets no problems."""
    [payload] = (await owner.data(CHANGES[what], input=given)).values()
    assert payload == {"userErrors": []}


async def ann_comes(stage: Stage, script: str = "main", **values: str | SourceConsent) -> None:
    """In the next window, the service has Ann with these values."""
    stage.scripts.steps[script] = [Page(records=[record("ann", **values)], checkpoint={"at": str(values)})]
    await stage.next_window()
    assert await stage.cycle() == 1


async def ann() -> tuple[str, str | None, str | None]:
    """Status, first name and phone of the one contact that there is."""
    contact = await Contact.get()
    return contact.status, contact.first_name, contact.phone


async def key() -> str:
    return global_id("Contact", (await Contact.get()).id)


async def ledger() -> list[tuple[str, str | None]]:
    return [(row.state, row.code) async for row in LedgerEntry.all().order_by("position")]


async def test_unsubscribed_deleted_here_imported_again(stage: Stage, owner: Client) -> None:
    granted = SourceConsent.GRANTED
    import_id = await stage.add_import()
    await ann_comes(stage, consent=granted)
    assert await ann() == ("ACTIVE", None, None)

    await change(owner, "set", contactId=await key(), status="UNSUBSCRIBED")
    await ann_comes(stage, consent=granted, phone="1")
    assert await ann() == ("UNSUBSCRIBED", None, "1")

    await change(owner, "delete", id=await key())
    assert await ledger() == [("SKIPPED", "DELETED_HERE")]
    await ann_comes(stage, consent=granted, phone="2")
    viewer = Viewer(account_id=stage.account_id, token_id=import_id, scopes=frozenset())
    await automatic_imports.delete(viewer, import_id)
    await stage.add_import(script="anew")
    await ann_comes(stage, "anew", consent=granted, phone="3")
    assert await Contact.all().count() == 0
    assert await ledger() == [("SKIPPED", "DELETED_HERE")] * 2

    await change(owner, "create", email="Ann@example.com", firstName="Ann")
    assert await ann() == ("UNSUBSCRIBED", "Ann", None)
    await ann_comes(stage, "anew", consent=granted, phone="4")
    assert await ann() == ("UNSUBSCRIBED", "Ann", "4")
    assert await ledger() == [("SKIPPED", "DELETED_HERE"), ("LINKED", None)]
    assert (await Account.get(id=stage.account_id)).active_contacts == 0

    await change(owner, "set", contactId=await key(), status="ACTIVE")
    await ann_comes(stage, "anew", consent=granted, phone="5")
    assert await ann() == ("ACTIVE", "Ann", "5")
    assert (await Account.get(id=stage.account_id)).active_contacts == 1


async def test_a_name_corrected_here_the_phone_changed_there(stage: Stage, owner: Client) -> None:
    await stage.add_import()
    await ann_comes(stage, first_name="Ann", phone="1")

    await change(owner, "update", id=await key(), firstName="Anna")
    await ann_comes(stage, first_name="Ann", phone="2")
    assert await ann() == ("ACTIVE", "Anna", "2")

    await ann_comes(stage, first_name="Annie", phone="2")
    assert await ann() == ("ACTIVE", "Annie", "2")


async def test_who_waits_for_room_is_updated_at_once_when_a_user_makes_the_contact(stage: Stage, owner: Client) -> None:
    await Account.filter(id=stage.account_id).update(active_contacts=10_000)
    await stage.add_import()
    await ann_comes(stage, phone="1")
    assert await ledger() == [("WAITING", "CONTACT_LIMIT")]

    await change(owner, "create", email="ann@example.com", status="UNCONFIRMED")
    await stage.work()

    assert await ann() == ("UNCONFIRMED", None, "1")
    assert await ledger() == [("LINKED", None)]


async def test_whoever_is_deleted_makes_room_for_who_waits(stage: Stage, owner: Client) -> None:
    await stage.add_import()
    await change(owner, "create", email="bob@example.com")
    await Account.filter(id=stage.account_id).update(active_contacts=10_000)
    await ann_comes(stage)

    await change(owner, "delete", id=await key(), erase=True)
    while await stage.work():
        pass

    assert [contact.email async for contact in Contact.all()] == ["ann@example.com"]
    assert (await Account.get(id=stage.account_id)).active_contacts == 10_000
