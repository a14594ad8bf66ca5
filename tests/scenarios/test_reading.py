"""Stories of reading: where the cap ends, a great many records without an address, an edit in between, poison."""

from uuid import UUID

from connectors.base import Page
from domain import automatic_imports, database
from domain.account import Viewer
from domain.enums import LedgerState, Outcome, OutcomeCode, RunState, RunStop
from domain.import_inputs import ImportChanges
from domain.models import AutomaticImport, Contact, LedgerEntry, RecordOutcome
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.fakes import RecordingQueue
from tests.jobs.scripted import Stage, page, record

MEMBERS, SWEEPS, PAGE = 5_000, 48, 500


async def emails() -> list[str]:
    return [contact.email async for contact in Contact.all().order_by("email_key")]


async def ledger() -> dict[str, tuple[LedgerState, str | None]]:
    return {row.external_id: (row.state, row.code) async for row in LedgerEntry.all().order_by("external_id")}


async def test_the_cap_ends_in_mid_page(stage: Stage, configure: Configure) -> None:
    configure(cap=3)
    known, first, second = page("a1", "a2"), page("a1", "a2", "b1", "b2", "b3", "b4", at=1), page("c1", at=2)
    import_id = await stage.add_import(known)
    await stage.cycle()
    await stage.next_window()

    # Two of the page are known and free; of its four new ones the window has room for three.
    stage.scripts.steps["main"] = [first, second]
    await stage.cycle()

    cut = (await stage.runs(import_id))[-1]
    assert (cut.state, cut.stopped_by) == (RunState.COMPLETED, RunStop.CAP)
    assert (cut.read_count, cut.unchanged_count, cut.created_count) == (5, 2, 3)
    assert (await stage.external_account()).window_used == 3
    assert (await AutomaticImport.get()).checkpoint == {"at": "a2"}
    assert "b4" not in await ledger()

    # Nobody may write in the same window any more, whoever asks.
    await automatic_imports.run_now(viewer(stage), import_id, full=False, queue=RecordingQueue())
    stage.scripts.steps["main"] = [first, second]
    await stage.cycle()
    assert len(await emails()) == 5

    # The next window reads the page again: what was written is free, what was behind the cut comes in order.
    stage.scripts.steps["main"] = [first, second]
    await stage.next_window()
    await stage.cycle()

    last = (await stage.runs(import_id))[-1]
    assert last.stopped_by is None
    assert (last.unchanged_count, last.created_count) == (5, 2)
    assert await emails() == [f"{name}@example.com" for name in ("a1", "a2", "b1", "b2", "b3", "b4", "c1")]
    assert (await stage.external_account()).window_used == 2
    assert (await AutomaticImport.get()).checkpoint == {"at": 2}
    assert stage.scripts.checkpoints == [None, {"at": "a2"}, {"at": "a2"}, {"at": "a2"}]


async def test_5_000_members_without_email_48_sweeps(stage: Stage) -> None:
    pages = [
        Page(
            records=[record(f"member {number}", None) for number in range(start, start + PAGE)],
            checkpoint={"at": start},
            sweep=True,
            complete=start + PAGE == MEMBERS,
        )
        for start in range(0, MEMBERS, PAGE)
    ]
    import_id = await stage.add_import(*pages)
    await stage.cycle()

    for _ in range(SWEEPS - 1):
        await stage.next_window()
        stage.scripts.steps["main"] = list(pages)
        await stage.cycle()

    first, rest = await stage.runs(import_id)
    assert (first.checks, first.read_count, first.skipped_count) == (1, MEMBERS, MEMBERS)
    assert (rest.checks, rest.read_count, rest.skipped_count) == (47, 47 * MEMBERS, 47 * MEMBERS)
    assert {first.state, rest.state} == {RunState.COMPLETED}
    assert await RecordOutcome.all().count() == MEMBERS
    assert await RecordOutcome.filter(run_id=first.id, outcome=Outcome.SKIPPED, code=OutcomeCode.NO_EMAIL).count() == (
        MEMBERS
    )
    assert await LedgerEntry.filter(state=LedgerState.SKIPPED, code=OutcomeCode.NO_EMAIL).count() == MEMBERS
    assert await Contact.all().count() == 0
    assert (await stage.external_account()).window_used == 0


async def test_criteria_edited_while_a_page_is_under_way(stage: Stage) -> None:
    async def edit() -> None:
        await automatic_imports.update(
            viewer(stage),
            import_id,
            ImportChanges(criteria={"script": "friends"}),
            catalogue=ConnectorCatalogue(registered={"scripted": stage.scripts.service()}, allow_private_hosts=False),
            queue=RecordingQueue(),
        )

    import_id = await stage.add_import(page("ann"), edit, page("bob"), page("cid"))
    stage.scripts.steps["friends"] = [page("cid"), page("dan")]

    await stage.cycle()

    # The page of the old criteria is dropped with its checkpoint: the edit wins. What was stored before stays.
    assert await emails() == ["ann@example.com"]
    assert (await AutomaticImport.get()).checkpoint is None
    assert await RecordOutcome.all().count() == 1

    await stage.cycle()

    # The backfill under the new criteria starts at once, goes on in the same run, and removes nobody.
    assert await emails() == ["ann@example.com", "cid@example.com", "dan@example.com"]
    assert stage.scripts.checkpoints == [None, None]
    assert (await AutomaticImport.get()).checkpoint == {"at": "dan"}
    run = (await stage.runs(import_id))[0]
    assert (run.state, run.read_count, run.created_count) == (RunState.COMPLETED, 3, 3)
    assert (await AutomaticImport.get()).revision == 2
    assert await stage.cycle() == 0


async def test_one_poisoned_record(stage: Stage) -> None:
    poisoned = record("poison", first_name="A name with a NUL\0")
    healthy = [record(f"{number:03}") for number in range(499)]
    records = [*healthy[:250], poisoned, *healthy[250:]]
    import_id = await stage.add_import(Page(records=records, checkpoint={"at": 1}))

    await stage.cycle()

    run = (await stage.runs(import_id))[0]
    assert (run.state, run.read_count, run.created_count, run.failed_count) == (RunState.COMPLETED, 500, 499, 1)
    assert len(await emails()) == 499
    failed = await RecordOutcome.get(outcome=Outcome.FAILED)
    assert (failed.external_id, failed.code, failed.contact_id) == ("poison", OutcomeCode.REJECTED_VALUE, None)
    assert (await ledger())["poison"] == (LedgerState.FAILED, OutcomeCode.REJECTED_VALUE)
    assert (await AutomaticImport.get()).checkpoint == {"at": 1}

    # Read again it is counted, and no news; mended at the source it comes in.
    for again in (poisoned, record("poison", first_name="A name")):
        stage.scripts.steps["main"] = [Page(records=[again], checkpoint={"at": 2})]
        await stage.next_window()
        await stage.cycle()

    assert [(run.failed_count, run.created_count) for run in (await stage.runs(import_id))[1:]] == [(1, 0), (0, 1)]
    assert await RecordOutcome.filter(outcome=Outcome.FAILED).count() == 1
    assert (await Contact.get(email="poison@example.com")).first_name == "A name"
    rows = await database.fetch("SELECT active_contacts FROM account")
    assert rows[0]["active_contacts"] == 500


def viewer(stage: Stage) -> Viewer:
    return Viewer(account_id=stage.account_id, token_id=UUID(int=1), scopes=frozenset())
