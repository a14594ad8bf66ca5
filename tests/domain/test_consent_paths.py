"""R9: whatever comes in, by whichever way, UNSUBSCRIBED and BOUNCED stay; only `setSubscription` raises them."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from domain import automatic_imports, contacts, database, retrying, subscriptions, suppressions
from domain.account import Viewer
from domain.contacts import Given
from domain.enums import ContactStatus, DeletionPolicy, Outcome
from domain.errors import Refused
from domain.import_inputs import ImportChanges
from domain.models import (
    AutomaticImport,
    Contact,
    ContactList,
    ExternalAccount,
    LedgerEntry,
    PlanTier,
    Subscription,
    Suppression,
)
from domain.records import SourceConsent
from tests.domain import undoing
from tests.domain.source import Source, add_import, make_source, record
from tests.fakes import SAMPLE, FakeCatalogue, RecordingQueue
from tests.jobs.scripted import Stage

GRANTED, PENDING = SourceConsent.GRANTED, SourceConsent.PENDING
ANN, MOVED = "ann@example.com", "ann@moved.example"
LOW = (ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED)
KINDS = ("the contact", "the subscription", "an address without a contact", "an address without a contact, for a list")


@dataclass(kw_only=True)
class Scene:
    """An import with a target list; the person is Ann, who is record `ann`, and has a contact or not."""

    source: Source
    list_id: UUID

    @property
    def viewer(self) -> Viewer:
        return Viewer(account_id=self.source.account_id, token_id=UUID(int=1), scopes=frozenset())

    async def ann(self) -> Contact | None:
        return await Contact.get_or_none(account_id=self.source.account_id, email_key=ANN)

    async def lower(self, kind: str, low: ContactStatus) -> None:
        """Hold Ann low, in one of the ways there are."""
        of_list = self.list_id if "list" in kind or "subscription" in kind else None
        contact = await self.ann()
        if "without" not in kind and contact is not None:
            await subscriptions.set_status(self.viewer, contact.id, low, list_id=of_list, queue=RecordingQueue())
            return
        async with database.transaction() as connection:
            await suppressions.suppress(connection, self.source.account_id, {(ANN, of_list): low})

    async def work(self) -> None:
        """Let a worker do its background tasks."""
        source = self.source
        await Stage(account_id=source.account_id, external_account_id=source.external_account_id).work()

    async def edit(self, **changes: object) -> None:
        """Edit the import; pages are then read under its new revision."""
        await automatic_imports.update(
            self.viewer,
            self.source.automatic_import_id,
            ImportChanges(**changes),  # type: ignore[arg-type]
            catalogue=FakeCatalogue(),
            queue=RecordingQueue(),
        )
        stored = await AutomaticImport.get(id=self.source.automatic_import_id)
        self.source.revision = stored.revision


async def a_page(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=GRANTED, phone="1"))


async def a_consent_that_is_newly_granted(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=PENDING))
    await scene.source.send(record("ann", consent=GRANTED))


async def another_import(scene: Scene) -> None:
    other = await add_import(scene.source)
    await other.target(list_id=scene.list_id)
    await other.send(record("someone", ANN, consent=GRANTED))


async def a_record_that_is_due_again(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=GRANTED))
    await database.fetch("UPDATE ledger SET due = true")
    assert await scene.source.ingest_due() is not None


async def waiting_for_room(scene: Scene) -> None:
    await PlanTier.all().update(contact_limit=0)
    await scene.source.send(record("ann", consent=GRANTED))
    assert (await LedgerEntry.get(external_id="ann")).code == "CONTACT_LIMIT"


async def draining(scene: Scene) -> None:
    await PlanTier.all().update(contact_limit=1000)
    assert (await scene.source.let_in()).total() == 1


async def the_succession_to_a_shared_address(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=PENDING), record("next", ANN, consent=GRANTED))
    await scene.source.send(deleted=["ann"])
    assert await scene.source.ingest_due() is not None


async def new_criteria_and_a_backfill(scene: Scene) -> None:
    await scene.edit(criteria={"group": "2"})
    await scene.source.send(record("ann", consent=GRANTED, phone="1"))


async def targets_that_are_added(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=GRANTED))
    await scene.edit(list_ids=[])
    await scene.edit(list_ids=[scene.list_id])
    await scene.work()


async def the_import_deleted_and_made_anew(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=GRANTED))
    await automatic_imports.delete(scene.viewer, scene.source.automatic_import_id)
    anew = await add_import(scene.source)
    await anew.target(list_id=scene.list_id)
    await anew.send(record("ann", consent=GRANTED, phone="1"))


async def an_address_that_moves_at_the_source(scene: Scene) -> None:
    await scene.source.send(record("ann", MOVED, consent=GRANTED))
    await scene.source.send(record("ann", ANN, consent=GRANTED))


async def an_upsert(scene: Scene) -> None:
    given = Given(email=ANN, status=ContactStatus.ACTIVE, list_ids=[scene.list_id], phone="1")
    await contacts.upsert(scene.viewer, [given, given], queue=RecordingQueue())


async def creating_the_contact(scene: Scene) -> None:
    with suppress(Refused):
        await contacts.create(scene.viewer, Given(email=ANN, list_ids=[scene.list_id]), queue=RecordingQueue())


async def updating_the_contact(scene: Scene) -> None:
    contact = await scene.ann() or await Contact.get(
        id=await contacts.create(scene.viewer, Given(email=MOVED, list_ids=[scene.list_id]), queue=RecordingQueue())
    )
    for address in (MOVED, ANN):
        changes = Given(email=address, status=ContactStatus.ACTIVE, list_ids=[scene.list_id])
        await contacts.update(scene.viewer, contact.id, changes, queue=RecordingQueue())


async def deleting_and_creating_the_contact(scene: Scene) -> None:
    contact = await scene.ann()
    if contact is not None:
        await contacts.delete(scene.viewer, contact.id, erase=True, queue=RecordingQueue())
    await creating_the_contact(scene)


async def deleting_the_contact_and_a_page(scene: Scene) -> None:
    contact = await scene.ann()
    if contact is not None:
        await contacts.delete(scene.viewer, contact.id, queue=RecordingQueue())
    await scene.source.send(record("ann", consent=GRANTED, phone="1"))


async def trying_a_deleted_contacts_record_again(scene: Scene) -> None:
    await deleting_the_contact_and_a_page(scene)
    if await scene.ann() is None:
        await creating_the_contact(scene)
        wish = retrying.Wish(automatic_import_id=scene.source.automatic_import_id)
        await retrying.retry(scene.viewer, wish, queue=RecordingQueue())
        scene.source.revision += 1
        stored = await scene.source.send(record("ann", consent=GRANTED))
        assert stored.counts[Outcome.SKIPPED] == 0


async def a_deletion_at_the_source_that_unsubscribes(scene: Scene) -> None:
    await scene.edit(deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await scene.source.send(record("ann", consent=GRANTED), deleted=["ann"])
    await scene.source.send(record("ann", consent=GRANTED, phone="1"))


async def undoing_a_run(scene: Scene) -> None:
    run_id = await undoing.run(scene.source, record("ann", consent=GRANTED, phone="1"))
    await undoing.undo(scene.source, run_id)


async def nothing(_: Scene) -> None:
    """What most paths need beforehand."""


Path = Callable[[Scene], Awaitable[None]]
PATHS: dict[Path, Path] = {
    a_page: nothing,
    a_consent_that_is_newly_granted: nothing,
    another_import: nothing,
    a_record_that_is_due_again: nothing,
    draining: waiting_for_room,
    the_succession_to_a_shared_address: nothing,
    new_criteria_and_a_backfill: nothing,
    targets_that_are_added: nothing,
    the_import_deleted_and_made_anew: nothing,
    an_address_that_moves_at_the_source: nothing,
    an_upsert: nothing,
    creating_the_contact: nothing,
    updating_the_contact: nothing,
    deleting_and_creating_the_contact: nothing,
    deleting_the_contact_and_a_page: nothing,
    trying_a_deleted_contacts_record_again: nothing,
    a_deletion_at_the_source_that_unsubscribes: nothing,
    undoing_a_run: nothing,
}
"""Every way in, and what has to come before consent was lowered."""


@pytest.fixture
async def scene(database: None) -> Scene:
    source = await make_source()
    # One that the catalogue has, so that the import can be edited.
    source.service = SAMPLE.key
    await ExternalAccount.filter(id=source.external_account_id).update(service=SAMPLE.key)
    news = await ContactList.create(account_id=source.account_id, name="News")
    await source.target(list_id=news.id)
    return Scene(source=source, list_id=news.id)


async def assert_held(scene: Scene, kind: str, low: ContactStatus) -> None:
    """Ann is not raised, and what is kept of her address is as it was."""
    of_list = "list" in kind or "subscription" in kind
    if of_list:
        found = [row.status async for row in Subscription.filter(list_id=scene.list_id)]
    else:
        found = [row.status async for row in Contact.filter(email_key__in=[ANN, MOVED])]
    assert found in ([], [low])
    async with database.transaction() as connection:
        kept = await suppressions.load(connection, scene.source.account_id, [ANN])
    assert kept[ANN, scene.list_id if of_list else None] is low
    [counted] = await database.fetch(
        "SELECT active_contacts - (SELECT count(*) FROM contact WHERE status = 'ACTIVE') AS off FROM account"
    )
    assert counted["off"] == 0


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_no_way_in_raises_consent(scene: Scene, path: Path, kind: str, low: ContactStatus) -> None:
    if "without" not in kind:
        await scene.source.send(record("ann", consent=PENDING if path is draining else GRANTED))
    await PATHS[path](scene)
    await scene.lower(kind, low)

    await path(scene)

    await assert_held(scene, kind, low)


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("of_list", [False, True])
async def test_set_subscription_raises_consent(scene: Scene, low: ContactStatus, of_list: bool) -> None:
    await scene.source.send(record("ann", consent=GRANTED))
    list_id = scene.list_id if of_list else None
    ann = await Contact.get(email_key=ANN)
    await subscriptions.set_status(scene.viewer, ann.id, low, list_id=list_id, queue=RecordingQueue())

    await subscriptions.set_status(scene.viewer, ann.id, ContactStatus.ACTIVE, list_id=list_id, queue=RecordingQueue())

    assert (await Contact.get(id=ann.id)).status == ContactStatus.ACTIVE
    assert [row.status async for row in Subscription.all()] == [ContactStatus.ACTIVE]
    assert await Suppression.all().count() == 0


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("table", ["contact", "subscription"])
async def test_no_statement_raises_consent_that_names_no_user(scene: Scene, table: str, low: ContactStatus) -> None:
    await scene.source.send(record("ann", consent=GRANTED))
    await scene.lower("the contact" if table == "contact" else "the subscription", low)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="only by a user"):
        await database.fetch(f"UPDATE {table} SET status = 'ACTIVE'")

    assert [row["status"] for row in await database.fetch(f"SELECT status FROM {table}")] == [low]


async def test_who_raised_consent_in_one_transaction_raises_none_in_the_next(scene: Scene) -> None:
    await scene.source.send(record("ann", consent=GRANTED), record("bob", consent=GRANTED))
    ann, bob = await Contact.all().order_by("email_key")
    for contact in (ann, bob):
        await subscriptions.set_status(scene.viewer, contact.id, ContactStatus.BOUNCED, queue=RecordingQueue())

    await subscriptions.set_status(scene.viewer, ann.id, ContactStatus.ACTIVE, queue=RecordingQueue())

    for _ in range(5):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await database.fetch("UPDATE contact SET status = 'ACTIVE' WHERE id = $1", bob.id)
