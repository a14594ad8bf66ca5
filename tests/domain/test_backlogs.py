"""R4: what is still to come, and when it will be in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain import automatic_imports
from domain.automatic_imports import Backlog
from domain.enums import ImportState, LedgerState
from domain.models import AutomaticImport, ExternalAccount
from tests.configuration import Configure
from tests.factories import make_account, make_external_account, make_import, make_ledger_row
from tests.jobs.scripted import Stage, make_stage, page

CYCLE = timedelta(seconds=1800)
WINDOW_ENDS_AT = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
async def external_account(database: None, configure: Configure) -> ExternalAccount:
    """In a window that has 100 of 500 left."""
    configure(cap=500, cycle_seconds=1800)
    owner = await make_account()
    return await make_external_account(owner.id, window_used=400, window_ends_at=WINDOW_ENDS_AT)


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()


async def backlog_of(automatic_import: AutomaticImport) -> Backlog | None:
    found = await automatic_imports.backlogs(automatic_import.account_id, [automatic_import.id])
    return found.get(automatic_import.id)


async def finish_of(automatic_import: AutomaticImport) -> datetime | None:
    backlog = await backlog_of(automatic_import)
    assert backlog is not None
    return backlog.expected_finish_at


@pytest.mark.parametrize(
    ("remaining", "windows_later"), [(0, 0), (100, 0), (101, 0), (600, 0), (601, 1), (1100, 1), (1101, 2)]
)
async def test_what_does_not_fit_into_this_window_comes_in_the_next_ones(
    external_account: ExternalAccount, remaining: int, windows_later: int
) -> None:
    automatic_import = await make_import(external_account, source_remaining=remaining)

    assert await backlog_of(automatic_import) == Backlog(
        remaining=remaining, expected_finish_at=WINDOW_ENDS_AT + windows_later * CYCLE
    )


async def test_imports_that_share_a_cap_hold_each_other_up_in_fair_turns(external_account: ExternalAccount) -> None:
    large = await make_import(external_account, source_remaining=10_000)
    small = await make_import(external_account, source_remaining=300)

    # While the small one is read, the large one has as many turns: 600 records. After that the large one has it all.
    assert await finish_of(small) == WINDOW_ENDS_AT
    assert await finish_of(large) == WINDOW_ENDS_AT + 20 * CYCLE


async def test_an_import_that_does_not_tell_how_much_it_has_takes_its_turns_too(
    external_account: ExternalAccount,
) -> None:
    small = await make_import(external_account, source_remaining=301)
    silent = await make_import(external_account, source_remaining=None)

    assert await finish_of(small) == WINDOW_ENDS_AT + CYCLE
    assert await backlog_of(silent) == Backlog(remaining=None, expected_finish_at=None)


@pytest.mark.parametrize(
    "other",
    [
        {"state": ImportState.PAUSED},
        {"state": ImportState.NEEDS_REVIEW},
        {"backlog": False},
        {"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
async def test_imports_that_are_not_read_hold_nobody_up(
    external_account: ExternalAccount, other: dict[str, Any]
) -> None:
    automatic_import = await make_import(external_account, source_remaining=600)
    await make_import(external_account, source_remaining=600, **other)
    elsewhere = await make_external_account(external_account.account_id)
    await make_import(elsewhere, source_remaining=600)

    assert await finish_of(automatic_import) == WINDOW_ENDS_AT


async def test_an_import_that_had_its_turns_in_this_window_waits_for_the_next(
    external_account: ExternalAccount,
) -> None:
    automatic_import = await make_import(external_account, source_remaining=501, served_window_ends_at=WINDOW_ENDS_AT)

    assert await finish_of(automatic_import) == WINDOW_ENDS_AT + CYCLE


async def test_a_failing_import_does_not_finish_before_it_is_tried_again(external_account: ExternalAccount) -> None:
    later = WINDOW_ENDS_AT + timedelta(hours=5)
    automatic_import = await make_import(
        external_account, source_remaining=10, state=ImportState.FAILING, next_attempt_at=later
    )

    assert await finish_of(automatic_import) == later


@pytest.mark.parametrize("state", [ImportState.PAUSED, ImportState.NEEDS_REVIEW])
async def test_an_import_that_does_not_run_does_not_finish(
    external_account: ExternalAccount, state: ImportState
) -> None:
    automatic_import = await make_import(external_account, source_remaining=10, state=state)

    assert await backlog_of(automatic_import) == Backlog(remaining=10, expected_finish_at=None)


async def test_whoever_waits_for_room_was_read_and_is_no_backlog(external_account: ExternalAccount) -> None:
    automatic_import = await make_import(external_account, source_remaining=100)
    for external_id in ("1", "2"):
        await make_ledger_row(automatic_import, external_id, state=LedgerState.WAITING, code="CONTACT_LIMIT")

    assert await backlog_of(automatic_import) == Backlog(remaining=100, expected_finish_at=WINDOW_ENDS_AT)


async def test_what_a_cut_page_leaves_behind_is_still_to_come(stage: Stage, configure: Configure) -> None:
    configure(cap=3)
    one = await stage.add_import(page("a", "b", "c", "d", remaining=6), script="one")
    other = await stage.add_import(page("e", "f", "g", "h", remaining=None), script="other")

    await stage.cycle()

    found = await automatic_imports.backlogs(stage.account_id, [one, other])
    # Two of three went to the import whose turn came first.
    assert (found[one].remaining, found[other].remaining) == (8, None)


async def test_an_import_that_has_caught_up_forgets_what_was_to_come(stage: Stage, configure: Configure) -> None:
    configure(cap=2)
    import_id = await stage.add_import(page("a", remaining=1), page("b", remaining=0))
    await stage.cycle()
    caught_up = await automatic_imports.backlogs(stage.account_id, [import_id])
    await stage.next_window()
    stage.scripts.steps["main"] = [page("c", "d", "e")]
    await stage.cycle()

    behind_again = await automatic_imports.backlogs(stage.account_id, [import_id])

    assert caught_up == {}
    assert behind_again == {import_id: Backlog(remaining=None, expected_finish_at=None)}


async def test_a_page_that_does_not_tell_leaves_nothing_known(stage: Stage, configure: Configure) -> None:
    configure(cap=3)
    import_id = await stage.add_import(page("a", remaining=5), page("b"), page("c", "d"))

    await stage.cycle()

    assert (await automatic_imports.backlogs(stage.account_id, [import_id]))[import_id].remaining is None
