"""Whatever a run did, undoing it right away leaves contacts as they were before it, but for consent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import contacts as book
from domain import database, subscriptions
from domain.contacts import Given
from domain.enums import ContactStatus
from domain.models import Contact, ImportUndo
from domain.records import Record, SourceConsent
from tests import databases
from tests.domain.source import Source, add_import, make_source
from tests.domain.undoing import assert_active_contacts_are_counted, run, undo, viewer
from tests.factories import make_list, make_tag
from tests.fakes import RecordingQueue

ORDER = [ContactStatus.BOUNCED, ContactStatus.UNSUBSCRIBED, ContactStatus.UNCONFIRMED, ContactStatus.ACTIVE]
ADDRESSES = [None, *(f"{name}@example.com" for name in "abcd"), "A@example.com"]
RECORDS = st.builds(
    Record,
    external_id=st.sampled_from("123456"),
    email=st.sampled_from(ADDRESSES),
    first_name=st.sampled_from([None, "Ann", "Bob"]),
    phone=st.sampled_from([None, "1", "2"]),
    consent=st.sampled_from(list(SourceConsent)),
    values=st.fixed_dictionaries(
        {}, optional={"vip": st.sampled_from([None, True]), "total": st.sampled_from([None, 1, 2.5])}
    ),
)
PAGES = st.lists(RECORDS, max_size=6, unique_by=lambda record: record.external_id)
EDITS = st.one_of(
    st.tuples(st.just("name"), st.sampled_from("abcd"), st.sampled_from(["Eve", "Ann"])),
    st.tuples(st.just("move"), st.sampled_from("abcd"), st.sampled_from("abcde")),
    st.tuples(st.just("status"), st.sampled_from("abcd"), st.sampled_from(list(ContactStatus))),
    st.tuples(st.just("delete"), st.sampled_from("abcd"), st.none()),
)
HISTORIES = st.lists(st.tuples(st.booleans(), PAGES, st.lists(EDITS, max_size=2)), max_size=3)
Edit = tuple[str, str, Any]
History = Sequence[tuple[bool, Sequence[Record], Sequence[Edit]]]

CONTACTS = """
SELECT c.id, email, email_key, first_name, last_name, phone, status, field_values::text AS field_values, edited_at,
    ARRAY(SELECT tag_id::text FROM contact_tag t WHERE t.contact_id = c.id ORDER BY 1) AS tags,
    (SELECT coalesce(jsonb_object_agg(list_id, s.status), '{}')::text FROM subscription s WHERE s.contact_id = c.id)
        AS lists
FROM contact c WHERE account_id = $1
"""
DANGLING = """
SELECT count(*) FROM ledger l WHERE l.contact_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM contact c WHERE c.account_id = l.account_id AND c.id = l.contact_id)
"""


async def snapshot(source: Source) -> dict[str, dict[str, Any]]:
    rows = await database.fetch(CONTACTS, source.account_id)
    return {
        str(row["id"]): dict(row)
        | {"field_values": orjson.loads(row["field_values"]), "lists": orjson.loads(row["lists"])}
        for row in rows
    }


async def change(source: Source, edit: Edit) -> None:
    """A user changes something, as far as it can be."""
    what, name, value = edit
    found = await Contact.get_or_none(account_id=source.account_id, email_key=f"{name}@example.com")
    if found is None:
        return
    queue = RecordingQueue()
    match what:
        case "name":
            await book.update(viewer(source), found.id, Given(first_name=value), queue=queue)
        case "move" if not await Contact.exists(account_id=source.account_id, email_key=f"{value}@example.com"):
            await book.update(viewer(source), found.id, Given(email=f"{value}@example.com"), queue=queue)
        case "status":
            await subscriptions.set_status(viewer(source), found.id, value, queue=queue)
        case "delete":
            await book.delete(viewer(source), found.id, queue=queue)


async def begin(history: History) -> Source:
    """Two imports of one external account, each with a list and a tag, and what happened so far."""
    source = await make_source()
    for each in (source, other := await add_import(source)):
        made_list, made_tag = await make_list(source.account_id), await make_tag(source.account_id)
        await each.target(list_id=made_list.id, tag_id=made_tag.id)
    for of_other, records, edits in history:
        if records:
            await run(other if of_other else source, *records)
        for edit in edits:
            await change(source, edit)
    return source


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, PAGES.filter(bool))
def test_undone_right_away_a_run_leaves_contacts_as_they_were_but_for_consent(
    history: History, page: Sequence[Record]
) -> None:
    asyncio.run(in_database(lambda: undo_right_away(history, page)))


async def undo_right_away(history: History, page: Sequence[Record]) -> None:
    source = await begin(history)
    before = await snapshot(source)
    run_id = await run(source, *page)
    imported = await snapshot(source)

    undo_id = await undo(source, run_id)

    after = await snapshot(source)
    assert after.keys() == before.keys()
    buried = await database.fetch("SELECT contact_id FROM undone_record WHERE code = 'DELETED_HERE'")
    # Somebody who was deleted here came to their address in the same page: it is not to be mailed any more.
    for contact_id in {str(row["contact_id"]) for row in buried}:
        before[contact_id] |= {name: imported[contact_id][name] for name in ("email", "email_key")}
    for contact_id, was in before.items():
        assert_only_consent_differs(was, imported[contact_id], after[contact_id])
    await assert_is_whole(source, undo_id)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, PAGES.filter(bool), st.lists(EDITS, min_size=1, max_size=3))
def test_undone_later_a_run_leaves_what_users_did_since(
    history: History, page: Sequence[Record], edits: Sequence[Edit]
) -> None:
    asyncio.run(in_database(lambda: undo_after_edits(history, page, edits)))


async def undo_after_edits(history: History, page: Sequence[Record], edits: Sequence[Edit]) -> None:
    source = await begin(history)
    before = await snapshot(source)
    run_id = await run(source, *page)
    imported = await snapshot(source)
    for edit in edits:
        await change(source, edit)
    edited = await snapshot(source)

    undo_id = await undo(source, run_id)

    after = await snapshot(source)
    for contact_id, was in edited.items():
        touched = contact_id in imported and was["edited_at"] != imported[contact_id]["edited_at"]
        if contact_id not in after:
            assert contact_id not in before
            assert not touched
            continue
        now = after[contact_id]
        assert ORDER.index(now["status"]) <= ORDER.index(was["status"])
        for name in ("first_name", "phone"):
            # By value: what is not as the run left it stays, and nothing else comes than what was before it.
            if was[name] != imported.get(contact_id, was)[name]:
                assert now[name] == was[name]
            assert now[name] in (was[name], before.get(contact_id, was)[name])
    assert before.keys() & edited.keys() <= after.keys()
    await assert_is_whole(source, undo_id)


def assert_only_consent_differs(was: dict[str, Any], imported: dict[str, Any], now: dict[str, Any]) -> None:
    consent = {"status", "lists"}
    assert {key: now[key] for key in now.keys() - consent} == {key: was[key] for key in was.keys() - consent}
    # Never higher than before undoing, nor than before the run.
    for reference in (was, imported):
        assert ORDER.index(now["status"]) <= ORDER.index(reference["status"])
    gained = now["lists"].keys() - was["lists"].keys()
    assert {now["lists"][each] for each in gained} <= {"UNSUBSCRIBED", "BOUNCED"}
    # An address that the run moved to may have declined lists: consent is never raised, by undoing neither.
    assert now["lists"].keys() >= was["lists"].keys()
    for each, status in was["lists"].items():
        assert ORDER.index(now["lists"][each]) <= ORDER.index(status)


async def assert_is_whole(source: Source, undo_id: Any) -> None:
    """Every outcome has its result, the count of ACTIVE contacts is true, and the ledger points nowhere."""
    done = await ImportUndo.get(id=undo_id)
    [results] = await database.fetch("SELECT count(*) FROM undone_record WHERE undo_id = $1", undo_id)
    [outcomes] = await database.fetch("SELECT count(*) FROM outcome WHERE run_id = ANY($1::uuid[])", done.run_ids)
    [dangling] = await database.fetch(DANGLING)
    assert done.state == "COMPLETED"
    assert sum(done.counts.values()) == done.total == results["count"] == outcomes["count"]
    assert dangling["count"] == 0
    await assert_active_contacts_are_counted(source)


async def in_database(work: Callable[[], Awaitable[None]]) -> None:
    await database.open_database(await databases.emptied_database())
    try:
        await work()
    finally:
        await database.close_database()
