"""R11: moving on the ladder of plans, by hand and by auto-upgrade."""

import pytest

from domain import account, plans
from domain.account import Viewer
from domain.enums import ContactStatus, LedgerState, TaskKind
from domain.errors import ErrorCode, Refused
from domain.models import Account, AuditEntry, BackgroundTask, Contact
from tests.factories import make_account, make_contact, make_external_account, make_import, make_ledger_row
from tests.fakes import RecordingQueue


@pytest.fixture
async def viewer(database: None) -> Viewer:
    """A user of an account on the plan of 10,000 contacts."""
    owner = await make_account()
    found = await account.authenticate(await account.create_token(owner.id))
    assert found is not None
    return found


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


async def somebody_waits(viewer: Viewer) -> None:
    automatic_import = await make_import(await make_external_account(viewer.account_id))
    await make_ledger_row(
        automatic_import, "1", state=LedgerState.WAITING, code="CONTACT_LIMIT", email="ann@example.com"
    )


async def asked_to_drain() -> bool:
    return await BackgroundTask.exists(kind=TaskKind.DRAIN_WAITING_ROOM)


async def test_the_ladder_goes_from_the_smallest_plan_to_the_largest(database: None) -> None:
    ladder = await plans.ladder()

    assert [plan.contact_limit for plan in ladder] == [
        1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000
    ]  # fmt: skip
    assert ladder[1] == plans.Plan(key="contacts-2500", name="2,500 contacts", contact_limit=2500)


async def test_a_larger_plan_lets_those_in_who_wait(viewer: Viewer, queue: RecordingQueue) -> None:
    await somebody_waits(viewer)

    await plans.change(viewer, "contacts-25000", queue=queue)

    [entry] = await AuditEntry.all()
    assert (await Account.get()).plan_tier_key == "contacts-25000"
    assert (await asked_to_drain(), queue.woken) == (True, 1)
    assert (entry.action, entry.actor_id, entry.details) == (
        "PLAN_CHANGED",
        viewer.token_id,
        {"before": "contacts-10000", "after": "contacts-25000", "ceiling": None},
    )


async def test_a_smaller_plan_deactivates_nobody(viewer: Viewer, queue: RecordingQueue) -> None:
    await make_contact(viewer.account_id)
    await Account.all().update(active_contacts=9000)

    await plans.change(viewer, "contacts-1000", queue=queue)

    owner = await Account.get()
    assert (owner.plan_tier_key, owner.active_contacts) == ("contacts-1000", 9000)
    assert await Contact.filter(status=ContactStatus.ACTIVE).count() == 1


async def test_the_same_plan_again_is_no_change(viewer: Viewer, queue: RecordingQueue) -> None:
    await plans.change(viewer, "contacts-10000", queue=queue)

    assert (await AuditEntry.all().count(), queue.woken) == (0, 0)


async def test_a_ceiling_below_a_plan_that_was_chosen_moves_up_to_it(viewer: Viewer, queue: RecordingQueue) -> None:
    await plans.set_auto_upgrade(viewer, enabled=True, ceiling_key="contacts-25000", queue=queue)

    await plans.change(viewer, "contacts-50000", queue=queue)

    owner = await Account.get()
    assert (owner.plan_tier_key, owner.auto_upgrade_ceiling_key) == ("contacts-50000", "contacts-50000")


async def test_auto_upgrade_lets_those_in_who_wait(viewer: Viewer, queue: RecordingQueue) -> None:
    await somebody_waits(viewer)

    await plans.set_auto_upgrade(viewer, enabled=True, ceiling_key="contacts-50000", queue=queue)

    owner, [entry] = await Account.get(), await AuditEntry.all()
    assert (owner.auto_upgrade, owner.auto_upgrade_ceiling_key) == (True, "contacts-50000")
    assert (await asked_to_drain(), queue.woken) == (True, 1)
    assert (entry.action, entry.details) == ("AUTO_UPGRADE_SET", {"enabled": True, "ceiling": "contacts-50000"})


async def test_auto_upgrade_without_a_ceiling_goes_to_the_highest_plan(viewer: Viewer, queue: RecordingQueue) -> None:
    await plans.set_auto_upgrade(viewer, enabled=True, ceiling_key="contacts-50000", queue=queue)

    await plans.set_auto_upgrade(viewer, enabled=True, ceiling_key=None, queue=queue)

    assert (await Account.get()).auto_upgrade_ceiling_key is None


async def test_auto_upgrade_turned_off_asks_for_nothing(viewer: Viewer, queue: RecordingQueue) -> None:
    await somebody_waits(viewer)

    await plans.set_auto_upgrade(viewer, enabled=False, ceiling_key=None, queue=queue)

    assert (await Account.get()).auto_upgrade is False
    assert (await asked_to_drain(), queue.woken) == (False, 0)


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("contacts-5000", ErrorCode.INVALID, "is on the plan 'contacts-10000': the ceiling cannot be below it"),
        ("contacts-7", ErrorCode.NOT_FOUND, r"There is no plan 'contacts-7'\. Plans: contacts-1000, contacts-2500,"),
    ],
)
async def test_a_ceiling_that_cannot_be_is_refused(
    viewer: Viewer, queue: RecordingQueue, key: str, code: ErrorCode, message: str
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        await plans.set_auto_upgrade(viewer, enabled=True, ceiling_key=key, queue=queue)

    assert [(problem.code, problem.field) for problem in refused.value.problems] == [(code, ("ceilingPlanKey",))]
    assert ((await Account.get()).auto_upgrade, await AuditEntry.all().count(), queue.woken) == (False, 0, 0)


async def test_a_plan_that_does_not_exist_is_refused(viewer: Viewer, queue: RecordingQueue) -> None:
    with pytest.raises(Refused, match="There is no plan 'free'"):
        await plans.change(viewer, "free", queue=queue)

    assert ((await Account.get()).plan_tier_key, queue.woken) == ("contacts-10000", 0)
