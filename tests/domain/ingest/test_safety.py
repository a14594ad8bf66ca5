"""R14 and R15: one transaction per page, fenced; what the database refuses is isolated."""

import asyncio
from collections import Counter
from contextvars import copy_context
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from domain import contacts, database
from domain.enums import Outcome
from domain.errors import LeaseLost, TurnSuperseded
from domain.ingest import storing
from domain.ingest.known import load_entries
from domain.models import AutomaticImport, Contact, ExternalAccount, ImportRun
from domain.records import FieldSpec, FieldType
from tests.domain.source import Source, make_source, record
from tests.domain.undoing import viewer
from tests.fakes import RecordingQueue

TABLES = ("contact", "ledger", "outcome", "import_run")


async def trace() -> tuple[int, int, int, int]:
    """How many contacts, ledger rows, outcomes and runs there are."""
    counts = [(await database.fetch(f"SELECT count(*) FROM {table}"))[0]["count"] for table in TABLES]
    return counts[0], counts[1], counts[2], counts[3]


async def test_a_page_of_a_worker_that_was_taken_over_leaves_no_trace(source: Source) -> None:
    await ExternalAccount.filter(account_id=source.account_id).update(lease_token=uuid4())

    with pytest.raises(LeaseLost):
        await source.send(record("ann"))

    assert await trace() == (0, 0, 0, 0)


@pytest.mark.parametrize("change", ["revision = 2", "deleted_at = now()"])
async def test_an_edit_or_deletion_during_a_page_wins_over_it(source: Source, change: str) -> None:
    await database.fetch(f"UPDATE automatic_import SET {change}")

    with pytest.raises(TurnSuperseded):
        await source.send(record("ann"))

    assert await trace() == (0, 0, 0, 0)
    assert (await AutomaticImport.get()).checkpoint is None


async def test_a_failure_in_the_last_statement_takes_the_whole_page_back(source: Source) -> None:
    await database.fetch(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = 'XX000'; END $$"
    )
    await database.fetch(
        "CREATE TRIGGER fail BEFORE UPDATE OF read_count ON import_run FOR EACH ROW EXECUTE FUNCTION fail()"
    )

    try:
        with pytest.raises(asyncpg.InternalServerError, match="no"):
            await source.send(record("ann"))
    finally:
        await database.fetch("DROP FUNCTION fail() CASCADE")

    assert await trace() == (0, 0, 0, 0)
    assert (await AutomaticImport.get()).checkpoint is None


@pytest.mark.parametrize(
    "poison",
    [
        {"first_name": "A\0nn"},
        {"values": {"note": "a\0b"}},
        {"first_name": "lone surrogate \ud800"},
        {"phone": 12345},
    ],
    ids=["nul-in-name", "nul-in-value", "surrogate", "no-text"],
)
async def test_a_record_that_the_database_refuses_is_isolated(source: Source, poison: dict[str, Any]) -> None:
    page = [record(f"good{n}") for n in range(9)]
    page.insert(4, record("bad", **poison))

    stored = await source.send(*page, checkpoint={"at": 10})

    assert stored.counts == Counter({Outcome.CREATED: 9, Outcome.FAILED: 1})
    assert (await source.ledger())["bad"] == ("FAILED", "REJECTED_VALUE")
    assert await Contact.all().count() == 9
    assert await source.checkpoint() == {"at": 10}


async def test_a_repeated_failure_is_counted_without_a_row_and_a_mended_record_is_stored(source: Source) -> None:
    await source.send(record("bad", first_name="A\0nn"))

    again = await source.send(record("bad", first_name="A\0nn"))
    mended = await source.send(record("bad", first_name="Ann"))

    assert again.counts == Counter({Outcome.FAILED: 1})
    assert mended.counts == Counter({Outcome.CREATED: 1})
    assert await source.outcomes() == [("bad", "FAILED", "REJECTED_VALUE"), ("bad", "CREATED", None)]


@pytest.mark.parametrize("external_id", ["a\0b", "x" * 5000, "\ud800"], ids=["nul", "long", "surrogate"])
async def test_an_id_that_fits_no_index_is_kept_as_its_hash(source: Source, external_id: str) -> None:
    await source.send(record(external_id, "ann@example.com"))

    stored = await source.send(record(external_id, "ann@example.com"))

    assert stored.counts == Counter({Outcome.UNCHANGED: 1})
    assert [key[:7] for key in await source.ledger()] == ["sha256:"]


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 Zoë",
        "محمد عبد الله",
        "\u202eevil\u202c",
        "'; DROP TABLE contact; --",
    ],
    ids=["emoji", "right-to-left", "override", "sql"],
)
async def test_any_text_is_stored_as_it_came(source: Source, name: str) -> None:
    await source.send(record("ann", first_name=name, values={"note": name}))

    contact = await Contact.get()
    assert contact.first_name == name
    assert list(contact.field_values.values()) == [name]


async def test_a_note_of_a_megabyte_is_stored_whole(source: Source) -> None:
    note = "0123456789abcdef" * 65_536

    await source.send(record("ann", values={"note": note}))
    again = await source.send(record("ann", values={"note": note}))

    assert list((await Contact.get()).field_values.values()) == [note]
    assert again.counts == Counter({Outcome.UNCHANGED: 1})


@pytest.mark.parametrize("key", ["a\0b", "".join(f"{n:x}" for n in range(2000))], ids=["nul", "long"])
async def test_a_field_key_that_fits_no_index_is_noted_and_its_record_stored(source: Source, key: str) -> None:
    source.specs = {key: FieldSpec(key=key, title=key, type=FieldType.TEXT)}

    stored = await source.send(record("ann", first_name="Ann", values={key: "x"}), record("bob"))

    rows = await database.fetch("SELECT outcome, notes::text FROM outcome WHERE external_id = 'ann'")
    expected = ("FAILED", "[]") if "\0" in key else ("CREATED", '["FIELD_LIMIT"]')
    assert [(row["outcome"], row["notes"]) for row in rows] == [expected]
    assert stored.consumed == 2


async def test_a_page_of_more_than_500_records_is_stored_in_parts(source: Source) -> None:
    page = [record(f"r{n}", None) for n in range(1203)]

    consumed: list[int] = []
    while sum(consumed) < len(page):
        consumed.append((await source.send(*page, start=sum(consumed), checkpoint={"at": 1203})).consumed)

    assert consumed == [500, 500, 203]
    assert await source.checkpoint() == {"at": 1203}
    assert (await ImportRun.get()).skipped_count == 1203


async def test_nothing_of_one_account_is_seen_or_changed_by_another(source: Source) -> None:
    other = await make_source("Other")
    source.specs = other.specs = {"note": FieldSpec(key="note", title="Note", type=FieldType.TEXT)}
    await source.send(record("1", "ann@example.com", first_name="Ann", values={"note": "a"}))

    await other.send(record("1", "ann@example.com", first_name="Bea", values={"note": "b"}))

    contacts = {contact.account_id: contact async for contact in Contact.all()}
    assert contacts[source.account_id].first_name == "Ann"
    assert contacts[other.account_id].first_name == "Bea"
    assert contacts[source.account_id].field_values.keys() != contacts[other.account_id].field_values.keys()


async def test_a_page_is_stored_however_many_are_deleted_here_one_by_one_meanwhile(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.send(*(record(f"p{n}") for n in range(9)))
    leaving, outside = iter(await Contact.all().order_by("email")), copy_context()

    async def delete_meanwhile(*arguments: Any) -> Any:
        found = await load_entries(*arguments)
        # In a context of its own: else it would share the page's transaction.
        deleting = contacts.delete(viewer(source), next(leaving).id, queue=RecordingQueue())
        await asyncio.create_task(deleting, context=outside.copy())
        return found

    monkeypatch.setattr(storing, "load_entries", delete_meanwhile)
    stored = await source.send(*(record(f"p{n}", first_name="New") for n in range(9)))

    assert stored.counts == Counter({Outcome.UPDATED: 8, Outcome.SKIPPED: 1})
    assert (await source.ledger())["p0"] == ("SKIPPED", "DELETED_HERE")


async def test_a_ledger_row_whose_contact_is_gone_holds_up_no_page(source: Source) -> None:
    await source.send(record("ann"))
    await database.fetch("DELETE FROM contact")

    stored = await source.send(record("ann", first_name="Ann"), record("bob"))

    assert stored.counts == Counter({Outcome.CREATED: 2})
    assert [contact.first_name async for contact in Contact.all().order_by("email")] == ["Ann", None]


async def test_somebody_deleted_here_stays_so_though_the_record_could_not_be_stored_for_a_while(source: Source) -> None:
    await source.send(record("ann"))
    await contacts.delete(viewer(source), (await Contact.get()).id, queue=RecordingQueue())

    await source.send(record("ann", first_name="A\0nn"))
    await source.send(record("ann", "ann@new.example"))

    assert await source.ledger() == {"ann": ("SKIPPED", "DELETED_HERE")}
    assert await Contact.all().count() == 0


async def test_nobody_who_is_deleted_here_while_a_page_is_stored_comes_back_under_another_address(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.send(record("ann"))
    ann, outside = await Contact.get(), copy_context()

    async def delete_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        found = await load_entries(*arguments)
        # In a context of its own: else it would share the page's transaction.
        deleting = contacts.delete(viewer(source), ann.id, queue=RecordingQueue())
        await asyncio.create_task(deleting, context=outside)
        return found

    monkeypatch.setattr(storing, "load_entries", delete_meanwhile)
    await source.send(record("ann", "ann@new.example"), record("bob"))

    assert [contact.email async for contact in Contact.all()] == ["bob@example.com"]
    assert await source.ledger() == {"ann": ("SKIPPED", "DELETED_HERE"), "bob": ("LINKED", None)}
