"""Following runs live: the present state first, then each change, the final one always (R19)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from domain import account, automatic_imports, run_history
from domain.account import Viewer
from domain.errors import TokenRevoked, not_found
from domain.events import Changes, Watch
from domain.run_history import Run

Look = Callable[[Collection[UUID]], Awaitable[Collection[Run]]]
"""Reads the runs that are followed; it is given the ones that were open at the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a follower looks, in seconds: `look` at the most, `check` at the least, notice or not."""

    look: float = 0.25
    check: float = 2.0


DEFAULT_PACE = Pace()


async def follow_run(viewer: Viewer, run_id: UUID, *, watch: Watch, pace: Pace = DEFAULT_PACE) -> AsyncIterator[Run]:
    """One run, until it is over. Refused where the account has no such run."""

    async def look(_open: Collection[UUID]) -> Collection[Run]:
        return (await run_history.by_ids(viewer.account_id, [run_id])).values()

    draining = False

    async def goes_on() -> bool:
        nonlocal draining
        was_draining, draining = draining, await run_history.is_draining(viewer.account_id, run_id)
        return draining or not was_draining

    found = await look(())
    if not found:
        raise not_found("import run", "runId")
    [import_id] = {run.automatic_import_id for run in found}
    with watch.changes(viewer.account_id, automatic_import_id=import_id) as changes:
        async for run in _follow(viewer, look, changes, pace, goes_on=goes_on):
            yield run
            if run.is_final and not draining:
                return


async def follow_import(
    viewer: Viewer, import_id: UUID, *, watch: Watch, pace: Pace = DEFAULT_PACE
) -> AsyncIterator[Run]:
    """The runs of one automatic import, one after the other, until it is deleted. Refused where there is none."""

    async def look(still_open: Collection[UUID]) -> Collection[Run]:
        last = await run_history.last_of_imports(viewer.account_id, [import_id])
        return await _with_open(viewer.account_id, last.values(), still_open)

    async def is_there() -> bool:
        return bool(await automatic_imports.by_ids(viewer.account_id, [import_id]))

    with watch.changes(viewer.account_id, automatic_import_id=import_id) as changes:
        if not await is_there():
            raise not_found("automatic import", "automaticImportId")
        async for run in _follow(viewer, look, changes, pace, goes_on=is_there):
            yield run


async def follow_account(viewer: Viewer, *, watch: Watch, pace: Pace = DEFAULT_PACE) -> AsyncIterator[Run]:
    """All runs of the account: first the last run of each automatic import."""

    async def look(still_open: Collection[UUID]) -> Collection[Run]:
        last = await run_history.last_of_account(viewer.account_id)
        return await _with_open(viewer.account_id, last, still_open)

    with watch.changes(viewer.account_id) as changes:
        async for run in _follow(viewer, look, changes, pace):
            yield run


async def _always() -> bool:
    return True


async def _follow(
    viewer: Viewer, look: Look, changes: Changes, pace: Pace, *, goes_on: Callable[[], Awaitable[bool]] = _always
) -> AsyncIterator[Run]:
    told: dict[UUID, int] = {}
    still_open: frozenset[UUID] = frozenset()
    while True:
        if not await account.is_valid(viewer):
            raise TokenRevoked("This token was revoked. Ask for a new one.")
        # Asked first: the last look is at what was there when it ended.
        is_last = not await goes_on()
        runs = await look(still_open)
        for run in sorted(runs, key=lambda run: run.id):
            if told.get(run.id) != run.revision:
                yield run
        if is_last:
            return
        told = {run.id: run.revision for run in runs}
        still_open = frozenset(run.id for run in runs if not run.is_final)
        await asyncio.sleep(pace.look)
        await _wait(changes, pace.check)


async def _wait(changes: Changes, seconds: float) -> None:
    # A notice that was lost before it reached Redis costs a few seconds, and never the final state.
    try:
        await asyncio.wait_for(changes.wait(), seconds)
    except TimeoutError:
        return


async def _with_open(account_id: UUID, last: Collection[Run], still_open: Collection[UUID]) -> Collection[Run]:
    """The last runs, and those that were open a moment ago and are not the last any more: their end must be told."""
    missing = set(still_open) - {run.id for run in last}
    if not missing:
        return last
    return [*last, *(await run_history.by_ids(account_id, missing)).values()]
