"""R15: what PostgreSQL itself refuses is isolated; the rest of its page is stored, and counted once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import Any

import pytest

from domain import contacts, database
from domain.enums import Outcome
from domain.ingest import storing
from domain.ingest.known import load_entries
from domain.models import AutomaticImport, Contact, ImportRun
from tests.configuration import Configure
from tests.domain.source import Source, make_source, record
from tests.domain.undoing import viewer
from tests.factories import make_list
from tests.fakes import RecordingQueue


@pytest.fixture
async def picky(database_url: str) -> AsyncIterator[Source]:
    """A source whose database refuses the name Poison, in a way that Python cannot foresee."""
    await database.open_database(database_url)
    await database.fetch("ALTER TABLE contact ADD CONSTRAINT picky CHECK (first_name <> 'Poison')")
    yield await make_source()
    await database.close_database()


@pytest.mark.parametrize("place", [0, 4, 9])
async def test_a_refused_record_is_isolated_and_the_rest_of_its_page_is_stored(picky: Source, place: int) -> None:
    page = [record(f"good{n}") for n in range(9)]
    page.insert(place, record("bad", first_name="Poison"))

    stored = await picky.send(*page, checkpoint={"at": 10})

    assert stored.counts == Counter({Outcome.CREATED: 9, Outcome.FAILED: 1})
    assert (await picky.ledger())["bad"] == ("FAILED", "REJECTED_VALUE")
    assert await Contact.all().count() == 9
    assert await picky.checkpoint() == {"at": 10}


async def test_what_is_kept_silent_is_counted_once_however_often_a_page_is_halved(picky: Source) -> None:
    await picky.target(list_id=(await make_list(picky.account_id)).id)

    await picky.send(*(record(f"good{n}") for n in range(9)), record("bad", first_name="Poison"))

    run = await ImportRun.get()
    assert (run.silenced_autoresponders, run.silenced_webhooks, run.silenced_notifications) == (9, 9, 9)


async def test_a_refused_page_of_one_leaves_a_run_that_says_so(picky: Source) -> None:
    stored = await picky.send(record("bad", first_name="Poison"))

    assert stored.counts == Counter({Outcome.FAILED: 1})
    assert await picky.outcomes() == [("bad", "FAILED", "REJECTED_VALUE")]


async def test_a_refused_record_has_no_contact_any_more_that_is_deleted_here_meanwhile(
    picky: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await picky.send(record("ann"))
    ann, outside = await Contact.get(), copy_context()
    looks = iter(("all at once", "carefully", "refused"))

    async def delete_meanwhile(*arguments: Any) -> Any:
        found = await load_entries(*arguments)
        if next(looks, None) == "refused":
            # In a context of its own: else it would share the page's transaction.
            deleting = contacts.delete(viewer(picky), ann.id, queue=RecordingQueue())
            await asyncio.create_task(deleting, context=outside)
        return found

    monkeypatch.setattr(storing, "load_entries", delete_meanwhile)
    await picky.send(record("ann", first_name="Poison"))

    rows = await database.fetch("SELECT contact_id, state, code FROM ledger")
    assert [tuple(row) for row in rows] == [(None, "SKIPPED", "DELETED_HERE")]


async def test_the_guard_counts_everybody_once_however_often_a_page_is_halved(
    picky: Source, configure: Configure
) -> None:
    configure(review_changed_count=5)
    people = [record(f"p{n}", values={"note": "n"}) for n in range(16)]
    await picky.send(*people)

    changed = [record(f"p{n}", values={"note": None}) for n in range(4)]
    await picky.send(*changed, *people[4:15], record("p15", values={"note": "x"}, first_name="Poison"))

    automatic_import = await AutomaticImport.get()
    assert automatic_import.state == "ACTIVE"
    # All but the one that was refused, of whom nothing would change.
    assert (automatic_import.guard["known"], automatic_import.guard["affected"]) == (15, 4)
