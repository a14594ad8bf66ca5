"""R11, as it goes on in an account: reached, waited for, raised."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from connectors.base import Page
from domain import plans
from domain.account import Viewer
from domain.enums import RunState, RunTrigger
from domain.models import Account, AutomaticImport, Contact, ExternalAccount, ImportRun, LedgerEntry, PlanTier
from tests.configuration import Configure
from tests.jobs.scripted import Stage, make_stage, page, record


async def people(stage: Stage) -> tuple[int, int]:
    """How many are in, and how many wait."""
    return (
        await Contact.filter(account_id=stage.account_id).count(),
        await LedgerEntry.filter(account_id=stage.account_id, state="WAITING").count(),
    )


async def test_the_limit_is_reached_with_300_waiting_then_raised(stage: Stage, configure: Configure) -> None:
    configure(cap=500)
    await PlanTier.filter(key="contacts-10000").update(contact_limit=200)
    await PlanTier.filter(key="contacts-25000").update(contact_limit=450)
    names = [f"n{number:03}" for number in range(500)]
    shop = await stage.add_import(page(*names[:250], at=1), page(*names[250:], at=2))
    await stage.cycle()

    assert await people(stage) == (200, 300)
    run = await ImportRun.get(automatic_import_id=shop)
    assert (run.state, run.created_count, run.waiting_count) == (RunState.COMPLETED, 200, 300)

    # Sweep after sweep finds the same people waiting, and nothing moves.
    stage.scripts.steps["main"] = [page(*names[200:], at=3)]
    await stage.next_window()
    await stage.cycle()
    assert await people(stage) == (200, 300)

    # Raising the limit lets in those who came first, at once: no cycle is due.
    viewer = Viewer(account_id=stage.account_id, token_id=uuid4(), scopes=frozenset())
    await plans.change(viewer, "contacts-25000", queue=stage.queue)
    assert await stage.work() == 1
    assert await people(stage) == (450, 50)
    waiting = [row.external_id async for row in LedgerEntry.filter(state="WAITING").order_by("position")]
    assert waiting == names[450:]
    room = await ImportRun.get(trigger=RunTrigger.ROOM)
    assert (room.state, room.read_count, room.created_count) == (RunState.COMPLETED, 250, 250)
    assert (await Account.get(id=stage.account_id)).active_contacts == 450

    # The cap of the window reached them too: 250 of 500 are left for what is new.
    assert (await stage.external_account()).window_used == 250


async def test_whoever_waits_at_a_failing_import_is_let_in_window_by_window(stage: Stage, configure: Configure) -> None:
    configure(cap=2)
    await PlanTier.all().update(contact_limit=0)
    import_id = await stage.add_import(page(*"abc"))
    await stage.cycle()
    await AutomaticImport.filter(id=import_id).update(
        state="FAILING", next_attempt_at=datetime.now(UTC) + timedelta(hours=32)
    )
    await PlanTier.all().update(contact_limit=100)

    await stage.next_window()
    await stage.cycle()
    assert await people(stage) == (2, 1)
    await stage.next_window()
    await stage.cycle()
    assert await people(stage) == (3, 0)


async def test_whoever_waits_at_a_lost_connection_is_passed_over(stage: Stage) -> None:
    await PlanTier.all().update(contact_limit=0)
    await stage.add_import(page("a"))
    await stage.cycle()
    other = await make_stage("you")
    await other.add_import(page("b"), script="other")
    await other.cycle()
    await ExternalAccount.filter(id=stage.external_account_id).update(health="NEEDS_RECONNECT")
    await PlanTier.all().update(contact_limit=1)
    viewer = Viewer(account_id=stage.account_id, token_id=uuid4(), scopes=frozenset())

    await plans.change(viewer, "contacts-25000", queue=stage.queue)
    await stage.work()

    assert [contact.email async for contact in Contact.all()] == ["b@example.com"]


async def test_whoever_waits_is_let_in_before_anything_new_is_read(stage: Stage, configure: Configure) -> None:
    configure(cap=2)
    await PlanTier.all().update(contact_limit=0)
    await stage.add_import(page("a", "b", "c"))
    await stage.cycle()
    await PlanTier.all().update(contact_limit=100)
    new = Page(records=[record("new")], checkpoint={"at": "new"})

    stage.scripts.steps["main"] = [new]
    await stage.next_window()
    await stage.cycle()
    assert [contact.email async for contact in Contact.all().order_by("email")] == ["a@example.com", "b@example.com"]
    stage.scripts.steps["main"] = [new]
    await stage.next_window()
    await stage.cycle()

    assert await people(stage) == (4, 0)
    assert [run.created_count async for run in ImportRun.filter(trigger=RunTrigger.ROOM).order_by("id")] == [2, 1]
