"""The cap: at most so many contacts created or updated per external account and window (R4).

A window begins at the external account's cycle and ends at the next; `cycle.claim_due` opens it with nothing used.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

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


def left_of_cap(used: int) -> int:
    """What the cycle that opened the window may still write, even where it outlasts the window."""
    return max(0, settings().cap - used)


def fair_share(left: int, turns: int) -> int:
    """What each of `turns` imports may write in a round; one at least, so that nobody is shut out."""
    return max(1, left // turns)
