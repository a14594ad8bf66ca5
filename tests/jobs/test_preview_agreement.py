"""R21: a preview, and then the run: whatever the source sends and whatever is there already, the two agree."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from connectors.base import Page
from domain import automatic_imports, contact_limit, database, previews
from domain.account import Viewer, email_hash
from domain.credentials import key_ring
from domain.enums import ContactStatus, Outcome, OverwritePolicy, TaskState
from domain.import_inputs import ImportChanges, NewImport
from domain.models import Account, Contact, CustomField, ExternalAccount, Suppression, Tombstone
from domain.previews import ImportPreviewRow, PreviewRequest
from domain.records import FieldSpec, FieldType, Record, SourceConsent
from jobs.catalogue import ConnectorCatalogue
from tests import databases
from tests.factories import make_contact, make_list, make_tag
from tests.jobs.scripted import Stage, make_stage

FIELDS = {
    spec.key: spec
    for spec in (
        FieldSpec(key="vip", title="VIP", type=FieldType.BOOLEAN),
        FieldSpec(key="total", title="Total spent", type=FieldType.NUMBER),
        FieldSpec(key="shoe", title="Shoe size", type=FieldType.TEXT, open_ended=True),
        FieldSpec(key="hat", title="Shoe size", type=FieldType.TEXT, open_ended=True),
        FieldSpec(key="_secret", title="Secret", type=FieldType.TEXT, open_ended=True),
    )
}
NAMES = "abcd"
IDS = "123456"
VALUES = {
    "vip": st.sampled_from([None, True, "maybe"]),
    "total": st.sampled_from([None, 1, "3", "much"]),
    "shoe": st.sampled_from([None, "41", "42"]),
    "hat": st.sampled_from(["57"]),
    "_secret": st.just("x"),
}
RECORDS = st.builds(
    Record,
    external_id=st.sampled_from(IDS),
    email=st.sampled_from([None, "", "no address", "A@example.com", *(f"{name}@example.com" for name in NAMES)]),
    first_name=st.sampled_from([None, "Ann", "Bob", "A\0nn", "\ud800"]),
    phone=st.sampled_from([None, "1", "2"]),
    consent=st.sampled_from(list(SourceConsent)),
    values=st.fixed_dictionaries({}, optional=VALUES),
)
PAGES = st.lists(st.tuples(st.lists(RECORDS, max_size=6), st.lists(st.sampled_from(IDS), max_size=1)), max_size=5)
Pages = Sequence[tuple[Sequence[Record], Sequence[str]]]


@dataclass(frozen=True, slots=True)
class World:
    """What is there before: an earlier import, contacts by status, what outlived others, and how many may be."""

    earlier: Pages
    contacts: dict[str, ContactStatus]
    suppressed: dict[str, ContactStatus]
    tombstones: Sequence[str]
    limit: int
    auto_upgrade: bool
    policy: OverwritePolicy
    is_edit: bool


WORLDS = st.builds(
    World,
    earlier=PAGES,
    contacts=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(ContactStatus)), max_size=2),
    suppressed=st.dictionaries(
        st.sampled_from(NAMES), st.sampled_from([ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED]), max_size=2
    ),
    tombstones=st.lists(st.sampled_from(NAMES), max_size=1),
    limit=st.sampled_from([0, 1, 2, 3, 1000]),
    auto_upgrade=st.booleans(),
    policy=st.sampled_from(list(OverwritePolicy)),
    is_edit=st.booleans(),
)


def steps(pages: Pages) -> list[Page]:
    return [
        Page(records=records, deleted_ids=deleted, checkpoint={"at": number}, fields=FIELDS)
        for number, (records, deleted) in enumerate(pages)
    ]


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
    earlier = await stage.add_import(*steps(world.earlier), script="earlier")
    await stage.cycle()
    # The plan has little room, and the one above, which auto-upgrade may reach, has one more.
    above = "contacts-25000"
    await database.fetch("UPDATE plan_tier SET contact_limit = $1 WHERE key = $2", world.limit, account.plan_tier_key)
    await database.fetch("UPDATE plan_tier SET contact_limit = $1 WHERE key = $2", world.limit + 1, above)
    await Account.filter(id=account.id).update(auto_upgrade=world.auto_upgrade, auto_upgrade_ceiling_key=above)
    async with database.transaction() as connection:
        await contact_limit.ask_for_draining(connection, account.id)
    while await stage.work():
        pass
    return stage, earlier


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=uuid4(), scopes=frozenset())


def catalogue(stage: Stage) -> ConnectorCatalogue:
    return ConnectorCatalogue(registered=stage.context["services"], allow_private_hosts=False)


async def preview(stage: Stage, **wanted: Any) -> ImportPreviewRow:
    request = PreviewRequest(external_account_id=stage.external_account_id, **wanted)
    preview_id = await previews.request(viewer(stage), request, catalogue=catalogue(stage), queue=stage.queue)
    await stage.work()
    return (await previews.by_ids(stage.account_id, [preview_id]))[preview_id]


async def used(stage: Stage) -> int:
    return (await ExternalAccount.get(id=stage.external_account_id)).window_used


async def agree(world: World, pages: Pages) -> None:
    await database.open_database(await databases.emptied_database())
    try:
        stage, earlier = await make_world(world)
        news, vip = await make_list(stage.account_id), await make_tag(stage.account_id)
        before = {field.id async for field in CustomField.filter(activated_at__not_isnull=True)}
        runs_before = {run.id for run in await stage.runs(earlier)}
        cap_used = await used(stage)

        stage.scripts.steps["main"] = list(steps(pages))
        expected = await preview(
            stage,
            automatic_import_id=earlier if world.is_edit else None,
            criteria={"script": "main"},
            list_ids=[news.id],
            tag_ids=[vip.id],
            name_policy=world.policy,
            phone_policy=world.policy,
        )
        assert (expected.state, expected.error_message) == (TaskState.COMPLETED, None)
        import_id = await really(stage, world, pages, earlier, [news.id], [vip.id])

        runs = [run for run in await stage.runs(import_id) if run.id not in runs_before and run.trigger != "ROOM"]
        for outcome in Outcome:
            real = sum(getattr(run, f"{outcome.lower()}_count") for run in runs)
            assert expected.count(outcome) == real, outcome
        assert (await used(stage)) - cap_used == expected.cost
        assert expected.protected == sum(run.protected_count for run in runs)
        rows = await database.fetch(
            "SELECT outcome, code FROM outcome WHERE run_id = ANY($1)", [run.id for run in runs]
        )
        told = Counter({(each.outcome.value, each.code and each.code.value): each.count for each in expected.reasons})
        assert Counter((row["outcome"], row["code"]) for row in rows) <= told
        made = [field async for field in CustomField.filter(activated_at__not_isnull=True) if field.id not in before]
        assert sorted((field.title, field.type, field.personalization_tag) for field in made) == sorted(
            (field.title, field.type, field.personalization_tag) for field in expected.fields
        )
        account = await Account.get(id=stage.account_id)
        if expected.limit is not None:
            assert expected.limit.active_after == account.active_contacts
            assert account.active_contacts == await Contact.filter(status=ContactStatus.ACTIVE).count()
    finally:
        await database.close_database()


async def really(
    stage: Stage, world: World, pages: Pages, earlier: UUID, list_ids: Sequence[UUID], tag_ids: Sequence[UUID]
) -> UUID:
    """Let the import run that was previewed, to its end. Returns which that is."""
    stage.scripts.steps["main"] = list(steps(pages))
    wanted: dict[str, Any] = {
        "criteria": {"script": "main"},
        "list_ids": list_ids,
        "tag_ids": tag_ids,
        "name_policy": world.policy,
        "phone_policy": world.policy,
    }
    who, services = viewer(stage), catalogue(stage)
    if world.is_edit:
        changes = ImportChanges(**wanted)
        await automatic_imports.update(who, earlier, changes, catalogue=services, queue=stage.queue)
        import_id = earlier
    else:
        new = NewImport(external_account_id=stage.external_account_id, name="New", **wanted)
        import_id = (await automatic_imports.create(who, new, catalogue=services, queue=stage.queue)).id
    assert await stage.cycle() == 1
    assert await stage.cycle() == 0
    assert stage.scripts.steps["main"] == []
    return import_id


# Other worlds each time; one that fails is told as it is, since making it small takes minutes.
@settings(
    derandomize=False,
    database=None,
    phases=(Phase.generate,),
    print_blob=True,
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(WORLDS, PAGES)
def test_a_preview_and_the_run_agree(world: World, pages: Pages) -> None:
    asyncio.run(agree(world, pages))
