"""R16, as it goes on at a service: boards change, records go, sweeps miss many."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from connectors.base import Page
from domain import automatic_imports, import_runs, reviews
from domain.account import Viewer
from domain.enums import DeletionPolicy, RunState, RunStop
from domain.import_inputs import ImportChanges
from domain.models import AutomaticImport, Contact, ImportRun, LedgerEntry
from domain.records import FieldSpec, FieldType
from jobs.catalogue import ConnectorCatalogue
from tests.jobs.scripted import Stage, record


def board(*names: str) -> Page:
    """A whole board, read in one sweep."""
    return Page(records=[record(name) for name in names], checkpoint={"at": 0}, sweep=True, complete=True)


FIELDS = {"note": FieldSpec(key="note", title="Note", type=FieldType.TEXT)}


def front() -> Page:
    """The first page of a sweep, of few."""
    return Page(records=[record(f"f{number:02}") for number in range(15)], checkpoint={"at": 1}, sweep=True)


def rest(note: str | None) -> Page:
    """Its last page, of many."""
    many = [record(f"r{number:02}", values={"note": note}) for number in range(60)]
    return Page(records=many, fields=FIELDS, checkpoint={"at": 0}, sweep=True, complete=True)


async def read(stage: Stage, script: str, *names: str) -> None:
    """The next window finds these members on the board."""
    stage.scripts.steps[script] = [board(*names)]
    await stage.next_window()
    await stage.cycle()


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=uuid4(), scopes=frozenset())


async def statuses() -> dict[str, str]:
    return {contact.email.partition("@")[0]: contact.status.value async for contact in Contact.all()}


async def states(import_id: UUID) -> dict[str, str]:
    return {row.external_id: row.state.value async for row in LedgerEntry.filter(automatic_import_id=import_id)}


async def test_board_a_changed_to_board_b_with_policy_unsubscribe(stage: Stage) -> None:
    import_id = await stage.add_import(
        board("ann", "bob", "cleo"), script="A", deletion_policy=DeletionPolicy.UNSUBSCRIBE
    )
    await stage.cycle()
    await read(stage, "A", "ann", "bob", "cleo")

    catalogue = ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False)
    changes = ImportChanges(criteria={"script": "B"})
    await automatic_imports.update(viewer(stage), import_id, changes, catalogue=catalogue, queue=stage.queue)
    stage.scripts.steps["B"] = [board("bob", "dan")]
    await stage.cycle()
    for _ in range(3):
        await read(stage, "B", "bob", "dan")

    # Ann and Cleo left the criteria, which is no deletion.
    assert await statuses() == {"ann": "ACTIVE", "bob": "ACTIVE", "cleo": "ACTIVE", "dan": "ACTIVE"}
    assert await states(import_id) == {"ann": "LINKED", "bob": "LINKED", "cleo": "LINKED", "dan": "LINKED"}

    # Dan leaves board B itself: missed twice, he is deleted there.
    await read(stage, "B", "bob")
    assert (await statuses())["dan"] == "ACTIVE"
    await read(stage, "B", "bob")
    assert await statuses() == {"ann": "ACTIVE", "bob": "ACTIVE", "cleo": "ACTIVE", "dan": "UNSUBSCRIBED"}
    assert (await states(import_id))["dan"] == "DELETED"


async def test_a_sweep_that_misses_many_waits_for_judgement(stage: Stage) -> None:
    names: Sequence[str] = [f"n{number:02}" for number in range(60)]
    import_id = await stage.add_import(board(*names), deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await stage.cycle()

    await read(stage, "main", *names[30:])
    run = await ImportRun.get(automatic_import_id=import_id, state=RunState.NEEDS_REVIEW)
    assert run.stopped_by == RunStop.REVIEW
    asked = len(stage.scripts.checkpoints)
    await stage.next_window()
    await stage.cycle()
    assert len(stage.scripts.checkpoints) == asked

    await reviews.approve(viewer(stage), run.id, queue=stage.queue)
    stage.scripts.steps["main"] = []
    await stage.cycle()
    assert set((await statuses()).values()) == {"ACTIVE"}
    await read(stage, "main", *names[30:])

    assert [name for name, status in sorted((await statuses()).items()) if status == "UNSUBSCRIBED"] == names[:30]
    assert (await AutomaticImport.get()).state == "ACTIVE"


async def test_a_dropped_sweep_is_forgotten(stage: Stage) -> None:
    names: Sequence[str] = [f"n{number:02}" for number in range(60)]
    import_id = await stage.add_import(board(*names), deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await stage.cycle()
    await read(stage, "main", *names[30:])
    run = await ImportRun.get(automatic_import_id=import_id, state=RunState.NEEDS_REVIEW)

    await reviews.drop(viewer(stage), run.id)
    await AutomaticImport.all().update(state="ACTIVE")
    await read(stage, "main", *names)
    await read(stage, "main", *names[1:])

    assert set((await states(import_id)).values()) == {"LINKED"}
    assert set((await statuses()).values()) == {"ACTIVE"}


@pytest.mark.parametrize("way", ["drop", "pause"])
async def test_an_accident_that_is_dropped_in_mid_sweep_lets_nobody_go_who_is_there(stage: Stage, way: str) -> None:
    import_id = await stage.add_import(front(), rest("n"), deletion_policy=DeletionPolicy.UNSUBSCRIBE)
    await stage.cycle()
    for _ in range(2):
        # The front comes as ever, then an accident; mended, the import is resumed where it stood.
        stage.scripts.steps["main"] = [front(), rest(None)]
        await stage.next_window()
        await stage.cycle()
        run = await ImportRun.get(automatic_import_id=import_id, state=RunState.NEEDS_REVIEW)
        if way == "drop":
            await reviews.drop(viewer(stage), run.id)
        else:
            await automatic_imports.pause(viewer(stage), import_id)
        stage.scripts.steps["main"] = [rest("n")]
        await automatic_imports.resume(viewer(stage), import_id, queue=stage.queue)
        await stage.cycle()
        assert stage.scripts.checkpoints[-1] == {"at": 1}
    for _ in range(2):
        stage.scripts.steps["main"] = [front(), rest("n")]
        await stage.next_window()
        await stage.cycle()

    assert set((await statuses()).values()) == {"ACTIVE"}
    assert set((await states(import_id)).values()) == {"LINKED"}


async def test_a_run_that_is_cancelled_while_its_sweep_comes_to_review_can_be_judged(stage: Stage) -> None:
    names = [f"n{number:02}" for number in range(60)]
    import_id = await stage.add_import(board(*names))
    await stage.cycle()

    async def cancel() -> None:
        run = await ImportRun.get(automatic_import_id=import_id, state=RunState.RUNNING)
        await import_runs.cancel(stage.account_id, run.id)

    stage.scripts.steps["main"] = [Page(records=[record("new")], checkpoint={"at": 1}, sweep=True), cancel]
    stage.scripts.steps["main"].append(board(*names[30:]))
    await stage.next_window()
    await stage.cycle()

    run = await ImportRun.get(automatic_import_id=import_id, state=RunState.NEEDS_REVIEW)
    await reviews.approve(viewer(stage), run.id, queue=stage.queue)
    await stage.cycle()
    await run.refresh_from_db()
    assert (run.state, (await AutomaticImport.get()).state) == (RunState.COMPLETED, "ACTIVE")
