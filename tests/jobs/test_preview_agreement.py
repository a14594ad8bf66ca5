"""R21: a preview, and then the run: whatever the source sends and whatever is there already, the two agree.

`SLUICE_TEST_WORLDS=1000:3000` plays other worlds, by number, than the suite does.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain import automatic_imports, contact_limit, database, previews, reviews
from domain.account import Viewer, email_hash
from domain.credentials import key_ring
from domain.enums import ContactStatus, Outcome, TaskState
from domain.import_inputs import ImportChanges, NewImport
from domain.models import Account, AutomaticImport, Contact, CustomField, ImportRun, Suppression, Tombstone
from domain.previews import ImportPreviewRow, PreviewRequest
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.factories import make_contact, make_list, make_tag
from tests.jobs.preview_worlds import Kind, Reading, Sweeping, World, world
from tests.jobs.scripted import Stage, make_stage

FIRST, LAST = (int(number) for number in os.environ.get("SLUICE_TEST_WORLDS", "0:30").split(":"))
DISAGREED_ONCE = (7001, 9030, 9064, 20129, 30090)
ABOVE = "contacts-25000"
"""The plan above, which auto-upgrade may reach: it has one more contact."""


async def make_world(world: World) -> tuple[Stage, UUID]:
    """The stage, and the import that was there before."""
    stage = await make_stage()
    account = await Account.get(id=stage.account_id)
    for name, status in world.contacts.items():
        await make_contact(account.id, f"{name}@example.com", status=status)
    active = sum(status is ContactStatus.ACTIVE for status in world.contacts.values())
    await Account.filter(id=account.id).update(active_contacts=active)
    hash_key = key_ring().unseal(account.email_hash_key, row=account.id)
    for name, status in world.suppressed.items():
        await Suppression.create(
            account_id=account.id, email_hash=email_hash(hash_key, f"{name}@example.com"), status=status
        )
    for name in world.tombstones:
        await Tombstone.create(account_id=account.id, email_hash=email_hash(hash_key, f"{name}@example.com"))
    await set_limit(account, world.limits[0])
    earlier = await stage.add_import(script="earlier")
    for reading in world.earlier:
        stage.scripts.steps["earlier"] = [*reading.steps]
        await automatic_imports.run_now(viewer(stage), earlier, full=False, queue=stage.queue)
        await stage.cycle()
    stranger = await make_stage("somebody else")
    for each, script, reading in ((stage, "neighbour", world.neighbour), (stranger, "stranger", world.stranger)):
        other = replace(each, scripts=stage.scripts)
        await other.add_import(*reading.steps, script=script)
        await stage.next_window()
        await stage.cycle()
    await set_limit(account, world.limits[1])
    await Account.filter(id=account.id).update(auto_upgrade=world.auto_upgrade, auto_upgrade_ceiling_key=ABOVE)
    if world.is_drained:
        await drain(stage)
    await database.fetch("DELETE FROM background_task")
    return stage, earlier


async def set_limit(account: Account, limit: int) -> None:
    for key, most in ((account.plan_tier_key, limit), (ABOVE, limit + 1)):
        await database.fetch("UPDATE plan_tier SET contact_limit = $1 WHERE key = $2", most, key)


async def drain(stage: Stage) -> None:
    """Whoever waits for room is let in, as far as it reaches."""
    async with database.transaction() as connection:
        await contact_limit.ask_for_draining(connection, stage.account_id)
    while await stage.work():
        pass


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=uuid4(), scopes=frozenset())


def catalogue(stage: Stage) -> ConnectorCatalogue:
    return ConnectorCatalogue(registered=stage.context["services"], allow_private_hosts=False)


async def preview(stage: Stage, **wanted: Any) -> ImportPreviewRow:
    request = PreviewRequest(external_account_id=stage.external_account_id, **wanted)
    preview_id = await previews.request(viewer(stage), request, catalogue=catalogue(stage), queue=stage.queue)
    while await stage.work():
        pass
    return (await previews.by_ids(stage.account_id, [preview_id]))[preview_id]


async def used(stage: Stage) -> int:
    return (await stage.external_account()).window_used


async def count(query: str, *values: object) -> int:
    [row] = await database.fetch(query, *values)
    number: int = row[0]
    return number


async def agree(world: World, configure: Configure) -> None:
    stage, earlier = await make_world(world)
    news, vip, gone = await make_list(stage.account_id), *[await make_tag(stage.account_id) for _ in "ab"]
    before = {field.id async for field in CustomField.filter(activated_at__not_isnull=True)}
    runs_before = {run.id async for run in ImportRun.all()}
    cap_used = await used(stage)
    wanted: dict[str, Any] = {
        "criteria": {"script": "earlier" if world.kind is Kind.GOES_ON else "main"},
        "list_ids": [news.id],
        "tag_ids": [vip.id],
        "name_policy": world.policy,
        "phone_policy": world.policy,
        "deletion_policy": world.deletions,
        "deletion_tag_id": gone.id,
    }

    stage.scripts.steps[wanted["criteria"]["script"]] = [*world.reading.steps]
    edited = None if world.kind is Kind.NEW else earlier
    if world.is_strict:
        configure(review_changed_count=1, review_changed_percent=40, review_missing_count=1)
    expected = await preview(stage, automatic_import_id=edited, **wanted)
    assert (expected.state, expected.error_message) == (TaskState.COMPLETED, None)
    real = await really(stage, world.kind, world.reading, earlier, wanted)

    every = [run async for run in ImportRun.all().order_by("id") if run.id not in runs_before]
    runs = [run for run in every if run.automatic_import_id == real.import_id and run.trigger != "ROOM"]
    for outcome in Outcome:
        found = sum(getattr(run, f"{outcome.lower()}_count") for run in runs)
        assert expected.count(outcome) == found, outcome
    assert (await used(stage)) - cap_used == expected.cost
    assert expected.protected == sum(run.protected_count for run in runs)
    rows = await database.fetch("SELECT outcome, code FROM outcome WHERE run_id = ANY($1)", [run.id for run in runs])
    told = Counter({(each.outcome.value, each.code and each.code.value): each.count for each in expected.reasons})
    assert Counter((row["outcome"], row["code"]) for row in rows) <= told
    made = [field async for field in CustomField.filter(activated_at__not_isnull=True) if field.id not in before]
    assert sorted((field.title, field.type, field.personalization_tag) for field in made) == sorted(
        (field.title, field.type, field.personalization_tag) for field in expected.fields
    )
    assert [asdict(review) for review in expected.reviews] == real.reviews
    draining = [run for run in every if run.trigger == "ROOM"]
    entered = sum(run.created_count + run.updated_count + run.unchanged_count for run in draining)
    account = await Account.get(id=stage.account_id)
    assert expected.limit is not None
    assert expected.limit.waiting_before == real.waiting_before
    assert expected.limit.let_in == entered - await count(HELD_BACK, [run.id for run in draining])
    assert expected.limit.active_after == account.active_contacts
    assert account.active_contacts == await Contact.filter(status=ContactStatus.ACTIVE).count()
    deletions = expected.deletions
    assert deletions is not None
    assert deletions.deleted == sum(run.deleted_count for run in runs)
    assert deletions.tagged == await count("SELECT count(*) FROM contact_tag WHERE tag_id = $1", gone.id)
    is_told = world.reading.sweeping is Sweeping.COMPLETE
    assert deletions.missing == (await count(MISSED, real.import_id) if is_told else 0)


HELD_BACK = "SELECT count(*) FROM outcome WHERE run_id = ANY($1) AND outcome <> 'WAITING' AND code = 'CONTACT_LIMIT'"
MISSED = """
SELECT count(*) FROM missing_record m JOIN ledger l USING (account_id, automatic_import_id, external_id)
WHERE m.automatic_import_id = $1 AND NOT m.confirmed AND l.state <> 'DELETED'
"""


@dataclass(frozen=True, slots=True)
class Real:
    """Which import ran, what it stopped for, and how many were in line before it."""

    import_id: UUID
    reviews: Sequence[dict[str, Any]]
    waiting_before: int


async def really(stage: Stage, kind: Kind, reading: Reading, earlier: UUID, wanted: dict[str, Any]) -> Real:
    """Let the import run that was previewed, to its end; what it stops for is approved."""
    script = wanted["criteria"]["script"]
    stage.scripts.steps[script] = [*reading.steps]
    who, services = viewer(stage), catalogue(stage)
    if kind is Kind.NEW:
        new = NewImport(external_account_id=stage.external_account_id, name="New", **wanted)
        import_id = (await automatic_imports.create(who, new, catalogue=services, queue=stage.queue)).id
    else:
        await automatic_imports.update(who, earlier, ImportChanges(**wanted), catalogue=services, queue=stage.queue)
        import_id = earlier
    if kind is Kind.GOES_ON:
        await automatic_imports.run_now(who, earlier, full=True, queue=stage.queue)
    # What all its contacts get in the background is no part of what a reading does.
    await database.fetch("DELETE FROM background_task")
    waiting_before = await count("SELECT count(*) FROM ledger WHERE code = 'CONTACT_LIMIT'")
    await drain(stage)
    judged = [review async for review in _judge(stage, import_id, script, reading)]
    assert stage.scripts.steps[script] == []
    await drain(stage)
    return Real(import_id, judged, waiting_before)


async def _judge(stage: Stage, import_id: UUID, script: str, reading: Reading) -> AsyncIterator[dict[str, Any]]:
    """Cycles to the end of the import's run; each review that it stops for is approved."""
    runs_before = {run.id for run in await stage.runs(import_id) if run.state not in ("QUEUED", "RUNNING")}
    while True:
        while await stage.cycle():
            pass
        run = await ImportRun.get_or_none(automatic_import_id=import_id, state="NEEDS_REVIEW")
        if run is None or run.review is None:
            return
        figures = {"blanked": 0, "address_changed": 0, "consent_lowered": 0, "missing": 0} | run.review
        del figures["examples"]
        read = sum(each.read_count for each in await stage.runs(import_id) if each.id not in runs_before)
        yield figures | {"read": read}
        await reviews.approve(viewer(stage), run.id, queue=stage.queue)
        at = (await AutomaticImport.get(id=import_id)).checkpoint
        stage.scripts.steps[script] = [*reading.steps[int(str(at["at"])) + 1 if at else 0 :]]


@pytest.mark.parametrize("number", [*range(FIRST, LAST), *DISAGREED_ONCE])
async def test_a_preview_and_the_run_agree(number: int, database: None, configure: Configure) -> None:
    # A window that does not end meanwhile.
    configure(cycle_seconds=604_800)
    await agree(world(number), configure)
