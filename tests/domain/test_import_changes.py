"""R13, R23: what an edit, a pause or a disconnect makes of an import, whatever else happens meanwhile."""

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any

import pytest

from domain import automatic_imports, database, external_accounts, lists, reviews
from domain.enums import DeletionPolicy, ImportState, RunState
from domain.errors import ErrorCode, Problem, Refused
from domain.import_inputs import ImportChanges, NewImport
from domain.models import AutomaticImport, ExternalAccount, ImportList, ImportRun, ImportTag
from domain.records import SourceConsent
from tests import databases
from tests.configuration import Configure
from tests.domain.source import Source, record
from tests.domain.undoing import viewer
from tests.factories import make_list, make_tag
from tests.fakes import SAMPLE, FakeCatalogue, RecordingQueue


@pytest.fixture(autouse=True)
async def _service(source: Source) -> None:
    """The source is an external account of a service that the catalogue knows."""
    await ExternalAccount.all().update(service=SAMPLE.key)


async def edit(source: Source, **changes: Any) -> AutomaticImport:
    return await automatic_imports.update(
        viewer(source),
        source.automatic_import_id,
        ImportChanges(**changes),
        catalogue=FakeCatalogue(),
        queue=RecordingQueue(),
    )


async def test_only_the_policy_tag_keeps_a_tag_which_can_be_deleted_afterwards(source: Source) -> None:
    gone = await make_tag(source.account_id)
    tagging = await edit(source, deletion_policy=DeletionPolicy.TAG, deletion_tag_id=gone.id)

    keeping = await edit(source, deletion_policy=DeletionPolicy.KEEP)
    await lists.delete(viewer(source), lists.TAG, gone.id, queue=RecordingQueue())
    renamed = await edit(source, name="New name")

    assert (tagging.deletion_policy, tagging.deletion_tag_id) == (DeletionPolicy.TAG, gone.id)
    assert (keeping.deletion_policy, keeping.deletion_tag_id) == (DeletionPolicy.KEEP, None)
    assert renamed.name == "New name"


async def test_an_import_that_kept_a_deleted_tag_from_earlier_days_can_be_edited(source: Source) -> None:
    gone = await make_tag(source.account_id)
    await AutomaticImport.all().update(deletion_tag_id=gone.id)
    await lists.delete(viewer(source), lists.TAG, gone.id, queue=RecordingQueue())

    renamed = await edit(source, name="New name")
    with pytest.raises(Refused) as refused:
        await edit(source, deletion_policy=DeletionPolicy.TAG)

    assert renamed.name == "New name"
    assert [(problem.code, problem.field) for problem in refused.value.problems] == [
        (ErrorCode.NOT_FOUND, ("deletionTagId",))
    ]


async def test_a_new_import_keeps_no_tag_that_its_policy_does_not_need(source: Source) -> None:
    gone = await make_tag(source.account_id)
    new = NewImport(external_account_id=source.external_account_id, name="New", deletion_tag_id=gone.id)

    created = await automatic_imports.create(viewer(source), new, catalogue=FakeCatalogue(), queue=RecordingQueue())

    assert (created.deletion_policy, created.deletion_tag_id) == (DeletionPolicy.KEEP, None)


TARGETS: Mapping[str, tuple[lists.Kind, tuple[str, ...]]] = {
    "list_ids": (lists.LIST, ("listIds", "0")),
    "tag_ids": (lists.TAG, ("tagIds", "0")),
    "deletion_tag_id": (lists.TAG, ("deletionTagId",)),
}


@pytest.mark.parametrize("name", TARGETS)
async def test_a_list_or_tag_that_is_deleted_during_an_edit_is_no_target(source: Source, name: str) -> None:
    kind, path = TARGETS[name]
    make = make_list if kind is lists.LIST else make_tag
    target = await make(source.account_id)
    before = await AutomaticImport.get()
    changes: dict[str, Any] = {name: [target.id]}
    if name == "deletion_tag_id":
        changes = {name: target.id, "deletion_policy": DeletionPolicy.TAG}
    outside = contextvars.copy_context()
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM external_account FOR NO KEY UPDATE")
        # Each in a context of its own: else it would share this transaction.
        editing = asyncio.create_task(edit(source, **changes), context=outside.copy())
        # Its input is checked by then.
        await asyncio.create_task(databases.somebody_waits(), context=outside.copy())
        deleting = lists.delete(viewer(source), kind, target.id, queue=RecordingQueue())
        await asyncio.create_task(deleting, context=outside.copy())

    with pytest.raises(Refused) as refused:
        await editing

    noun = kind.noun
    assert refused.value.problems == (
        Problem(ErrorCode.NOT_FOUND, f"There is no {noun} with this id in your account.", path),
    )
    assert await ImportList.all().count() + await ImportTag.all().count() == 0
    after = await AutomaticImport.get()
    assert (after.deletion_policy, after.revision) == (before.deletion_policy, before.revision)


async def test_every_target_that_is_missing_is_told_by_its_place(source: Source) -> None:
    here, tag = await make_list(source.account_id), await make_tag(source.account_id)

    with pytest.raises(Refused) as refused:
        await edit(
            source,
            list_ids=[here.id, tag.id],
            tag_ids=[here.id, tag.id],
            deletion_policy=DeletionPolicy.TAG,
            deletion_tag_id=here.id,
        )

    assert [problem.field for problem in refused.value.problems] == [
        ("listIds", "1"),
        ("tagIds", "0"),
        ("deletionTagId",),
    ]


async def lose_values(source: Source, configure: Configure) -> ImportRun:
    """Many lose a value: the import stops for somebody to judge."""
    configure(review_changed_count=2)
    await source.send(*(record(f"p{n}", values={"note": "n"}) for n in range(6)))
    await source.send(*(record(f"p{n}", values={"note": None}) for n in range(6)))
    return await ImportRun.get(state=RunState.NEEDS_REVIEW)


@pytest.mark.parametrize("approved", [False, True])
@pytest.mark.parametrize("way", ["pause", "disconnect"])
async def test_a_paused_import_has_no_review_and_nothing_approved(
    source: Source, configure: Configure, way: str, approved: bool
) -> None:
    run = await lose_values(source, configure)
    revision = (await AutomaticImport.get()).revision
    if approved:
        await reviews.approve(viewer(source), run.id, queue=RecordingQueue())

    if way == "pause":
        await automatic_imports.pause(viewer(source), source.automatic_import_id)
    else:
        await external_accounts.disconnect(viewer(source), source.external_account_id, catalogue=FakeCatalogue())

    paused = await AutomaticImport.get()
    await run.refresh_from_db()
    assert (paused.state, paused.guard) == (ImportState.PAUSED, {})
    assert paused.state_reason is None
    assert paused.revision == revision + 1 + approved
    assert run.review is not None
    assert (run.state, "examples" in run.review) == (RunState.CANCELLED, False)


async def test_a_sweep_that_waited_for_review_does_not_go_on_after_a_disconnect(
    source: Source, configure: Configure
) -> None:
    configure(review_missing_count=1)
    await source.send(*(record(name, consent=SourceConsent.GRANTED) for name in "abcd"), complete=True)
    await source.send(record("a"), complete=True)
    waiting = (await AutomaticImport.get()).sweep_started_at

    await external_accounts.disconnect(viewer(source), source.external_account_id, catalogue=FakeCatalogue())

    assert waiting is not None
    assert (await AutomaticImport.get()).sweep_started_at is None
