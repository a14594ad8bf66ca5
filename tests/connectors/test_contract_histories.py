"""What every connector promises whatever happens while it reads: changes, faults, forgotten checkpoints, echoes."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle, islice

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from connectors.base import AccessRevokedError, ConnectorError, Page, TransientError, UnexpectedResponseError
from tests.connectors.reading import Stored, each_service, ids, read, service_of, simulated, through_json
from tests.connectors.simulators.kit import Fault, Simulator

pytestmark = pytest.mark.usefixtures("small_pages")

EXAMPLES = 15
PEOPLE = 9
PAGE_SIZE = 2
MOST_REQUESTS = 60
"""Beyond those of a reading that nothing disturbs."""

SECOND_WAYS = {"woocommerce"}
"""Services that can be reached in a second way, which may mend a fault by itself."""

SWEPT_IF_CHANGED = {"csv_url"}
"""Services that are swept after a change only, but then as often as absence takes to be believed."""

MOST_PIECES = 200

modest = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add without address", "change", "remove"]), st.integers(0, 1000)), max_size=3
)
HISTORIES = st.lists(OPERATIONS, max_size=20)
"""What happens before each request."""


@dataclass(slots=True)
class Life:
    """What happens at a service while it is read, and who was there."""

    simulator: Simulator
    history: Iterator[Sequence[tuple[str, int]]]
    ever: set[str] = field(init=False)
    removed: set[str] = field(default_factory=set)
    added: int = 0

    def __post_init__(self) -> None:
        self.ever = {*self.simulator.matching()}

    def __call__(self) -> None:
        for operation, choice in next(self.history, ()):
            there = sorted(self.simulator.matching())
            if operation.startswith("add"):
                self.added += 1
                address = f"new-{self.added}@example.com" if operation == "add" else None
                self.ever.add(self.simulator.add(address))
            elif there:
                someone = there[choice % len(there)]
                if operation == "change":
                    self.simulator.change(someone)
                else:
                    self.simulator.remove(someone)
                    self.removed.add(someone)


async def everything(simulator: Simulator) -> Stored:
    """What a reading from the beginning finds now."""
    stored = Stored()
    await stored.cycle(simulator)
    assert {id_: record.email for id_, record in stored.records.items()} == simulator.matching()
    return stored


@each_service
@given(people=st.integers(0, 30), page_size=st.integers(1, 12))
@modest
async def test_everybody_is_found_whatever_the_size_of_pages(key: str, people: int, page_size: int) -> None:
    simulator = simulated(key, people, page_size=page_size)

    await everything(simulator)


@each_service
@given(
    people=st.integers(0, 15), page_size=st.integers(1, 5), history=HISTORIES, limit=st.integers(1, 4) | st.just(100)
)
@modest
async def test_whoever_stays_is_found_and_nobody_is_invented(
    key: str, people: int, page_size: int, history: list[list[tuple[str, int]]], limit: int
) -> None:
    simulator, stored = simulated(key, people, page_size=page_size), Stored()
    before = {*simulator.matching()}
    life = simulator.traffic.meanwhile = Life(simulator, iter(history))

    found: set[str] = set()
    for _ in range(MOST_PIECES):
        pages = await stored.cycle(simulator, limit=limit)
        found |= {*ids(pages)}
        if any(page.complete for page in pages):
            break

    assert before - life.removed <= found <= life.ever


@each_service
@given(
    people=st.integers(0, 15),
    page_size=st.integers(1, 5),
    history=HISTORIES,
    limits=st.lists(st.integers(1, 4) | st.just(100), min_size=1, max_size=5),
)
@modest
async def test_once_it_is_quiet_everything_is_known_as_it_is(
    key: str, people: int, page_size: int, history: list[list[tuple[str, int]]], limits: list[int]
) -> None:
    simulator, stored = simulated(key, people, page_size=page_size), Stored()
    simulator.traffic.meanwhile = Life(simulator, iter(history))
    for limit in limits:
        await stored.cycle(simulator, limit=limit)
    simulator.traffic.meanwhile = None
    for _ in range(3):
        pages = await stored.cycle(simulator)

    now = (await everything(simulator)).records
    assert {id_: stored.records.get(id_) for id_ in now} == now
    if service_of(simulator).tells_deletions or key in SWEPT_IF_CHANGED or any(page.complete for page in pages):
        assert stored.records.keys() == now.keys()


@each_service
@given(page_size=st.integers(1, 5), split=st.integers(0, 15))
@modest
async def test_many_that_change_at_one_moment_all_come(key: str, page_size: int, split: int) -> None:
    simulator, stored = simulated(key, 15, page_size=page_size), Stored()
    await stored.cycle(simulator)
    for someone in sorted(simulator.matching())[:split]:
        simulator.change(someone)

    await stored.cycle(simulator)

    assert stored.records == (await everything(simulator)).records


FAULTS = [
    (Fault(status=401, body=b"no"), AccessRevokedError),
    (Fault(status=429, headers={"Retry-After": "7"}), TransientError),
    (Fault(status=500), TransientError),
    (Fault(status=503, body=b"<html>Maintenance</html>", headers={"Content-Type": "text/html"}), TransientError),
    (Fault(status=200, body=b"<html>Sign in</html>", headers={"Content-Type": "text/html"}), UnexpectedResponseError),
    (Fault(status=200, body=b'{"half": [1, 2'), UnexpectedResponseError),
]


@each_service
@given(case=st.sampled_from(FAULTS), request_number=st.integers(0, 30))
@modest
async def test_after_a_fault_at_any_request_the_rest_comes(
    key: str, case: tuple[Fault, type[ConnectorError]], request_number: int
) -> None:
    fault, error = case
    simulator, stored = simulated(key, PEOPLE, page_size=PAGE_SIZE), Stored()
    simulator.traffic.faults.extend([*[None] * request_number, fault])

    raised = await _failure(stored.cycle(simulator))
    was_reached = not simulator.traffic.faults
    if raised is not None or key not in SECOND_WAYS:
        assert type(raised) is (error if was_reached else type(None))
    if fault.status == 429 and was_reached:
        assert getattr(raised, "retry_after", None) == timedelta(seconds=7)
    simulator.traffic.faults.clear()

    await stored.cycle(simulator)
    assert stored.records == (await everything(simulator)).records


@each_service
@given(pages=st.integers(0, 6), people=st.integers(1, 12))
@modest
async def test_after_a_checkpoint_is_forgotten_everything_comes(key: str, pages: int, people: int) -> None:
    simulator, stored = simulated(key, people, page_size=PAGE_SIZE), Stored()
    for page in (await read(simulator))[:pages]:
        stored.store(page)
    simulator.expire_checkpoints()
    simulator.change(simulator.add("late@example.com"))

    await stored.cycle(simulator)
    if not any(page.complete for page in await stored.cycle(simulator)):
        await stored.cycle(simulator)

    assert stored.records == (await everything(simulator)).records


@each_service
@given(before=st.integers(0, 20))
@modest
async def test_a_service_that_repeats_itself_is_left_after_a_while(key: str, before: int) -> None:
    simulator = simulated(key, PEOPLE, page_size=PAGE_SIZE)
    await read(simulator)
    undisturbed = len(simulator.traffic.exchanges)
    simulator.traffic.meanwhile = _after(before, lambda: _replay(simulator))

    raised = await _failure(read(simulator))

    assert not isinstance(raised, AccessRevokedError)
    assert len(simulator.traffic.exchanges) - undisturbed <= undisturbed + MOST_REQUESTS


async def _failure(reading: Awaitable[object]) -> ConnectorError | None:
    try:
        await reading
    except ConnectorError as error:
        return error
    return None


def _replay(simulator: Simulator) -> None:
    simulator.traffic.replays = True


def _after(calls: int, action: Callable[[], None]) -> Callable[[], None]:
    left = iter([None] * calls)

    def meanwhile() -> None:
        if next(left, action) is action:
            action()

    return meanwhile


@each_service
@given(page_size=st.integers(1, 5), cuts=st.lists(st.integers(1, 3), min_size=1, max_size=5))
@modest
async def test_a_reading_in_pieces_brings_what_a_reading_at_once_does(
    key: str, page_size: int, cuts: list[int]
) -> None:
    simulator = simulated(key, PEOPLE, page_size=page_size)
    whole = _reading(await read(simulator))

    found: list[Page] = []
    checkpoint = None
    for cut in islice(cycle(cuts), MOST_PIECES):
        found += _reading(await read(simulator, checkpoint))[:cut]
        checkpoint = through_json(found[-1].checkpoint)
        if found[-1].complete:
            break

    assert ids(found) == ids(whole)
    assert whole[-1].complete


def _reading(pages: Sequence[Page]) -> list[Page]:
    """The pages up to the first that is complete."""
    end = next((number for number, page in enumerate(pages, 1) if page.complete), len(pages))
    return [*pages[:end]]
