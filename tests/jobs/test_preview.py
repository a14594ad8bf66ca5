"""R21: a preview reads as an import would, writes nothing but itself, and is polite with the service."""

import asyncio
import contextvars
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from connectors.base import (
    AccessRevokedError,
    CheckpointExpiredError,
    Page,
    TransientError,
    UnexpectedResponseError,
)
from domain import automatic_imports, contacts, database, previews
from domain.account import Viewer
from domain.enums import (
    ContactStatus,
    DeletionPolicy,
    Outcome,
    OutcomeCode,
    OverwritePolicy,
    ReviewKind,
    TaskKind,
    TaskState,
)
from domain.models import Account, BackgroundTask, Contact, ExternalAccount
from domain.previews import Deletions, ForeseenReview, ImportPreviewRow, LimitEffect, PreviewRequest
from domain.records import FieldSpec, FieldType, SourceConsent
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.factories import make_contact, make_tag, rows_of
from tests.jobs.scripted import Stage, Step, make_stage, page, record

VIP = FieldSpec(key="vip", title="VIP", type=FieldType.BOOLEAN)


async def ask(stage: Stage, *steps: Step, **wanted: Any) -> UUID:
    """Ask for a preview of what the steps send."""
    stage.scripts.steps["main"] = list(steps)
    viewer = Viewer(account_id=stage.account_id, token_id=stage.account_id, scopes=frozenset())
    request = PreviewRequest(external_account_id=stage.external_account_id, **wanted)
    catalogue = ConnectorCatalogue(registered=stage.context["services"], allow_private_hosts=False)
    return await previews.request(viewer, request, catalogue=catalogue, queue=stage.queue)


async def shown(stage: Stage, preview_id: UUID) -> ImportPreviewRow:
    return (await previews.by_ids(stage.account_id, [preview_id]))[preview_id]


async def test_a_preview_tells_what_an_import_would_do(stage: Stage) -> None:
    await make_contact(stage.account_id, "known@example.com", first_name="Old")
    await Account.filter(id=stage.account_id).update(active_contacts=1)
    records = [
        record("1", "known@example.com", first_name="New"),
        record("2", values={"vip": True}),
        record("3", "ANN@example.com"),
        record("4", "ann@example.com"),
        record("5", None),
        record("6", "nobody", consent=SourceConsent.DENIED),
        record("7", first_name="A\0nn"),
    ]

    preview_id = await ask(stage, Page(records=records, checkpoint={"at": 1}, fields={"vip": VIP}))
    await stage.work()

    preview = await shown(stage, preview_id)
    assert (preview.state, preview.error_code, preview.is_estimate) == (TaskState.COMPLETED, None, False)
    assert [(each.outcome, each.code, each.count) for each in preview.reasons] == [
        (Outcome.CREATED, None, 2),
        (Outcome.UPDATED, None, 1),
        (Outcome.SKIPPED, OutcomeCode.DUPLICATE_EMAIL, 1),
        (Outcome.SKIPPED, OutcomeCode.INVALID_EMAIL, 1),
        (Outcome.SKIPPED, OutcomeCode.NO_EMAIL, 1),
        (Outcome.FAILED, OutcomeCode.REJECTED_VALUE, 1),
    ]
    assert [(each.title, each.type, each.personalization_tag) for each in preview.fields] == [
        ("VIP", FieldType.BOOLEAN, "SCRIPTED_VIP")
    ]
    assert preview.limit is not None
    assert (preview.limit.active, preview.limit.active_after, preview.limit.limit) == (1, 3, 10_000)
    assert (preview.cycles, preview.records_read) == (1, 7)
    assert [(each.external_id, each.email) for each in preview.examples][:2] == [
        ("1", "known@example.com"),
        ("2", "2@example.com"),
    ]


async def test_a_preview_writes_nothing_but_itself(stage: Stage) -> None:
    await limit_to(2)
    import_id = await stage.add_import(
        page("1", "2", "5", sweep=True, complete=True), script="main", deletion_policy=DeletionPolicy.UNSUBSCRIBE
    )
    await stage.cycle()
    await limit_to(3)
    before = await rows_of(stage.account_id)
    records = [
        record("1", first_name="Ann"),
        record("3", values={"vip": True}),
        record("4", consent=SourceConsent.DENIED),
    ]

    whole = Page(
        records=records, checkpoint={"at": 1}, fields={"vip": VIP}, deleted_ids=["1"], sweep=True, complete=True
    )
    preview_id = await ask(stage, whole, automatic_import_id=import_id)
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.limit is not None
    assert (preview.limit.let_in, preview.deletions) == (2, Deletions(deleted=1, unsubscribed=1, missing=2))
    after = await rows_of(stage.account_id)
    assert (await shown(stage, preview_id)).state is TaskState.COMPLETED
    assert {table for table in before if before[table] != after[table]} == {"background_task", "import_preview"}


async def test_a_preview_neither_waits_for_locks_nor_holds_any(stage: Stage) -> None:
    await stage.add_import(page("1"), script="earlier")
    await stage.cycle()
    asked = await ask(stage, Page(records=[record("1", first_name="Ann"), record("2")], checkpoint={"at": 1}))

    async with database.transaction() as connection:
        for table in ("external_account", "automatic_import", "account", "contact", "ledger"):
            await connection.execute(f"SELECT FROM {table} FOR UPDATE")
        # Tasks of its own: inside the transaction's, everything would share its connection.
        await asyncio.create_task(stage.work(), context=contextvars.Context())

    assert [each.count for each in (await shown(stage, asked)).reasons] == [1, 1]


async def test_the_lease_of_a_cycle_is_left_alone(stage: Stage) -> None:
    lease = uuid4()
    row = ExternalAccount.filter(id=stage.external_account_id)
    await row.update(lease_token=lease, lease_expires_at=datetime.now(UTC) + timedelta(minutes=1))

    preview_id = await ask(stage, page("1"))
    await stage.work()

    assert (await shown(stage, preview_id)).state is TaskState.COMPLETED
    assert (await row.get()).lease_token == lease


async def test_progress_shows_after_every_page(stage: Stage) -> None:
    seen: list[tuple[TaskState, int, int | None, int]] = []

    async def look() -> None:
        now = await shown(stage, preview_id)
        seen.append((now.state, now.records_read, now.remaining, now.count(Outcome.CREATED)))

    preview_id = await ask(stage, look, page("1", "2", remaining=1), look, page("3", remaining=0), look)
    assert (await shown(stage, preview_id)).state is TaskState.QUEUED
    await stage.work()

    assert seen == [
        (TaskState.RUNNING, 0, None, 0),
        (TaskState.RUNNING, 2, 1, 2),
        (TaskState.RUNNING, 3, 0, 3),
    ]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            AccessRevokedError("The shop says no."),
            "ACCESS_REVOKED",
            "The shop says no. Reconnect the external account, then ask for a new preview.",
        ),
        (
            UnexpectedResponseError("The shop sent HTML."),
            "UNEXPECTED_RESPONSE",
            "The shop sent HTML. Ask for a new preview.",
        ),
        (
            TransientError("The shop is closed.", retry_after=timedelta(hours=1)),
            "SERVICE_UNAVAILABLE",
            "The shop is closed. Ask for a new preview later.",
        ),
    ],
)
async def test_what_cannot_be_read_fails_and_says_what_to_do(
    stage: Stage, error: Exception, code: str, message: str
) -> None:
    preview_id = await ask(stage, page("1"), error)
    await stage.work()

    preview = await shown(stage, preview_id)
    assert (preview.state, preview.error_code, preview.error_message) == (TaskState.FAILED, code, message)
    assert preview.records_read == 1
    assert (await ExternalAccount.get(id=stage.external_account_id)).health == "HEALTHY"
    [task] = await BackgroundTask.all()
    assert (task.state, task.progress) == ("COMPLETED", {})


async def test_a_disconnected_external_account_fails_at_once(stage: Stage) -> None:
    await ExternalAccount.filter(id=stage.external_account_id).update(credentials=None)

    preview_id = await ask(stage, page("1"))
    await stage.work()

    assert (await shown(stage, preview_id)).error_code == "NEEDS_RECONNECT"
    assert stage.scripts.checkpoints == []


async def later(stage: Stage) -> timedelta:
    """The task's wait is over. Returns how long it was."""
    [row] = await database.fetch(
        "UPDATE background_task t SET lease_expires_at = now() FROM background_task was WHERE was.id = t.id"
        " AND t.state = 'RUNNING' RETURNING was.lease_expires_at - now() AS wait"
    )
    wait: timedelta = row["wait"]
    await stage.work()
    return wait


async def test_a_busy_service_is_left_alone_as_long_as_it_asks_and_nothing_is_lost(stage: Stage) -> None:
    busy = TransientError("Busy.", retry_after=timedelta(minutes=2))
    preview_id = await ask(stage, page("1", "2"), busy, Page(records=[record("3", "1@example.com")], checkpoint={}))
    await stage.work()
    waiting = await shown(stage, preview_id)
    assert await stage.work() == 0

    wait = await later(stage)

    done = await shown(stage, preview_id)
    assert (waiting.state, waiting.count(Outcome.CREATED)) == (TaskState.RUNNING, 2)
    assert waiting.waiting_until is not None
    assert timedelta(minutes=1) < wait <= timedelta(minutes=2)
    assert (done.state, done.waiting_until) == (TaskState.COMPLETED, None)
    # The records before the wait are remembered: the third has the address of the first.
    assert [(each.outcome, each.code, each.count) for each in done.reasons] == [
        (Outcome.CREATED, None, 2),
        (Outcome.SKIPPED, OutcomeCode.DUPLICATE_EMAIL, 1),
    ]
    assert stage.scripts.checkpoints == [None, {"at": "2"}]


async def test_a_service_that_never_answers_is_given_up(stage: Stage) -> None:
    preview_id = await ask(stage, *[TransientError("Busy.")] * 9)
    await stage.work()
    waits = [round((await later(stage)).total_seconds()) for _ in range(5)]

    preview = await shown(stage, preview_id)
    assert [round(wait / 15) for wait in waits] == [1, 2, 4, 8, 16]
    assert (preview.state, preview.error_code) == (TaskState.FAILED, "SERVICE_UNAVAILABLE")
    assert len(stage.scripts.checkpoints) == 6


async def test_a_service_that_asked_a_cycle_for_patience_is_not_asked_by_a_preview(stage: Stage) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    await ExternalAccount.filter(id=stage.external_account_id).update(not_before=until)

    preview_id = await ask(stage, page("1"))
    await stage.work()

    assert stage.scripts.checkpoints == []
    assert (await shown(stage, preview_id)).state is TaskState.RUNNING


async def test_a_service_that_asked_for_more_patience_than_anybody_has_is_not_waited_for(stage: Stage) -> None:
    until = datetime(2099, 1, 1, 7, 30, tzinfo=UTC)
    await ExternalAccount.filter(id=stage.external_account_id).update(not_before=until)

    preview_id = await ask(stage, page("1"))
    await stage.work()

    preview = await shown(stage, preview_id)
    assert (preview.state, preview.error_code, preview.error_message) == (
        TaskState.FAILED,
        "SERVICE_UNAVAILABLE",
        "The service wants to be left alone until 2099-01-01 07:30 UTC. Ask for a new one then.",
    )
    assert stage.scripts.checkpoints == []


async def test_a_page_that_says_wait_is_waited_for(stage: Stage) -> None:
    preview_id = await ask(stage, page("1", wait=timedelta(minutes=1)), page("2"))
    await stage.work()
    before = (await shown(stage, preview_id)).records_read
    await later(stage)

    preview = await shown(stage, preview_id)
    assert (before, preview.records_read, preview.state) == (1, 2, TaskState.COMPLETED)


async def test_a_worker_that_dies_costs_no_more_than_its_own_step(stage: Stage) -> None:
    async def die() -> None:
        raise asyncio.CancelledError

    preview_id = await ask(stage, page("1", wait=timedelta(seconds=1)), page("2"), die)
    await stage.work()
    with pytest.raises(asyncio.CancelledError):
        await later(stage)
    stage.scripts.steps["main"] = [page("2"), page("3")]
    await later(stage)

    preview = await shown(stage, preview_id)
    assert (preview.state, preview.count(Outcome.CREATED)) == (TaskState.COMPLETED, 3)
    assert stage.scripts.checkpoints == [None, {"at": "1"}, {"at": "1"}]


async def erase(stage: Stage, contact_id: UUID) -> None:
    viewer = Viewer(account_id=stage.account_id, token_id=stage.account_id, scopes=frozenset())
    await contacts.delete(viewer, contact_id, erase=True, queue=stage.queue)


async def test_nothing_of_an_erased_contact_is_left_in_a_preview_under_way_which_begins_again(stage: Stage) -> None:
    ann = await make_contact(stage.account_id, "ann@example.com", status=ContactStatus.UNCONFIRMED)
    preview_id = await ask(stage, page("ann", wait=timedelta(minutes=1)))
    await stage.work()
    task = await BackgroundTask.get(kind=TaskKind.PREVIEW)
    kept = orjson.dumps(task.progress).decode()

    await erase(stage, ann.id)

    after = await BackgroundTask.get(kind=TaskKind.PREVIEW)
    assert "ann@example.com" in kept
    assert (after.progress, after.state, after.lease_expires_at) == ({}, TaskState.RUNNING, task.lease_expires_at)
    assert (await shown(stage, preview_id)).examples == []
    stage.scripts.steps["main"] = [page("bob")]
    await later(stage)
    preview = await shown(stage, preview_id)
    assert (preview.state, preview.count(Outcome.CREATED), preview.records_read) == (TaskState.COMPLETED, 1, 1)
    assert stage.scripts.checkpoints == [None, None]


async def test_what_a_worker_read_of_a_contact_that_is_erased_meanwhile_is_not_kept(stage: Stage) -> None:
    ann = await make_contact(stage.account_id, "ann@example.com", status=ContactStatus.UNCONFIRMED)

    async def erase_now() -> None:
        await erase(stage, ann.id)

    preview_id = await ask(stage, page("ann"), erase_now, page("bob"))
    await stage.work()

    task = await BackgroundTask.get(kind=TaskKind.PREVIEW)
    assert (task.progress, task.state, task.attempts) == ({}, TaskState.RUNNING, 0)
    assert (await shown(stage, preview_id)).examples == []
    stage.scripts.steps["main"] = [page("bob")]
    await stage.work()
    assert (await shown(stage, preview_id)).state == TaskState.COMPLETED
    assert stage.scripts.checkpoints == [None, None]


async def test_a_checkpoint_that_expires_meanwhile_begins_the_reading_again_once(stage: Stage) -> None:
    again: list[Step] = [page("1", wait=timedelta(seconds=1)), CheckpointExpiredError("Too old.")]
    preview_id = await ask(stage, *again, *again)
    await stage.work()
    await later(stage)
    assert (await shown(stage, preview_id)).records_read == 1
    await later(stage)

    assert stage.scripts.checkpoints == [None, {"at": "1"}, None, {"at": "1"}]
    assert (await shown(stage, preview_id)).error_code == "UNEXPECTED_RESPONSE"


async def test_a_connector_that_breaks_is_tried_again_and_given_up_in_words(stage: Stage) -> None:
    preview_id = await ask(stage, page("1"), *[OSError("secret")] * 9)
    await stage.work()
    for _ in range(5):
        await later(stage)

    preview = await shown(stage, preview_id)
    assert (preview.state, preview.error_code) == (TaskState.FAILED, "INTERNAL")
    assert preview.error_message == previews.GIVEN_UP
    assert (await BackgroundTask.get()).progress == {}


async def test_the_cap_and_the_limit_tell_how_long_it_takes_and_who_waits(stage: Stage, configure: Configure) -> None:
    configure(cap=3, cycle_seconds=600)
    ends = datetime.now(UTC) + timedelta(minutes=5)
    await ExternalAccount.filter(id=stage.external_account_id).update(window_used=2, window_ends_at=ends)
    await database.fetch("UPDATE plan_tier SET contact_limit = 8")

    preview_id = await ask(stage, page(*"abcdefghij"))
    await stage.work()

    preview = await shown(stage, preview_id)
    # One is written in this window, then three, three, and the last.
    assert (preview.cycles, preview.expected_finish_at) == (4, ends + timedelta(minutes=20))
    assert preview.limit == LimitEffect(active=0, active_after=8, limit=8, waiting=2, waiting_before=0, let_in=0)


NOTE = FieldSpec(key="note", title="Note", type=FieldType.TEXT)


async def test_a_preview_tells_what_the_run_would_stop_for_and_what_it_comes_to_once_approved(
    stage: Stage, configure: Configure
) -> None:
    configure(review_changed_count=2, review_changed_percent=50)
    names = "abcdef"
    before = [record(name, values={"note": "n"}) for name in names]
    import_id = await stage.add_import(Page(records=before, checkpoint={"at": 1}, fields={"note": NOTE}))
    await stage.cycle()
    after = [record(name, values={"note": None}) for name in names]

    preview_id = await ask(
        stage,
        Page(records=after[:2], checkpoint={"at": 1}, fields={"note": NOTE}),
        Page(records=after[2:], checkpoint={"at": 2}, fields={"note": NOTE}),
        automatic_import_id=import_id,
    )
    await stage.work()

    preview = await shown(stage, preview_id)
    # The first page alone is no accident yet.
    assert preview.reviews == [
        ForeseenReview(
            kind=ReviewKind.CHANGES, read=2, known=6, affected=6, blanked=6, address_changed=0, consent_lowered=0,
            missing=0,
        )
    ]  # fmt: skip
    assert (preview.count(Outcome.UPDATED), preview.cost) == (6, 6)


async def swept(stage: Stage, *sweeps: str, **columns: Any) -> UUID:
    """An import that has read everything as often; each sweep is the records' names."""
    import_id = await stage.add_import(**columns)
    for names in sweeps:
        await read_all(stage, import_id, names)
    return import_id


async def read_all(stage: Stage, import_id: UUID, names: str) -> None:
    stage.scripts.steps["main"] = [page(*names, sweep=True, complete=True)]
    viewer = Viewer(account_id=stage.account_id, token_id=stage.account_id, scopes=frozenset())
    await automatic_imports.run_now(viewer, import_id, full=True, queue=stage.queue)
    await stage.cycle()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (DeletionPolicy.KEEP, Deletions(deleted=2, missing=1)),
        (DeletionPolicy.UNSUBSCRIBE, Deletions(deleted=2, unsubscribed=1, missing=1)),
        (DeletionPolicy.TAG, Deletions(deleted=2, tagged=2, missing=1)),
    ],
)
async def test_an_imports_next_sweep_deletes_whom_the_last_one_missed_too(
    stage: Stage, policy: DeletionPolicy, expected: Deletions
) -> None:
    import_id = await swept(stage, "abcde", "abc")
    gone = await make_tag(stage.account_id)
    # Whom a user unsubscribed already is not unsubscribed for it.
    await Contact.filter(email="d@example.com").update(status=ContactStatus.UNSUBSCRIBED)
    await Account.filter(id=stage.account_id).update(active_contacts=4)

    preview_id = await ask(
        stage,
        page("a", "b", sweep=True, complete=True),
        automatic_import_id=import_id,
        deletion_policy=policy,
        deletion_tag_id=gone.id,
    )
    await stage.work()

    preview = await shown(stage, preview_id)
    assert (preview.deletions, preview.reviews) == (expected, [])
    assert preview.limit is not None
    assert preview.limit.active_after == 4 - expected.unsubscribed


async def test_deletions_that_the_service_tells_are_acted_on_by_the_imports_own_policy(stage: Stage) -> None:
    import_id = await stage.add_import(page("a", "b"), deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await stage.cycle()

    preview_id = await ask(stage, page("a", deleted_ids=["b", "nobody"]), automatic_import_id=import_id)
    await stage.work()

    assert (await shown(stage, preview_id)).deletions == Deletions(deleted=1, unsubscribed=1)


async def test_whom_the_service_tells_to_be_deleted_is_let_go_though_another_import_knows_the_record(
    stage: Stage,
) -> None:
    await stage.add_import(page("a", "b", "c"), script="keeps")
    await stage.cycle()
    import_id = await swept(stage, "abc", "ac", deletion_policy=DeletionPolicy.UNSUBSCRIBE)

    # That "b" is missed a second time may be for the criteria, and "nobody" was never known.
    pages = page("c", deleted_ids=["a", "nobody"]), page("c", sweep=True, complete=True)
    preview_id = await ask(stage, *pages, automatic_import_id=import_id)
    await stage.work()

    assert (await shown(stage, preview_id)).deletions == Deletions(deleted=2, unsubscribed=1, missing=0)


async def test_whom_sweeps_miss_is_let_go_though_an_import_that_was_deleted_knew_the_record(stage: Stage) -> None:
    deleted = await stage.add_import(page("a", "b", "c"), script="deleted")
    await stage.cycle()
    viewer = Viewer(account_id=stage.account_id, token_id=stage.account_id, scopes=frozenset())
    await automatic_imports.delete(viewer, deleted)
    import_id = await swept(stage, "abc", "ac", deletion_policy=DeletionPolicy.UNSUBSCRIBE)

    preview_id = await ask(stage, page("a", "c", sweep=True, complete=True), automatic_import_id=import_id)
    await stage.work()

    assert (await shown(stage, preview_id)).deletions == Deletions(deleted=1, unsubscribed=1)


async def test_what_a_sweep_saw_that_is_under_way_is_expected_of_the_one_that_is_previewed(stage: Stage) -> None:
    import_id = await stage.add_import(page("a", "b", sweep=True), deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await stage.cycle()

    preview_id = await ask(stage, page("a", sweep=True, complete=True), automatic_import_id=import_id)
    await stage.work()
    previewed = (await shown(stage, preview_id)).deletions
    await read_all(stage, import_id, "a")

    noted = await database.fetch("SELECT external_id FROM missing_record")
    assert (previewed, [row["external_id"] for row in noted]) == (Deletions(missing=1), ["b"])


async def test_new_criteria_and_new_imports_know_of_no_earlier_sweep(stage: Stage) -> None:
    import_id = await swept(stage, "abcde", "abc")
    everything = page("a", sweep=True, complete=True)

    new = await ask(stage, everything)
    await stage.work()
    stage.scripts.steps["other"] = [everything]
    edited = await ask(stage, automatic_import_id=import_id, criteria={"script": "other"})
    await stage.work()

    assert [(await shown(stage, each)).deletions for each in (new, edited)] == [Deletions(), Deletions()]


async def test_a_sweep_that_misses_many_would_stop_for_review(stage: Stage, configure: Configure) -> None:
    configure(review_missing_count=2)
    import_id = await swept(stage, "abcdefgh")

    preview_id = await ask(stage, page(*"abcde", sweep=True, complete=True), automatic_import_id=import_id)
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.reviews == [
        ForeseenReview(
            kind=ReviewKind.MISSING, read=5, known=8, affected=3, blanked=0, address_changed=0, consent_lowered=0,
            missing=3,
        )
    ]  # fmt: skip
    assert preview.deletions == Deletions(missing=3)


async def limit_to(number: int) -> None:
    await database.fetch("UPDATE plan_tier SET contact_limit = $1", number)


async def test_who_waits_already_comes_before_anything_new_and_takes_of_room_and_cap(
    stage: Stage, configure: Configure
) -> None:
    configure(cap=3)
    await limit_to(0)
    await stage.add_import(page("a", "b", "c"), script="earlier")
    await stage.cycle()
    await limit_to(4)

    preview_id = await ask(stage, page("d", "e"))
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.limit == LimitEffect(active=0, active_after=4, limit=4, waiting=1, waiting_before=3, let_in=3)
    # The three take the whole window.
    assert (preview.count(Outcome.CREATED), preview.cost, preview.cycles) == (1, 4, 2)


async def test_who_waits_in_another_external_account_comes_first_and_takes_nothing_of_the_cap(stage: Stage) -> None:
    other = await make_stage("somebody else")
    other.scripts = stage.scripts
    await limit_to(0)
    await other.add_import(page("a", "b"), script="earlier")
    await stage.cycle()
    await limit_to(3)

    preview_id = await ask(stage, page("b", "c", "d"))
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.limit == LimitEffect(active=0, active_after=3, limit=3, waiting=1, waiting_before=2, let_in=2)
    # Somebody who is let in under the same address is the same contact.
    assert [(each.outcome, each.count) for each in preview.reasons] == [
        (Outcome.CREATED, 1),
        (Outcome.UNCHANGED, 1),
        (Outcome.WAITING, 1),
    ]
    assert preview.cost == 1


async def test_room_that_the_import_makes_is_the_lines(stage: Stage) -> None:
    await limit_to(1)
    await stage.add_import(page("a", "b"), script="earlier")
    await stage.cycle()

    preview_id = await ask(stage, Page(records=[record("a", consent=SourceConsent.DENIED), record("c")], checkpoint={}))
    await stage.work()

    preview = await shown(stage, preview_id)
    assert (preview.count(Outcome.UPDATED), preview.count(Outcome.WAITING)) == (1, 1)
    assert preview.limit == LimitEffect(active=1, active_after=1, limit=1, waiting=1, waiting_before=1, let_in=1)


async def test_with_new_criteria_an_imports_own_places_in_line_are_given_up(stage: Stage) -> None:
    await limit_to(0)
    import_id = await stage.add_import(page("a", "b"), script="earlier")
    await stage.cycle()
    await limit_to(1)

    preview_id = await ask(stage, page("c"), automatic_import_id=import_id, criteria={"script": "main"})
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.limit == LimitEffect(active=0, active_after=1, limit=1, waiting=0, waiting_before=0, let_in=0)
    assert preview.count(Outcome.CREATED) == 1


async def test_an_edit_is_seen_from_where_the_import_stands(stage: Stage) -> None:
    import_id = await stage.add_import(
        Page(records=[record("1", phone="1"), record("2")], checkpoint={"at": 2}), script="before"
    )
    await stage.cycle()
    records = [record("1", phone="2"), record("2"), record("3")]

    preview_id = await ask(
        stage,
        Page(records=records, checkpoint={"at": 3}),
        automatic_import_id=import_id,
        criteria={"script": "main"},
        phone_policy=OverwritePolicy.IF_EMPTY,
    )
    await stage.work()

    assert [(each.outcome, each.count) for each in (await shown(stage, preview_id)).reasons] == [
        (Outcome.CREATED, 1),
        (Outcome.UNCHANGED, 2),
    ]


async def test_with_new_criteria_a_confirmation_that_was_held_back_is_decided_anew(stage: Stage) -> None:
    await limit_to(0)
    pending, granted = (
        Page(records=[record("a", consent=consent)], checkpoint={"at": consent.value})
        for consent in (SourceConsent.PENDING, SourceConsent.GRANTED)
    )
    import_id = await stage.add_import(pending, granted, script="earlier")
    await stage.cycle()
    await limit_to(1)

    preview_id = await ask(stage, granted, automatic_import_id=import_id, criteria={"script": "main"})
    await stage.work()

    preview = await shown(stage, preview_id)
    assert preview.limit == LimitEffect(active=0, active_after=1, limit=1, waiting=0, waiting_before=0, let_in=0)
    assert [(each.outcome, each.count) for each in preview.reasons] == [(Outcome.UPDATED, 1)]
