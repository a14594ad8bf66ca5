"""R11 under concurrency: users and integrators reach the contact limit to the contact, and never pass it."""

import asyncio
from uuid import UUID

import pytest

from domain import contacts, database, subscriptions
from domain.account import Viewer
from domain.contacts import Given, UpsertOutcome
from domain.enums import ContactStatus
from domain.errors import Refused
from domain.models import Account, Contact, PlanTier
from tests.domain.source import Source, record
from tests.fakes import RecordingQueue


def viewer(source: Source) -> Viewer:
    return Viewer(account_id=source.account_id, token_id=UUID(int=1), scopes=frozenset())


async def active(source: Source) -> int:
    count = await Contact.filter(account_id=source.account_id, status=ContactStatus.ACTIVE).count()
    assert (await Account.get(id=source.account_id)).active_contacts == count
    return count


async def test_creating_upserting_raising_and_importing_at_once_reach_the_limit_exactly(source: Source) -> None:
    await contacts.upsert(
        viewer(source),
        [Given(email=f"low{n}@example.com", status=ContactStatus.UNCONFIRMED) for n in range(5)],
        queue=RecordingQueue(),
    )
    low = await Contact.all()
    await PlanTier.all().update(contact_limit=20)

    await asyncio.gather(
        *(
            contacts.create(viewer(source), Given(email=f"one{n}@example.com"), queue=RecordingQueue())
            for n in range(8)
        ),
        *(
            contacts.upsert(
                viewer(source),
                [Given(email=f"many{n}-{m}@example.com") for m in range(3)],
                queue=RecordingQueue(),
            )
            for n in range(4)
        ),
        *(
            subscriptions.set_status(viewer(source), contact.id, ContactStatus.ACTIVE, queue=RecordingQueue())
            for contact in low
        ),
        source.send(*(record(f"imported{n}") for n in range(5))),
        return_exceptions=True,
    )

    assert await active(source) == 20


async def test_the_same_new_address_at_once_makes_one_contact(source: Source) -> None:
    results = await asyncio.gather(
        *(contacts.upsert(viewer(source), [Given(email="ann@example.com")], queue=RecordingQueue()) for _ in range(5)),
        source.send(record("ann")),
    )

    outcomes = [upserted.outcome for result in results if isinstance(result, list) for upserted in result]
    assert outcomes.count(UpsertOutcome.CREATED) + outcomes.count(UpsertOutcome.UNCHANGED) == 5
    assert await active(source) == 1


async def test_two_contacts_that_want_the_same_address_at_once_do_not_both_get_it(source: Source) -> None:
    await source.send(record("ann"), record("bob"))
    ids = [contact.id async for contact in Contact.all()]

    results = await asyncio.gather(
        *(
            contacts.update(viewer(source), contact_id, Given(email="new@example.com"), queue=RecordingQueue())
            for contact_id in ids
        ),
        return_exceptions=True,
    )

    [refused] = [result for result in results if result is not None]
    assert isinstance(refused, Refused)
    assert [problem.code for problem in refused.problems] == ["TAKEN"]
    rows = await database.fetch("SELECT count(*) FROM contact WHERE email_key = 'new@example.com'")
    assert rows[0]["count"] == 1


@pytest.mark.parametrize("attempt", range(3))
async def test_deleting_while_a_page_updates_the_contact_leaves_no_trace_of_it(source: Source, attempt: int) -> None:
    await source.send(*(record(f"r{n}") for n in range(5)))
    ids = [contact.id async for contact in Contact.all()]

    await asyncio.gather(
        source.send(*(record(f"r{n}", phone=str(attempt)) for n in range(5))),
        *(contacts.delete(viewer(source), contact_id, queue=RecordingQueue()) for contact_id in ids),
    )

    assert await active(source) == 0
    assert set((await source.ledger()).values()) == {("SKIPPED", "DELETED_HERE")}
