"""Background tasks: asked for in a commit, done in steps, by whichever worker is alive."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from domain import background_tasks, database
from domain.background_tasks import Task
from domain.enums import TaskKind, TaskState
from domain.errors import LeaseLost
from domain.models import BackgroundTask, Tag
from jobs import background_tasks as work
from jobs.reactions import Context
from tests.jobs.scripted import Stage

KIND = TaskKind.UNDO


async def ask(stage: Stage, subject: UUID | None = None, *, kind: TaskKind = KIND) -> None:
    async with database.transaction() as connection:
        await background_tasks.enqueue(connection, stage.account_id, kind, subject=subject or uuid4())


async def claim(stage: Stage) -> Task:
    [claimed] = await background_tasks.claim_due(1)
    return await background_tasks.take(*claimed)


async def write_tag(account_id: UUID, name: str) -> None:
    await Tag.create(account_id=account_id, name=name)


async def tags() -> list[str]:
    return [tag.name async for tag in Tag.all().order_by("name")]


async def states() -> list[TaskState]:
    return [task.state async for task in BackgroundTask.all().order_by("id")]


@pytest.fixture
def do(monkeypatch: pytest.MonkeyPatch) -> Callable[[work.Step], None]:
    """Make this what a step of every task of the test is."""
    return lambda step: monkeypatch.setattr(work, "STEPS", {KIND: step})


def three_steps(*, before_commit: Callable[[int], Awaitable[None]] | None = None) -> work.Step:
    """Steps 1, 2 and 3, each of which writes a tag of its number and then lets `before_commit` happen."""

    async def step(_: Context, task: Task) -> bool:
        async with background_tasks.step(task) as connection:
            number: int = task.progress.get("number", 0) + 1
            await connection.execute(
                "INSERT INTO tag (account_id, id, name, created_at) VALUES ($1, $2, $3, now())",
                task.account_id, uuid4(), f"step {number}",
            )  # fmt: skip
            task.progress = {"number": number}
            if before_commit is not None:
                await before_commit(number)
            return number < 3

    return step


async def nothing_done(_: Context, task: Task) -> bool:
    async with background_tasks.step(task):
        return False


async def failing(_: Context, __: Task) -> bool:
    raise ValueError("no")


async def come_due() -> None:
    await BackgroundTask.filter(state="RUNNING").update(lease_expires_at=datetime(2000, 1, 1, tzinfo=UTC))


async def test_a_task_is_done_step_by_step_to_its_end(stage: Stage, do: Callable[[work.Step], None]) -> None:
    do(three_steps())
    await ask(stage)

    assert await stage.work() == 1

    task = await BackgroundTask.get()
    assert await tags() == ["step 1", "step 2", "step 3"]
    assert (task.state, task.progress, task.lease_token) == (TaskState.COMPLETED, {"number": 3}, None)
    assert task.finished_at is not None
    assert await stage.work() == 0


async def test_a_wish_is_forgotten_with_the_transaction_that_had_it(stage: Stage) -> None:
    async def change_my_mind() -> None:
        async with database.transaction() as connection:
            await background_tasks.enqueue(connection, stage.account_id, KIND, subject=uuid4())
            raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await change_my_mind()

    assert await BackgroundTask.all().count() == 0


async def test_a_task_that_is_queued_for_the_same_subject_is_asked_for_once(stage: Stage) -> None:
    subject = uuid4()

    await asyncio.gather(*(ask(stage, subject) for _ in range(5)))
    await ask(stage, uuid4())

    assert await states() == [TaskState.QUEUED, TaskState.QUEUED]


async def test_a_queued_task_is_not_begun_while_somebody_relies_on_it(stage: Stage) -> None:
    subject = uuid4()
    await ask(stage, subject)
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def ask_again() -> None:
        async with database.transaction() as connection:
            await background_tasks.enqueue(connection, stage.account_id, KIND, subject=subject)
            asked.set()
            # What the task is wanted for is not there yet.
            await may_end.wait()

    asking = asyncio.create_task(ask_again())
    await asked.wait()

    assert await background_tasks.claim_due(1) == []

    may_end.set()
    await asking
    assert len(await background_tasks.claim_due(1)) == 1
    assert await states() == [TaskState.RUNNING]


async def test_a_task_under_way_does_not_stand_in_for_a_newer_wish(
    stage: Stage, do: Callable[[work.Step], None]
) -> None:
    subject = uuid4()
    await ask(stage, subject)
    under_way = await claim(stage)

    await ask(stage, subject)
    await background_tasks.hand_over(under_way)
    await ask(stage, subject)

    assert await states() == [TaskState.RUNNING, TaskState.QUEUED]
    do(nothing_done)
    assert await stage.work() == 2
    assert await states() == [TaskState.COMPLETED, TaskState.COMPLETED]


async def test_concurrent_claims_are_disjoint(stage: Stage) -> None:
    for _ in range(20):
        await ask(stage)

    claims = await asyncio.gather(*(background_tasks.claim_due(7) for _ in range(4)))

    ids = [task_id for each in claims for _, task_id, _ in each]
    assert len(ids) == 20
    assert len(set(ids)) == 20


async def test_whoever_waits_longest_is_next_whether_it_has_begun_or_not(stage: Stage) -> None:
    for _ in range(3):
        await ask(stage)
    long_one, second, third = [task.id async for task in BackgroundTask.all().order_by("id")]
    await background_tasks.hand_over(await claim(stage))

    order = [(await background_tasks.claim_due(1))[0][1] for _ in range(3)]

    assert order == [second, third, long_one]


async def test_a_step_that_fails_leaves_no_trace_and_the_next_attempt_goes_on_from_there(
    stage: Stage, do: Callable[[work.Step], None]
) -> None:
    async def fail(number: int) -> None:
        if number == 2:
            raise ValueError("in the middle")

    do(three_steps(before_commit=fail))
    await ask(stage)
    await stage.work()

    task = await BackgroundTask.get()
    assert await tags() == ["step 1"]
    assert (task.progress, task.attempts, task.state) == ({"number": 1}, 1, TaskState.RUNNING)
    assert await stage.work() == 0  # not before its pause is over
    do(three_steps())
    await come_due()
    await stage.work()
    assert await tags() == ["step 1", "step 2", "step 3"]
    assert (await BackgroundTask.get()).attempts == 0


async def test_a_step_under_a_lost_lease_stores_nothing(stage: Stage) -> None:
    await ask(stage)
    lost = await claim(stage)
    await come_due()
    new = await claim(stage)

    with pytest.raises(LeaseLost):
        async with background_tasks.step(lost):
            pytest.fail("a step began under a lost lease")
    with pytest.raises(LeaseLost):
        await background_tasks.complete(lost)
    await background_tasks.hand_over(lost)
    with pytest.raises(LeaseLost):
        await background_tasks.take(lost.account_id, lost.id, lost.lease_token)

    task = await BackgroundTask.get()
    assert (task.state, task.lease_token, task.progress) == (TaskState.RUNNING, new.lease_token, {})


async def test_a_task_is_not_taken_over_while_a_step_of_it_is_stored(stage: Stage) -> None:
    await ask(stage)
    task = await claim(stage)
    await come_due()
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def store() -> None:
        async with background_tasks.step(task):
            begun.set()
            await may_end.wait()
            task.progress = {"stored": True}

    storing = asyncio.create_task(store())
    await begun.wait()

    assert await background_tasks.claim_due(1) == []

    may_end.set()
    await storing
    assert await background_tasks.claim_due(1) == []
    assert (await BackgroundTask.get()).progress == {"stored": True}


async def test_an_abandoned_task_is_taken_over_from_its_last_progress(
    stage: Stage, do: Callable[[work.Step], None]
) -> None:
    do(three_steps())
    await ask(stage)
    abandoned = await claim(stage)
    await three_steps()(stage.context, abandoned)

    assert await stage.work() == 0
    await come_due()
    assert await stage.work() == 1

    assert await tags() == ["step 1", "step 2", "step 3"]
    assert await states() == [TaskState.COMPLETED]


async def test_failures_in_a_row_are_farther_apart_and_the_task_is_given_up_at_last(
    stage: Stage, do: Callable[[work.Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    async def tell(task: Task) -> None:
        told.append(task.id)

    monkeypatch.setattr(work, "GIVE_UP", {KIND: tell})
    do(failing)
    await ask(stage)
    pauses = []
    for _ in range(5):
        await come_due()
        before = await database.fetch("SELECT now()")
        await stage.work()
        [row] = await database.fetch("SELECT lease_expires_at AS at FROM background_task")
        pauses.append(round((row["at"] - before[0][0]).total_seconds() / 5))
    assert pauses == [1, 2, 4, 8, 16]
    assert told == []

    await come_due()
    await stage.work()

    task = await BackgroundTask.get()
    assert (task.state, task.error_message) == (TaskState.FAILED, work.GIVEN_UP)
    assert told == [task.id]
    assert await stage.work() == 0


async def test_a_task_is_not_given_up_before_whoever_waits_for_it_is_told(
    stage: Stage, do: Callable[[work.Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell(task: Task) -> None:
        await write_tag(task.account_id, "told")
        raise OSError("the database is away")

    monkeypatch.setattr(work, "GIVE_UP", {KIND: tell})
    do(failing)
    await ask(stage)
    await BackgroundTask.all().update(attempts=5)

    await stage.work()

    assert await states() == [TaskState.RUNNING]
    assert await tags() == []


async def test_a_step_that_succeeds_begins_the_count_of_failures_anew(
    stage: Stage, do: Callable[[work.Step], None]
) -> None:
    async def fail(number: int) -> None:
        if number == 2:
            raise ValueError("in the middle")

    do(three_steps(before_commit=fail))
    await ask(stage)
    await BackgroundTask.all().update(attempts=5)

    await stage.work()

    task = await BackgroundTask.get()
    assert (task.state, task.attempts) == (TaskState.RUNNING, 1)


async def test_a_task_that_every_worker_dies_of_is_given_up(stage: Stage, do: Callable[[work.Step], None]) -> None:
    do(three_steps())
    await ask(stage)
    for _ in range(background_tasks.MAX_ATTEMPTS):
        await claim(stage)
        await come_due()

    await stage.work()

    assert await states() == [TaskState.FAILED]
    assert await tags() == []


async def minutes_until_due() -> int:
    [row] = await database.fetch("SELECT lease_expires_at - now() AS pause FROM background_task")
    pause: timedelta = row["pause"]
    return round(pause.total_seconds() / 60)


@pytest.mark.parametrize("kind", sorted(background_tasks.NEVER_GIVEN_UP))
async def test_what_was_promised_is_tried_until_it_is_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: TaskKind
) -> None:
    monkeypatch.setattr(work, "STEPS", {kind: failing})
    await ask(stage, kind=kind)
    await BackgroundTask.all().update(attempts=background_tasks.MAX_ATTEMPTS - 1)
    pauses = []
    for _ in range(3):
        await stage.work()
        pauses.append(await minutes_until_due())
        await come_due()
    assert pauses == [15, 15, 15]
    assert await states() == [TaskState.RUNNING]

    monkeypatch.setattr(work, "STEPS", {kind: nothing_done})
    await stage.work()

    assert await states() == [TaskState.COMPLETED]


async def test_what_was_promised_is_tried_again_after_a_long_pause_where_every_worker_dies_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = TaskKind.ERASE_CONTACT
    monkeypatch.setattr(work, "STEPS", {kind: nothing_done})
    await ask(stage, kind=kind)
    for _ in range(background_tasks.MAX_ATTEMPTS):
        await claim(stage)
        await come_due()

    await stage.work()
    untouched = (await states(), await minutes_until_due())
    await come_due()
    await stage.work()

    assert untouched == ([TaskState.RUNNING], 15)
    assert await states() == [TaskState.COMPLETED]


async def test_waiting_in_the_queue_until_the_lease_is_over_is_no_failure(
    stage: Stage, do: Callable[[work.Step], None]
) -> None:
    do(three_steps())
    await ask(stage)
    for _ in range(10):
        assert len(await background_tasks.claim_due(1)) == 1
        await come_due()

    await stage.work()

    assert await states() == [TaskState.COMPLETED]


async def test_a_step_that_hangs_is_a_failure(
    stage: Stage, do: Callable[[work.Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(work, "STEP_TIMEOUT", timedelta(seconds=0.05))
    do(three_steps(before_commit=hang))
    await ask(stage)

    await stage.work()

    task = await BackgroundTask.get()
    assert (task.state, task.attempts, task.progress) == (TaskState.RUNNING, 1, {})
    assert await tags() == []


async def test_a_long_task_is_handed_over_with_its_progress_and_counts_as_no_failure(
    stage: Stage, do: Callable[[work.Step], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BUDGET", timedelta())
    do(three_steps())
    await ask(stage)

    await stage.work()

    task = await BackgroundTask.get()
    assert (task.state, task.progress, task.attempts) == (TaskState.RUNNING, {"number": 1}, 0)
    assert task.lease_token is None
    assert stage.queue.woken == 1
    assert [await stage.work() for _ in range(3)] == [1, 1, 0]
    assert await tags() == ["step 1", "step 2", "step 3"]


async def test_a_worker_that_is_told_to_stop_hands_over_at_once(stage: Stage, do: Callable[[work.Step], None]) -> None:
    begun = asyncio.Event()

    async def hang(number: int) -> None:
        if number == 2:
            begun.set()
            await asyncio.Event().wait()

    do(three_steps(before_commit=hang))
    await ask(stage)
    working = asyncio.create_task(stage.work())
    await begun.wait()

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    do(three_steps())
    assert await stage.work() == 1
    assert await tags() == ["step 1", "step 2", "step 3"]


async def test_looking_for_due_tasks_reads_no_finished_one(stage: Stage) -> None:
    await database.fetch(
        "INSERT INTO background_task (account_id, id, kind, subject, state, finished_at)"
        " SELECT $1, gen_random_uuid(), 'UNDO', gen_random_uuid(), 'COMPLETED', now() FROM generate_series(1, 5000)",
        stage.account_id,
    )
    await database.fetch("ANALYZE background_task")

    plan = await database.fetch(f"EXPLAIN {background_tasks.CLAIM_DUE}", 100, timedelta(seconds=45))

    lines = [row[0] for row in plan]
    assert [line for line in lines if "Seq Scan" in line] == []
    assert len([line for line in lines if "background_task_due_idx" in line]) == 1
    assert len([line for line in lines if "background_task_lease_idx" in line]) == 1
