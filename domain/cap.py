"""The cap: at most so many contacts created or updated per external account and window (R4).

A window begins at the external account's cycle and ends at the next; `cycle.claim_due` opens it with nothing used.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from domain.settings import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CapUsage:
    """How much of the cap an external account has used; `window_ends_at` is None while no window is open."""

    limit: int
    used: int
    window_ends_at: datetime | None

    @property
    def remaining(self) -> int:
        """How many more contacts may be written before the window ends."""
        return max(0, self.limit - self.used)


def cap_usage(used: int, window_ends_at: datetime | None) -> CapUsage:
    """What is left of the cap for whoever looks now: a window that has ended leaves all of it."""
    if window_ends_at is None or window_ends_at <= datetime.now(UTC):
        return CapUsage(limit=settings().cap, used=0, window_ends_at=None)
    return CapUsage(limit=settings().cap, used=used, window_ends_at=window_ends_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """In how many windows of the cap so many contacts are written, and when the last of these windows begins."""

    cycles: int
    expected_finish_at: datetime


def pace(cost: int, usage: CapUsage, *, begins_at: datetime) -> Pace:
    """What is left of the cap in the window that is open at `begins_at` goes first, then whole caps follow.

    Where none is open then, one opens, with the whole cap. Nobody else uses it.
    """
    window = timedelta(seconds=settings().cycle_seconds)
    left, ends_at = usage.remaining, usage.window_ends_at
    if ends_at is None or ends_at <= begins_at:
        left, ends_at = usage.limit, begins_at + window
    later = ceil(max(0, cost - left) / usage.limit)
    if later == 0:
        return Pace(cycles=1, expected_finish_at=begins_at)
    return Pace(cycles=later + (left > 0), expected_finish_at=ends_at + (later - 1) * window)


def left_of_cap(used: int) -> int:
    """What the cycle that opened the window may still write, even where it outlasts the window."""
    return max(0, settings().cap - used)


def fair_share(left: int, turns: int) -> int:
    """What each of `turns` imports may write in a round; one at least, so that nobody is shut out."""
    return max(1, left // turns)
