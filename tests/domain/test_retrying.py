"""R18: records that were skipped or failed are tried again because a user asks for it."""

import asyncio
import contextvars
from datetime import UTC, datetime

import pytest

from connectors.base import Page
from domain import account, automatic_imports, database, retrying
from domain.account import Viewer
from domain.credentials import key_ring
from domain.enums import ExternalAccountHealth, ImportState, OutcomeCode, RunState, RunTrigger
from domain.errors import ErrorCode, Refused
from domain.models import (
    Account,
    AuditEntry,
    AutomaticImport,
    Contact,
    ExternalAccount,
    ImportRun,
    LedgerEntry,
    RecordOutcome,
    Tombstone,
)
from domain.retrying import Wish
from domain.undo import request
from tests import databases
from tests.configuration import Configure
from tests.jobs.scripted import Stage, make_stage, page, record


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()


async def viewer_of(stage: Stage) -> Viewer:
    found = await account.authenticate(await account.create_token(stage.account_id))
    assert found is not None
    return found


async def retry(stage: Stage, wish: Wish) -> retrying.Retried:
    return await retrying.retry(await viewer_of(stage), wish, queue=stage.queue)


async def undo_all(stage: Stage) -> None:
    """As undoing leaves them: the contacts are gone, the records UNDONE."""
    await Contact.all().delete()
    await Account.all().update(active_contacts=0)
    await database.fetch("UPDATE ledger SET state = 'UNDONE', code = 'UNDONE', contact_id = NULL")


async def tombstone(stage: Stage, email: str) -> None:
    """As a user's deletion leaves the address of a contact."""
    owner = await Account.get()
    key = key_ring().unseal(owner.email_hash_key, row=owner.id)
    await Tombstone.create(account_id=owner.id, email_hash=account.email_hash(key, email))


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def states() -> dict[str, tuple[str, str | None, bool]]:
    """State, code and whether it is due, of every record."""
    return {row.external_id: (row.state.value, row.code, row.due) async for row in LedgerEntry.all()}


async def outcomes_of(run: ImportRun) -> list[tuple[str, str, str | None]]:
    rows = await RecordOutcome.filter(run_id=run.id).order_by("id")
    return [(row.external_id, row.outcome.value, row.code) for row in rows]


async def test_a_record_whose_import_was_undone_comes_in_again_in_a_run_of_its_own(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    await undo_all(stage)
    [first] = await stage.runs(import_id)

    retried = await retry(stage, Wish(import_run_id=first.id))
    queued = (await stage.runs(import_id))[-1]
    cycles = await stage.cycle()

    run = (await stage.runs(import_id))[-1]
    assert (retried.count, dict(retried.not_retryable), retried.warnings) == (1, {}, [])
    assert (queued.trigger, queued.state) == (RunTrigger.RETRY, RunState.QUEUED)
    assert (cycles, stage.queue.woken) == (1, 1)
    assert await emails() == ["ann@example.com"]
    assert (run.id, run.state, run.read_count, run.created_count) == (queued.id, RunState.COMPLETED, 1, 1)
    assert await outcomes_of(run) == [("ann", "CREATED", None)]
    assert await states() == {"ann": ("LINKED", None, False)}


async def test_values_that_were_undone_are_written_again(stage: Stage) -> None:
    import_id = await stage.add_import(Page(records=[record("ann", first_name="Ann")], checkpoint={"at": 1}))
    await stage.cycle()
    await stage.next_window()
    changed = record("ann", "anna@example.com", first_name="Anna")
    stage.scripts.steps["main"] = [Page(records=[changed], checkpoint={"at": 2})]
    await stage.cycle()
    second, viewer = (await stage.runs(import_id))[1], await viewer_of(stage)
    await request.undo_run(viewer, second.id, and_later=False, queue=stage.queue)
    await stage.work()
    await automatic_imports.resume(viewer, import_id, queue=stage.queue)
    await stage.cycle()
    undone = await Contact.get()

    await retry(stage, Wish(import_run_id=second.id))
    await stage.cycle()

    contact = await Contact.get()
    assert (undone.first_name, undone.email) == ("Ann", "ann@example.com")
    assert (contact.first_name, contact.email) == ("Anna", "anna@example.com")
    assert await states() == {"ann": ("LINKED", None, False)}
    assert await outcomes_of((await stage.runs(import_id))[-1]) == [("ann", "UPDATED", None)]


async def test_a_retry_costs_one_of_the_cap_for_each_contact_written(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", "bob"))
    await stage.cycle()
    await undo_all(stage)

    await retry(stage, Wish(automatic_import_id=import_id))
    await stage.cycle()

    assert (await stage.external_account()).window_used == 4


async def test_what_the_cap_cuts_off_a_retry_comes_in_the_next_window(stage: Stage, configure: Configure) -> None:
    configure(cap=3)
    import_id = await stage.add_import(page("ann", "bob"))
    await stage.cycle()
    await undo_all(stage)
    await retry(stage, Wish(automatic_import_id=import_id))

    await stage.cycle()
    before = await emails()
    await stage.next_window()
    await stage.cycle()

    assert before == ["ann@example.com"]
    assert await emails() == ["ann@example.com", "bob@example.com"]


async def test_a_contact_deleted_here_comes_back_once_the_tombstone_is_lifted(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await tombstone(stage, "ann@example.com")
    await stage.cycle()
    [first] = await stage.runs(import_id)

    # Nothing of it is kept here: it is read again.
    stage.scripts.steps["main"] = [page("ann")]
    retried = await retry(stage, Wish(import_run_id=first.id))
    await stage.cycle()
    still_deleted = await states()
    await Tombstone.all().delete()
    stage.scripts.steps["main"] = [page("ann")]
    await retry(stage, Wish(import_run_id=first.id, codes=[OutcomeCode.DELETED_HERE]))
    await stage.cycle()

    assert await outcomes_of(first) == [("ann", "SKIPPED", "DELETED_HERE")]
    assert retried.warnings == [
        "1 of people who were deleted here: create the contacts first, or they stay away.",
        "The values of 1 are not kept here: all records are read again.",
    ]
    assert still_deleted == {"ann": ("SKIPPED", "DELETED_HERE", False)}
    assert await emails() == ["ann@example.com"]


async def test_a_record_that_fails_again_is_not_tried_for_ever(stage: Stage) -> None:
    import_id = await stage.add_import(Page(records=[record("ann", "no address")], checkpoint={"at": 1}))
    await stage.cycle()

    await retry(stage, Wish(automatic_import_id=import_id))
    await stage.cycle()
    await stage.next_window()
    await stage.cycle()

    runs = await stage.runs(import_id)
    assert [(run.trigger, run.read_count, run.skipped_count) for run in runs] == [
        (RunTrigger.CREATED, 1, 1),
        (RunTrigger.RETRY, 1, 1),
        (RunTrigger.SCHEDULE, 0, 0),
    ]
    assert await outcomes_of(runs[1]) == []  # nothing new became of it: it is only counted (R17)
    assert await states() == {"ann": ("SKIPPED", "INVALID_EMAIL", False)}


async def test_what_the_database_refused_is_read_again(stage: Stage) -> None:
    refused = Page(records=[record("ann", first_name="A\0nn"), record("bob")], checkpoint={"at": 1})
    import_id = await stage.add_import(refused)
    await stage.cycle()
    before = await states()
    stage.scripts.steps["main"] = [Page(records=[record("ann", first_name="A\0nn")], checkpoint={"at": 1})]

    retried = await retry(stage, Wish(automatic_import_id=import_id))
    await stage.cycle()
    failed_again = await states()
    stage.scripts.steps["main"] = [page("ann")]
    await retry(stage, Wish(automatic_import_id=import_id))
    await stage.cycle()

    assert before == {"ann": ("FAILED", "REJECTED_VALUE", False), "bob": ("LINKED", None, False)}
    assert (retried.count, retried.warnings) == (
        1,
        ["The values of 1 are not kept here: all records are read again."],
    )
    assert failed_again == before
    assert stage.scripts.checkpoints == [None, None, None]
    assert await emails() == ["ann@example.com", "bob@example.com"]
    assert [(run.trigger, run.state, run.failed_count) for run in await stage.runs(import_id)] == [
        (RunTrigger.CREATED, RunState.COMPLETED, 1),
        (RunTrigger.RETRY, RunState.COMPLETED, 1),
        (RunTrigger.RETRY, RunState.COMPLETED, 0),
    ]


async def test_what_is_to_be_read_again_is_asked_for_even_if_the_server_dies_in_the_middle(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    await database.fetch(
        "INSERT INTO ledger (account_id, external_account_id, automatic_import_id, external_id, record, digest, state,"
        " code, revision, run_id) SELECT $1, $2, $3, 'r' || lpad(n::text, 4, '0'), '{}', '\\x00', 'FAILED',"
        " 'REJECTED_VALUE', 1, gen_random_uuid() FROM generate_series(1, 501) n",
        stage.account_id, stage.external_account_id, import_id,
    )  # fmt: skip
    outside = contextvars.copy_context()
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM ledger WHERE external_id = 'r0501' FOR UPDATE")
        # Each in a context of its own: else it would share this transaction.
        wish = Wish(automatic_import_id=import_id)
        retrying_all = asyncio.create_task(retry(stage, wish), context=outside.copy())
        await asyncio.create_task(databases.somebody_waits(), context=outside.copy())
        retrying_all.cancel()
        with pytest.raises(asyncio.CancelledError):
            await retrying_all

    stored = await AutomaticImport.get(id=import_id)
    assert stored.checkpoint is None
    assert (stored.backlog, stored.revision) == (True, 2)
    assert await LedgerEntry.filter(digest=b"").count() == 500
    assert [(run.trigger, run.state) for run in await stage.runs(import_id)][1:] == [
        (RunTrigger.RETRY, RunState.QUEUED)
    ]


async def test_what_trying_again_cannot_mend_is_told_with_what_can(stage: Stage) -> None:
    records = [record("1", "ann@example.com"), record("2", "ann@example.com"), record("3", None), record("4", "none")]
    import_id = await stage.add_import(Page(records=records, checkpoint={"at": 1}))
    await stage.cycle()

    retried = await retry(stage, Wish(automatic_import_id=import_id))

    assert retried.count == 1
    assert dict(retried.not_retryable) == {OutcomeCode.DUPLICATE_EMAIL: 1, OutcomeCode.NO_EMAIL: 1}
    assert retried.warnings == [
        "1 with the address of another record that came first: they take its place by themselves when it gives it up.",
        "1 without an email address: add one at the service, and they come in by themselves.",
    ]
    assert {name for name, (_, _, due) in (await states()).items() if due} == {"4"}


async def test_only_the_records_and_codes_that_are_wished_for_are_tried(stage: Stage) -> None:
    records = [record("1", "none"), record("2", "none"), record("3", "none")]
    import_id = await stage.add_import(Page(records=records, checkpoint={"at": 1}))
    await tombstone(stage, "ann@example.com")
    stage.scripts.steps["main"].append(page("ann"))
    await stage.cycle()

    await retry(
        stage, Wish(automatic_import_id=import_id, codes=[OutcomeCode.INVALID_EMAIL], external_ids=["2", "ann"])
    )

    assert {name for name, (_, _, due) in (await states()).items() if due} == {"2"}


async def test_a_run_retries_its_own_records_only(stage: Stage) -> None:
    import_id = await stage.add_import(Page(records=[record("1", "none")], checkpoint={"at": 1}))
    await stage.cycle()
    await stage.next_window()
    stage.scripts.steps["main"] = [Page(records=[record("2", "none")], checkpoint={"at": 2})]
    await stage.cycle()
    second = (await stage.runs(import_id))[1]

    await retry(stage, Wish(import_run_id=second.id))

    assert {name for name, (_, _, due) in (await states()).items() if due} == {"2"}


async def test_a_failing_import_is_tried_at_once(stage: Stage) -> None:
    import_id = await stage.add_import(Page(records=[record("1", "none")], checkpoint={"at": 1}))
    await stage.cycle()
    await AutomaticImport.all().update(state=ImportState.FAILING, next_attempt_at=datetime(2099, 1, 1, tzinfo=UTC))

    await retry(stage, Wish(automatic_import_id=import_id))
    await stage.cycle()

    assert (await stage.runs(import_id))[-1].state == RunState.COMPLETED
    assert (await stage.runs(import_id))[-1].skipped_count == 1


@pytest.mark.parametrize(
    ("state", "health", "code"),
    [
        (ImportState.PAUSED, ExternalAccountHealth.HEALTHY, ErrorCode.PAUSED),
        (ImportState.NEEDS_REVIEW, ExternalAccountHealth.HEALTHY, ErrorCode.NEEDS_REVIEW),
        (ImportState.ACTIVE, ExternalAccountHealth.NEEDS_RECONNECT, ErrorCode.NEEDS_RECONNECT),
        (ImportState.ACTIVE, ExternalAccountHealth.DISCONNECTED, ErrorCode.NEEDS_RECONNECT),
    ],
)
async def test_an_import_that_cannot_run_retries_nothing(
    stage: Stage, state: ImportState, health: ExternalAccountHealth, code: ErrorCode
) -> None:
    import_id = await stage.add_import(Page(records=[record("1", "none")], checkpoint={"at": 1}))
    await stage.cycle()
    await AutomaticImport.all().update(state=state)
    await ExternalAccount.all().update(health=health)

    with pytest.raises(Refused) as refused:
        await retry(stage, Wish(automatic_import_id=import_id))

    assert [problem.code for problem in refused.value.problems] == [code]
    assert await states() == {"1": ("SKIPPED", "INVALID_EMAIL", False)}
    assert len(await stage.runs(import_id)) == 1
    assert (await AuditEntry.all().count(), stage.queue.woken) == (0, 0)


async def test_nothing_to_try_again_is_told_with_the_reason(stage: Stage) -> None:
    import_id = await stage.add_import(Page(records=[record("1", None), record("ann")], checkpoint={"at": 1}))
    await stage.cycle()

    with pytest.raises(Refused) as refused:
        await retry(stage, Wish(automatic_import_id=import_id))

    assert str(refused.value) == (
        "There is nothing to try again. 1 without an email address: add one at the service,"
        " and they come in by themselves."
    )
    assert len(await stage.runs(import_id)) == 1


async def test_more_ids_than_one_call_takes_are_refused(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))

    with pytest.raises(Refused, match="Give at most 500 ids, not 501, or none for all"):
        await retry(stage, Wish(automatic_import_id=import_id, external_ids=["x"] * 501))


async def test_an_id_that_cannot_be_is_refused(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))

    with pytest.raises(Refused, match="Remove the NUL character"):
        await retry(stage, Wish(automatic_import_id=import_id, external_ids=["a\0"]))


async def test_thousands_are_retried_in_portions_and_once_in_the_audit_trail_each(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann"))
    await stage.cycle()
    await database.fetch(
        "INSERT INTO ledger (account_id, external_account_id, automatic_import_id, external_id, record, digest, state,"
        " code, revision, run_id) SELECT $1, $2, $3, 'r' || n, '{\"email\": \"none\"}', '\\x00', 'SKIPPED',"
        " 'INVALID_EMAIL', 1, gen_random_uuid() FROM generate_series(1, 1201) n",
        stage.account_id, stage.external_account_id, import_id,
    )  # fmt: skip

    retried = await retry(stage, Wish(automatic_import_id=import_id))

    entries = await AuditEntry.filter(action="RECORDS_RETRIED").order_by("id")
    assert retried.count == 1201
    assert await LedgerEntry.filter(due=True).count() == 1201
    assert [entry.details for entry in entries] == [{"count": 500}, {"count": 500}, {"count": 201}]
