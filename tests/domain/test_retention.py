"""R18: what is kept for how long, and that nobody waits long while it is forgotten."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from domain import database, retention
from domain.enums import Outcome, TaskState
from domain.models import (
    AutomaticImport,
    BackgroundTask,
    ImportPreview,
    ImportUndo,
    RecordOutcome,
    UndoneRecord,
)
from tests.configuration import Configure
from tests.factories import make_account, make_external_account, make_import

TODAY = datetime.now(UTC).date()


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[AutomaticImport]:
    """An import in a database whose partitions the test may change."""
    await database.open_database(database_url)
    yield await make_import(await make_external_account((await make_account()).id))
    await database.close_database()


async def make_outcome(automatic_import: AutomaticImport, day: date) -> None:
    await RecordOutcome.create(
        account_id=automatic_import.account_id,
        day=day,
        run_id=uuid4(),
        automatic_import_id=automatic_import.id,
        external_id="ann",
        outcome=Outcome.CREATED,
    )


async def make_partition(day: date) -> None:
    await database.fetch("SELECT sluice_prepare_outcome_days($1, 1)", day)


async def days_left() -> list[date]:
    return [row.day async for row in RecordOutcome.all().order_by("day")]


async def partitions() -> list[str]:
    rows = await database.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outcome'::regclass ORDER BY 1"
    )
    return [row["name"] for row in rows]


def partition(day: date) -> str:
    return f"outcome_{day:%Y%m%d}"


async def test_outcomes_go_day_by_day_with_their_partition(own: AutomaticImport, configure: Configure) -> None:
    configure(outcome_days=10)
    days = [TODAY - timedelta(days=age) for age in (12, 11, 10)]
    for day in days:
        await make_partition(day)
    for day in (*days, TODAY):
        await make_outcome(own, day)
    before = await partitions()

    await retention.forget()

    assert await days_left() == [days[2], TODAY]
    assert set(before) - set(await partitions()) == {partition(days[0]), partition(days[1])}


async def test_thirty_days_are_kept_unless_the_operator_says_otherwise(own: AutomaticImport) -> None:
    for age in (30, 31):
        await make_partition(TODAY - timedelta(days=age))
        await make_outcome(own, TODAY - timedelta(days=age))

    await retention.forget()

    assert await days_left() == [TODAY - timedelta(days=30)]


async def test_old_outcomes_of_a_day_that_nobody_prepared_go_row_by_row(
    own: AutomaticImport, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(outcome_days=10)
    monkeypatch.setattr(retention, "CHUNK", 2)
    for age in (50, 40, 30, 20, 11, 10):
        await make_outcome(own, TODAY - timedelta(days=age))

    await retention.forget()

    assert await days_left() == [TODAY - timedelta(days=10)]


async def test_whoever_reads_outcomes_is_not_waited_for_and_holds_up_nobody(
    own: AutomaticImport, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = TODAY - timedelta(days=40)
    await make_partition(old)
    await make_outcome(own, old)
    monkeypatch.setattr(retention, "PAUSE", timedelta())
    monkeypatch.setattr(retention, "LOCK_TIMEOUT", timedelta(milliseconds=1))
    reader = await asyncpg.connect(database_url)

    async with reader.transaction():
        await reader.fetch("SELECT FROM outcome")
        await retention.forget()
        assert partition(old) in await partitions()
        await make_outcome(own, TODAY)
    await reader.close()
    await retention.forget()

    assert await days_left() == [TODAY]


async def test_a_day_is_prepared_an_hour_later_where_somebody_was_in_the_way(
    own: AutomaticImport, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAUSE", timedelta())
    monkeypatch.setattr(retention, "LOCK_TIMEOUT", timedelta(milliseconds=1))
    monkeypatch.setattr(retention, "DAYS_AHEAD", 12)
    last = partition(TODAY + timedelta(days=11))
    reader = await asyncpg.connect(database_url)

    async with reader.transaction():
        await reader.fetch("SELECT FROM outcome")
        await retention.prepare_outcome_days()
        assert last not in await partitions()
    await reader.close()
    await retention.prepare_outcome_days()

    assert last in await partitions()


async def test_finished_tasks_previews_and_undos_are_forgotten_after_as_many_days(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    automatic_import = await make_import(await make_external_account((await make_account()).id))
    account_id = automatic_import.account_id
    for age in (29, 31):
        then = datetime.now(UTC) - timedelta(days=age)
        preview = await ImportPreview.create(
            account_id=account_id, external_account_id=automatic_import.external_account_id
        )
        undo = await ImportUndo.create(account_id=account_id, automatic_import_id=automatic_import.id)
        await ImportPreview.filter(id=preview.id).update(created_at=then)
        await ImportUndo.filter(id=undo.id).update(created_at=then)
        for number in range(3):
            await BackgroundTask.create(
                account_id=account_id, kind=f"{age}", subject=uuid4(), state=TaskState.COMPLETED, finished_at=then
            )
            await UndoneRecord.create(
                account_id=account_id, undo_id=undo.id, run_id=uuid4(), external_id=f"{age}, {number}", result="X"
            )
    await BackgroundTask.create(account_id=account_id, kind="queued", subject=uuid4())
    await BackgroundTask.all().update(created_at=datetime.now(UTC) - timedelta(days=99))

    await retention.forget()

    assert sorted([task.kind async for task in BackgroundTask.all()]) == ["29", "29", "29", "queued"]
    assert sorted([row.external_id async for row in UndoneRecord.all()]) == ["29, 0", "29, 1", "29, 2"]
    assert await ImportPreview.all().count() == 1
    assert await ImportUndo.all().count() == 1
