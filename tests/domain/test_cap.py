"""R4: how long the cap makes contacts take."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.cap import CapUsage, pace
from tests.configuration import Configure

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cost", "used", "opened", "cycles", "finish"),
    [
        (0, 0, True, 1, timedelta()),
        (400, 100, True, 1, timedelta()),
        (401, 100, True, 2, timedelta(minutes=10)),
        (901, 100, True, 3, timedelta(minutes=40)),
        (500, 500, True, 1, timedelta(minutes=10)),
        (501, 500, True, 2, timedelta(minutes=40)),
        (500, 0, False, 1, timedelta()),
        (1_001, 0, False, 3, timedelta(minutes=60)),
    ],
)
def test_what_is_left_of_the_cap_goes_first_and_whole_caps_follow(
    configure: Configure, cost: int, used: int, opened: bool, cycles: int, finish: timedelta
) -> None:
    configure(cycle_seconds=1800)
    usage = CapUsage(limit=500, used=used, window_ends_at=NOW + timedelta(minutes=10) if opened else None)

    expected = pace(cost, usage, begins_at=NOW)

    assert (expected.cycles, expected.expected_finish_at) == (cycles, NOW + finish)


@pytest.mark.parametrize(("cost", "cycles", "finish"), [(500, 1, timedelta()), (501, 2, timedelta(minutes=30))])
def test_whoever_begins_when_the_window_has_ended_finds_a_whole_cap(
    configure: Configure, cost: int, cycles: int, finish: timedelta
) -> None:
    configure(cycle_seconds=1800)

    expected = pace(cost, CapUsage(limit=500, used=400, window_ends_at=NOW), begins_at=NOW)

    assert (expected.cycles, expected.expected_finish_at) == (cycles, NOW + finish)
