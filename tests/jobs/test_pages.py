"""How pages are read: ahead of time, and not stored where they say nothing new."""

from datetime import timedelta

from connectors.base import CheckpointExpiredError, Page, UnexpectedResponseError
from domain import database
from domain.enums import RunState
from domain.models import AutomaticImport, ImportRun
from tests.jobs.scripted import Stage, page

FIRST, SECOND = ([f"{letter}{number}" for number in range(150)] for letter in "ab")


async def test_what_a_connector_stores_while_it_reads_ahead_is_no_part_of_the_page(stage: Stage) -> None:
    """It may renew its tokens, which outlive a page that is rolled back."""
    seen: list[str] = []

    async def renew_tokens() -> None:
        async with database.transaction() as connection:
            seen.append(await connection.fetchval("SELECT count(*)::text FROM contact"))

    await stage.add_import(page(*FIRST), renew_tokens, page(*SECOND))

    await stage.cycle()

    run = await ImportRun.get()
    assert (run.state, run.created_count) == (RunState.COMPLETED, 300)
    # The first page was under way.
    assert seen == ["0"]


async def test_what_fails_two_pages_ahead_keeps_nothing_of_what_comes_before_from_being_stored(stage: Stage) -> None:
    import_id = await stage.add_import(page(*FIRST), page(*SECOND))
    await stage.cycle()
    await stage.next_window()
    stage.scripts.steps["main"] = [page(*FIRST), page(*SECOND), UnexpectedResponseError("This is no JSON.")]

    await stage.cycle()

    run = (await stage.runs(import_id))[-1]
    assert (run.state, run.read_count, run.unchanged_count) == (RunState.FAILED, 300, 300)
    assert (await AutomaticImport.get(id=import_id)).checkpoint == {"at": SECOND[-1]}


async def test_nothing_is_read_past_a_page_that_asks_for_patience(stage: Stage) -> None:
    import_id = await stage.add_import(page(*FIRST), page(*SECOND))
    await stage.cycle()
    await stage.next_window()
    patient = page(*SECOND, wait=timedelta(minutes=1))
    stage.scripts.steps["main"] = [page(*FIRST), patient, page("carl")]

    await stage.cycle()

    run = (await stage.runs(import_id))[-1]
    assert (run.state, run.unchanged_count) == (RunState.WAITING_FOR_SERVICE, 300)
    assert stage.scripts.steps["main"] == [page("carl")]


async def test_a_checkpoint_that_had_expired_is_stored_when_it_comes_again(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", at=1))
    await stage.cycle()
    await stage.next_window()
    stage.scripts.steps["main"] = [CheckpointExpiredError("expired"), Page(records=(), checkpoint={"at": 1})]

    await stage.cycle()

    assert (await AutomaticImport.get(id=import_id)).checkpoint == {"at": 1}
    assert stage.scripts.checkpoints == [None, {"at": 1}, None]


async def test_a_page_that_says_what_is_known_is_passed_over_and_reading_goes_on(stage: Stage) -> None:
    import_id = await stage.add_import(page("ann", at=1))
    await stage.cycle()
    await stage.next_window()
    stage.scripts.steps["main"] = [Page(records=(), checkpoint={"at": 1}), page("bob", at=2)]

    await stage.cycle()

    assert (await AutomaticImport.get(id=import_id)).checkpoint == {"at": 2}
    assert [(run.state, run.created_count) for run in await ImportRun.all().order_by("id")] == [
        (RunState.COMPLETED, 1),
        (RunState.COMPLETED, 1),
    ]
