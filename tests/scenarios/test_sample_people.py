"""R1, R3, R4, R5, R17 with every service: what `sluice demo --service` shows, without its processes."""

from functools import partial
from uuid import UUID

import orjson
import pytest

from connectors.registry import SERVICES
from domain import database, import_runs
from domain.credentials import key_ring
from domain.emails import parse_email
from domain.enums import RunState, RunTrigger
from domain.models import AutomaticImport, Contact, ExternalAccount
from tests.configuration import Configure
from tests.connectors.reading import each_service
from tests.connectors.simulators.__main__ import addresses, described, populated
from tests.connectors.simulators.kit import Simulator, open_simulated
from tests.jobs.scripted import Stage, make_stage

CAP = 25
PEOPLE = 61
MOST_WINDOWS = 12


async def make_import(simulator: Simulator) -> tuple[Stage, UUID]:
    """The simulator's login, connected, and an import of it that has not run yet."""
    stage = await make_stage()
    stage.services, stage.client = SERVICES, partial(open_simulated, simulator)
    sealed = key_ring().seal(orjson.dumps(simulator.credentials), row=stage.external_account_id)
    await ExternalAccount.filter(id=stage.external_account_id).update(service=simulator.service, credentials=sealed)
    created = await AutomaticImport.create(
        account_id=stage.account_id,
        external_account_id=stage.external_account_id,
        name="Everybody",
        criteria=simulator.criteria,
    )
    async with database.transaction() as connection:
        await import_runs.queue(
            connection, account_id=stage.account_id, automatic_import_id=created.id, trigger=RunTrigger.CREATED
        )
    return stage, created.id


async def catch_up(stage: Stage, import_id: UUID) -> None:
    """Let windows pass until a reading comes to its end."""
    for _ in range(MOST_WINDOWS):
        await stage.next_window()
        while await stage.cycle():
            pass
        last = (await stage.runs(import_id))[-1]
        assert last.error_message is None
        if (last.state, last.stopped_by) == (RunState.COMPLETED, None):
            return
    pytest.fail(f"the import is not through after {MOST_WINDOWS} windows: {last.state}, {last.stopped_by}")


@each_service
@pytest.mark.usefixtures("database")
async def test_everybody_with_an_address_becomes_a_contact_window_by_window(key: str, configure: Configure) -> None:
    configure(cap=CAP)
    simulator = populated(key, PEOPLE)
    stage, import_id = await make_import(simulator)

    await catch_up(stage, import_id)

    contacts = await Contact.all()
    expected = [email.address for text in simulator.matching().values() if text and (email := parse_email(text))]
    assert sorted(contact.email for contact in contacts) == sorted(expected)
    assert all(contact.first_name and contact.last_name for contact in contacts)
    codes = await database.fetch(
        "SELECT code, count(*) AS number FROM ledger WHERE automatic_import_id = $1 GROUP BY code", import_id
    )
    assert {row["code"]: row["number"] for row in codes} == {None: PEOPLE - 2, "NO_EMAIL": 2}
    written = [run.created_count + run.updated_count for run in await stage.runs(import_id)]
    assert [number for number in written if number] == [CAP, CAP, PEOPLE - 2 - 2 * CAP]


@each_service
def test_what_is_expected_is_told_by_the_simulator_itself(key: str) -> None:
    assert described(populated(key, PEOPLE))["people"] == {
        "cards": PEOPLE, "without_email": 2, "invalid_email": 0, "duplicates": 0,
    }  # fmt: skip


def test_the_people_are_the_same_each_time_and_no_two_have_one_address() -> None:
    everybody = [*addresses(5000)]

    assert everybody == [*addresses(5000)]
    assert everybody.count(None) == 5000 // 30
    assert len({*everybody}) == 5000 - 5000 // 30 + 1
